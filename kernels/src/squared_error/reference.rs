//! The mathematics of the squared error.

use super::{Backward, Forward, SquaredError};
use crate::memory::Host;
use crate::precision::F64;

/// `loss = Σ_i weight_i · (x_i − target_i)²`
pub fn forward(_: &SquaredError, operands: Forward<'_, Host, F64>) {
    let Forward { x, targets, weights, loss } = operands;
    let live = (0..x.len()).filter(|&i| weights[i] != 0.0);
    loss[0] = live.map(|i| weights[i] * (x[i] - targets[i]).powi(2)).fold(0.0, |sum, term| sum + term);
}

/// `dx_i = d_loss · 2 weight_i (x_i − target_i)`
pub fn backward(_: &SquaredError, operands: Backward<'_, Host, F64>) {
    let Backward { x, targets, weights, d_loss, dx, store } = operands;
    for i in 0..dx.len() {
        let gradient = if weights[i] == 0.0 { 0.0 } else { 2.0 * weights[i] * (x[i] - targets[i]) };
        store.put(&mut dx[i], d_loss[0] * gradient);
    }
}
