//! Softmax over sequences, one sequence per task, as many columns at a time as a vector has lanes.

use super::{Backward, Forward, SequenceSoftmax};
use crate::cpu::math::exp;
use crate::cpu::simd::{Floats, kernel};
use crate::cpu::threads::Pieces;
use crate::sequences::Sequences;
use crate::{Cpu, Store};

/// `y[t, c] = exp x[t, c] / Σ_{t' in sequence} exp x[t', c]`
pub fn forward(cpu: &Cpu, softmax: &SequenceSoftmax, operands: Forward<'_, f32>) {
    let Forward { x, offsets, y } = operands;
    let width = softmax.width;
    let sequences = Sequences::new(offsets, y.len() / width);
    let y = Pieces::new(y);
    cpu.for_each(sequences.len() + 1, |s| {
        if s == sequences.len() {
            // SAFETY: dead rows belong to no sequence.
            unsafe { y.rows(sequences.dead(), width) }.fill(0.0);
        } else {
            let rows = sequences.rows(s);
            // SAFETY: sequences share no row.
            let y = unsafe { y.rows(rows.clone(), width) };
            softmax_columns(cpu.token(), width, &x[rows.start * width..rows.end * width], y);
        }
    });
}

/// `dx = y ∘ (dy − Σ_{t' in sequence} y ∘ dy)`
pub fn backward(cpu: &Cpu, softmax: &SequenceSoftmax, operands: Backward<'_, f32>) {
    let Backward { y, offsets, dy, dx, store } = operands;
    let width = softmax.width;
    let sequences = Sequences::new(offsets, dx.len() / width);
    let dx = Pieces::new(dx);
    cpu.for_each(sequences.len() + 1, |s| {
        if s == sequences.len() {
            if store == Store::Assign {
                // SAFETY: dead rows belong to no sequence.
                unsafe { dx.rows(sequences.dead(), width) }.fill(0.0);
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
    fn softmax_columns<S>(simd, width: usize, x: &[f32], y: &mut [f32]) {
        for first in (0..width).step_by(S::LANES) {
            let columns = first..width.min(first + S::LANES);
            let mut max = simd.splat(f32::NEG_INFINITY);
            for x in x.chunks_exact(width) {
                max = simd.load(&x[columns.clone()]).max(max);
            }
            let mut sum = simd.splat(0.0);
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                let power = exp(simd, simd.load(&x[columns.clone()]) - max);
                power.store(&mut y[columns.clone()]);
                sum = sum + power;
            }
            for y in y.chunks_exact_mut(width) {
                let y = &mut y[columns.clone()];
                (simd.load(y) / sum).store(y);
            }
        }
    }
}

kernel! {
    fn gradient_columns<S>(simd, width: usize, y: &[f32], dy: &[f32], dx: &mut [f32], store: Store) {
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
