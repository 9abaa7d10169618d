//! Softmax over sequences, one sequence per task, as many columns at a time as a vector has lanes.

use super::{Backward, Forward, SequenceSoftmax};
use crate::cpu::CpuPrecision;
use crate::cpu::math::exp;
use crate::cpu::simd::{Floats, Stored, kernel};
use crate::cpu::threads::Pieces;
use crate::memory::Host;
use crate::sequences::Sequences;
use crate::{Cpu, Store};

/// `y[t, c] = exp x[t, c] / Σ_{t' in sequence} exp x[t', c]`
pub fn forward<P: CpuPrecision>(cpu: &Cpu, softmax: &SequenceSoftmax, operands: Forward<'_, Host, P>) {
    let Forward { x, offsets, y } = operands;
    let width = softmax.width;
    let sequences = Sequences::new(offsets, y.len() / width);
    let y = Pieces::new(y);
    cpu.for_each(sequences.len() + 1, |s| {
        if s == sequences.len() {
            // SAFETY: dead rows belong to no sequence.
            unsafe { y.rows(sequences.dead(), width) }.fill(Stored::narrow(0.0));
        } else {
            let rows = sequences.rows(s);
            // SAFETY: sequences share no row.
            let y = unsafe { y.rows(rows.clone(), width) };
            softmax_columns(cpu.token(), width, &x[rows.start * width..rows.end * width], y);
        }
    });
}

/// `dx = y ∘ (dy − Σ_{t' in sequence} y ∘ dy)`
pub fn backward<P: CpuPrecision>(cpu: &Cpu, softmax: &SequenceSoftmax, operands: Backward<'_, Host, P>) {
    let Backward { y, offsets, dy, dx, store } = operands;
    let width = softmax.width;
    let sequences = Sequences::new(offsets, dx.len() / width);
    let dx = Pieces::new(dx);
    cpu.for_each(sequences.len() + 1, |s| {
        if s == sequences.len() {
            if store == Store::Assign {
                // SAFETY: dead rows belong to no sequence.
                unsafe { dx.rows(sequences.dead(), width) }.fill(Stored::narrow(0.0));
            }
        } else {
            let rows = sequences.rows(s);
            let elements = rows.start * width..rows.end * width;
            // SAFETY: sequences share no row.
            let dx = unsafe { dx.rows(rows, width) };
            gradient_columns(cpu.token(), width, &y[elements.clone()], &dy[elements], dx, store);
        }
    });
}

kernel! {
    fn softmax_columns<S, A>(simd, width: usize, x: &[A], y: &mut [A]) {
        for first in (0..width).step_by(S::LANES) {
            let columns = first..width.min(first + S::LANES);
            let mut max = simd.splat(f32::NEG_INFINITY);
            for x in x.chunks_exact(width) {
                max = simd.load(&x[columns.clone()]).max(max);
            }
            let mut sum = simd.splat(0.0);
            for x in x.chunks_exact(width) {
                sum = sum + exp(simd, simd.load(&x[columns.clone()]) - max);
            }
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                let power = exp(simd, simd.load(&x[columns.clone()]) - max);
                (power / sum).store(&mut y[columns.clone()]);
            }
        }
    }
}

kernel! {
    fn gradient_columns<S, A>(simd, width: usize, y: &[A], dy: &[A], dx: &mut [A], store: Store) {
        for first in (0..width).step_by(S::LANES) {
            let columns = first..width.min(first + S::LANES);
            let mut sum = simd.splat(0.0);
            for (y, dy) in y.chunks_exact(width).zip(dy.chunks_exact(width)) {
                sum = simd.load(&y[columns.clone()]).mul_add(simd.load(&dy[columns.clone()]), sum);
            }
            let rows = y.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
            for ((y, dy), dx) in rows {
                let dx = &mut dx[columns.clone()];
                let value = simd.load(&y[columns.clone()]) * (simd.load(&dy[columns.clone()]) - sum);
                match store {
                    Store::Assign => value.store(dx),
                    Store::Add => (simd.load(dx) + value).store(dx),
                }
            }
        }
    }
}
