//! The squared error: one number per row of a batch, too few for threads or vectors.

use super::{Backward, Forward, SquaredError};
use crate::Cpu;
use crate::cpu::CpuPrecision;
use crate::cpu::simd::Stored;
use crate::memory::Host;

/// `loss = Σ_i weight_i · (x_i − target_i)²`, summed in f64.
pub fn forward<P: CpuPrecision>(_: &Cpu, _: &SquaredError, operands: Forward<'_, Host, P>) {
    let Forward { x, targets, weights, loss } = operands;
    let live = (0..x.len()).filter(|&i| weights[i] != 0.0);
    let terms = live.map(|i| f64::from(weights[i]) * f64::from(x[i].widen() - targets[i]).powi(2));
    loss[0] = terms.fold(0.0, |sum, term: f64| sum + term) as f32;
}

/// `dx_i = d_loss · 2 weight_i (x_i − target_i)`
pub fn backward<P: CpuPrecision>(_: &Cpu, _: &SquaredError, operands: Backward<'_, Host, P>) {
    let Backward { x, targets, weights, d_loss, dx, store } = operands;
    for i in 0..dx.len() {
        let gradient = if weights[i] == 0.0 { 0.0 } else { 2.0 * weights[i] * (x[i].widen() - targets[i]) };
        store.round(&mut dx[i], d_loss[0] * gradient);
    }
}
