//! The mathematics of the softmax over sequences.

use super::{Backward, Forward, SequenceSoftmax};
use crate::memory::Host;
use crate::precision::F64;
use crate::sequences::Sequences;

/// `y[t, c] = exp x[t, c] / Σ_{t' in sequence} exp x[t', c]`
pub fn forward(softmax: &SequenceSoftmax, operands: Forward<'_, Host, F64>) {
    let Forward { x, offsets, y } = operands;
    let width = softmax.width;
    y.fill(0.0);
    for rows in Sequences::new(offsets, x.len() / width).iter() {
        for c in 0..width {
            let max = rows.clone().map(|t| x[t * width + c]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = rows.clone().map(|t| (x[t * width + c] - max).exp()).sum();
            for t in rows.clone() {
                y[t * width + c] = (x[t * width + c] - max).exp() / sum;
            }
        }
    }
}

/// `dx = y ∘ (dy − Σ_{t' in sequence} y ∘ dy)`
pub fn backward(softmax: &SequenceSoftmax, operands: Backward<'_, Host, F64>) {
    let Backward { y, offsets, dy, dx, store } = operands;
    let width = softmax.width;
    let sequences = Sequences::new(offsets, y.len() / width);
    for rows in sequences.iter() {
        for c in 0..width {
            let sum: f64 = rows.clone().map(|t| y[t * width + c] * dy[t * width + c]).sum();
            for t in rows.clone() {
                let i = t * width + c;
                store.put(&mut dx[i], y[i] * (dy[i] - sum));
            }
        }
    }
    for t in sequences.dead() {
        for c in 0..width {
            store.put(&mut dx[t * width + c], 0.0);
        }
    }
}
