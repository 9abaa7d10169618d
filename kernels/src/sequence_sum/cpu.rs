//! The weighted sum over sequences, one sequence per task.

use super::{Backward, Forward, SequenceSum};
use crate::cpu::CpuPrecision;
use crate::cpu::simd::{Floats, Stored, kernel};
use crate::cpu::threads::Pieces;
use crate::memory::Host;
use crate::scale::cpu::product;
use crate::sequences::Sequences;
use crate::{Cpu, Store};

/// `y[s] = Σ_{t in sequence s} weight[t] · x[t]`
pub fn forward<P: CpuPrecision>(cpu: &Cpu, sum: &SequenceSum, operands: Forward<'_, Host, P>) {
    let Forward { weights, x, offsets, y } = operands;
    let width = sum.width;
    let sequences = Sequences::new(offsets, weights.len());
    let y = Pieces::new(y);
    cpu.for_each(sequences.len(), |s| {
        let rows = sequences.rows(s);
        // SAFETY: one row per sequence.
        let y = unsafe { y.rows(s..s + 1, width) };
        weighted_sum(cpu.token(), &weights[rows.clone()], &x[rows.start * width..rows.end * width], y);
    });
}

/// `dx[t] = weight[t] · dy[s]`, `d weight[t] = x[t] · dy[s]`
pub fn backward<P: CpuPrecision>(cpu: &Cpu, sum: &SequenceSum, operands: Backward<'_, Host, P>) {
    let Backward { weights, x, offsets, dy, d_weights, store_weights, dx, store } = operands;
    let width = sum.width;
    let sequences = Sequences::new(offsets, weights.len());
    let (d_weights, dx) = (Pieces::new(d_weights), Pieces::new(dx));
    cpu.for_each(sequences.len() + 1, |s| {
        let dead = s == sequences.len();
        let rows = if dead { sequences.dead() } else { sequences.rows(s) };
        // SAFETY: sequences share no row, and dead rows belong to none.
        let (d_weights, dx) = unsafe { (d_weights.piece(rows.clone()), dx.rows(rows.clone(), width)) };
        if dead {
            clear(d_weights, store_weights);
            clear(dx, store);
            return;
        }
        let dy = &dy[s * width..][..width];
        for (t, (d_weight, dx)) in rows.zip(d_weights.iter_mut().zip(dx.chunks_exact_mut(width))) {
            store_weights.round(d_weight, dot(cpu.token(), &x[t * width..][..width], dy));
            product(cpu.token(), weights[t].widen(), dy, dx, store);
        }
    });
}

/// The gradient of dead rows: 0.
fn clear<A: Stored>(gradient: &mut [A], store: Store) {
    if store == Store::Assign {
        gradient.fill(A::narrow(0.0));
    }
}

kernel! {
    fn weighted_sum<S, A>(simd, weights: &[A], x: &[A], y: &mut [A]) {
        let width = y.len();
        for first in (0..width).step_by(S::LANES) {
            let columns = first..width.min(first + S::LANES);
            let mut sum = simd.splat(0.0);
            for (weight, x) in weights.iter().zip(x.chunks_exact(width)) {
                sum = simd.splat(weight.widen()).mul_add(simd.load(&x[columns.clone()]), sum);
            }
            sum.store(&mut y[columns]);
        }
    }
}

kernel! {
    fn dot<S, A>(simd, a: &[A], b: &[A]) -> f32 {
        let mut sum = simd.splat(0.0);
        for at in (0..a.len()).step_by(S::LANES) {
            sum = simd.load(&a[at..]).mul_add(simd.load(&b[at..]), sum);
        }
        sum.sum()
    }
}
