//! See the parent module.

use super::{Backward, CrossEntropy, Forward};
use crate::Cpu;
use crate::cpu::CpuPrecision;
use crate::cpu::math;
use crate::cpu::simd::{Floats, Stored, kernel};
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;

/// See [`super`]. A row whose weight is 0 cannot spoil the loss, whatever its logits are.
pub fn forward<P: CpuPrecision>(cpu: &Cpu, cross_entropy: &CrossEntropy, operands: Forward<'_, Host, P>) {
    let Forward { logits, labels, weights, loss, row_loss, log_sum_exp, prediction } = operands;
    let classes = cross_entropy.classes;
    let (losses, log_sums, predictions) =
        (Pieces::new(row_loss), Pieces::new(log_sum_exp), Pieces::new(prediction));
    cpu.for_each_range(Grid::of_elements(labels.len(), classes), |_, rows| {
        // SAFETY: every row belongs to one task.
        let (losses, log_sums, predictions) = unsafe {
            (losses.piece(rows.clone()), log_sums.piece(rows.clone()), predictions.piece(rows.clone()))
        };
        for (index, row) in rows.enumerate() {
            let logits = &logits[row * classes..(row + 1) * classes];
            let (largest, at) = first_largest(cpu.token(), logits);
            let log_sum = sum_exp(cpu.token(), logits, largest).ln();
            log_sums[index] = largest + log_sum;
            // Not from the line above, whose rounding would drown the small loss of a sure guess.
            losses[index] = log_sum + (largest - logits[labels[row] as usize].widen());
            predictions[index] = at as i32;
        }
    });
    loss[0] = weighted_loss(weights, row_loss);
}

/// `Σ weight · loss`, from 0 and not from the −0 of an empty sum; what has no weight is not read.
pub(crate) fn weighted_loss(weights: &[f32], losses: &[f32]) -> f32 {
    let weighted = weights.iter().zip(losses).filter(|(weight, _)| **weight != 0.0);
    weighted.map(|(&weight, &loss)| f64::from(weight) * f64::from(loss)).fold(0.0, |sum, term| sum + term)
        as f32
}

kernel! {
    /// The largest number and the first index where it is, as a number (exact below 2²⁴).
    pub(crate) fn first_largest<S, A>(simd, x: &[A]) -> (f32, f32) {
        let mut largest = simd.splat(f32::NEG_INFINITY);
        let mut vectors = simd.splat(0.0); // where each lane's largest was loaded from
        for at in (0..x.len()).step_by(S::LANES) {
            let x = simd.load_or(&x[at..], f32::NEG_INFINITY);
            let grows = largest.less(x);
            largest = S::F32::select(grows, x, largest);
            vectors = S::F32::select(grows, simd.splat(at as f32), vectors);
        }
        let mut lanes = [[0.0; 16]; 2];
        largest.store(&mut lanes[0]);
        vectors.store(&mut lanes[1]);
        let largest = largest.largest();
        let first = (0..S::LANES)
            .filter(|&lane| lanes[0][lane] == largest)
            .map(|lane| lanes[1][lane] + lane as f32)
            .fold(f32::INFINITY, f32::min);
        (largest, first)
    }
}

kernel! {
    /// Σ exp(x − shift)
    pub(crate) fn sum_exp<S, A>(simd, x: &[A], shift: f32) -> f32 {
        let mut sum = simd.splat(0.0);
        for at in (0..x.len()).step_by(S::LANES) {
            sum = sum + math::exp(simd, simd.load_or(&x[at..], f32::NEG_INFINITY) - simd.splat(shift));
        }
        sum.sum()
    }
}

/// See [`super`]. A row whose weight is 0 gets zeros, whatever its logits are.
pub fn backward<P: CpuPrecision>(cpu: &Cpu, cross_entropy: &CrossEntropy, operands: Backward<'_, Host, P>) {
    let Backward { logits, labels, weights, log_sum_exp, d_loss, d_logits } = operands;
    let classes = cross_entropy.classes;
    let d_logits = Pieces::new(d_logits);
    cpu.for_each_range(Grid::of_elements(labels.len(), classes), |_, rows| {
        for row in rows {
            // SAFETY: every row belongs to one task.
            let d_logits = unsafe { d_logits.rows(row..row + 1, classes) };
            let factor = d_loss[0] * weights[row];
            if weights[row] == 0.0 {
                d_logits.fill(Stored::narrow(0.0));
            } else {
                let logits = logits.map(|logits| &logits[row * classes..(row + 1) * classes]);
                gradient(cpu.token(), logits, log_sum_exp[row], factor, labels[row] as usize, d_logits);
            }
        }
    });
}

kernel! {
    /// `y = factor · (exp(x − shift) − [at the label])`; y takes the place of x where there is none.
    pub(crate) fn gradient<S, A>(simd, x: Option<&[A]>, shift: f32, factor: f32, label: usize, y: &mut [A]) {
        let of_label = simd.load(&x.unwrap_or(&*y)[label..=label]);
        for at in (0..y.len()).step_by(S::LANES) {
            let power = math::exp(simd, simd.load(&x.unwrap_or(&*y)[at..]) - simd.splat(shift));
            (power * simd.splat(factor)).store(&mut y[at..]);
        }
        let power = math::exp(simd, of_label - simd.splat(shift));
        (power * simd.splat(factor) - simd.splat(factor)).store(&mut y[label..=label]);
    }
}
