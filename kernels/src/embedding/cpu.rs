//! See the parent module.

use super::{Backward, Embedding, Forward, Indices};
use crate::Cpu;
use crate::cpu::CpuPrecision;
use crate::cpu::simd::{Floats, kernel};
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;

/// Columns of a task of the backward pass: whole cache lines.
const STRIPE: usize = 32;

/// See [`super`].
pub fn forward<P: CpuPrecision>(cpu: &Cpu, embedding: &Embedding, operands: Forward<'_, Host, P>) {
    let Forward { indices, words, positions, segments, y } = operands;
    let width = embedding.width;
    let y = Pieces::new(y);
    cpu.for_each_range(Grid::of_elements(indices.tokens.len(), width), |_, rows| {
        for row in rows {
            let [word, position, segment] =
                table_rows(&indices, row).map(|row| row * width..(row + 1) * width);
            // SAFETY: every row belongs to one task.
            let y = unsafe { y.rows(row..row + 1, width) };
            add_three(cpu.token(), &words[word], &positions[position], &segments[segment], y);
        }
    });
}

kernel! {
    fn add_three<S, A>(simd, a: &[f32], b: &[f32], c: &[f32], y: &mut [A]) {
        for at in (0..y.len()).step_by(S::LANES) {
            (simd.load(&a[at..]) + simd.load(&b[at..]) + simd.load(&c[at..])).store(&mut y[at..]);
        }
    }
}

/// See [`super`]. A task takes a stripe of columns through all rows in their order, so that it needs no other order.
pub fn backward<P: CpuPrecision>(cpu: &Cpu, embedding: &Embedding, operands: Backward<'_, Host, P>) {
    let Backward { indices, token_order: _, dy, d_words, d_positions, d_segments } = operands;
    let width = embedding.width;
    let tables = [d_words, d_positions, d_segments].map(Pieces::new);
    cpu.for_each_range(Grid::new(width, STRIPE), |_, stripe| {
        for row in 0..indices.tokens.len() {
            let dy = &dy[row * width..][stripe.clone()];
            for (table, row) in tables.iter().zip(table_rows(&indices, row)) {
                // SAFETY: every stripe of columns belongs to one task.
                let d_table = unsafe { table.piece(row * width + stripe.start..row * width + stripe.end) };
                add(cpu.token(), dy, d_table);
            }
        }
    });
}

kernel! {
    fn add<S, A>(simd, x: &[A], y: &mut [f32]) {
        for at in (0..y.len()).step_by(S::LANES) {
            (simd.load(&y[at..]) + simd.load(&x[at..])).store(&mut y[at..]);
        }
    }
}

fn table_rows(indices: &Indices<'_, Host>, t: usize) -> [usize; 3] {
    [indices.tokens[t], indices.positions[t], indices.segments[t]].map(|index| index as usize)
}
