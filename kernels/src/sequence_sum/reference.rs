//! The mathematics of the weighted sum over sequences.

use super::{Backward, Forward, SequenceSum};
use crate::memory::Host;
use crate::precision::F64;
use crate::sequences::Sequences;

/// `y[s] = Σ_{t in sequence s} weight[t] · x[t]`
pub fn forward(sum: &SequenceSum, operands: Forward<'_, Host, F64>) {
    let Forward { weights, x, offsets, y } = operands;
    let width = sum.width;
    for (s, rows) in Sequences::new(offsets, weights.len()).iter().enumerate() {
        for c in 0..width {
            y[s * width + c] =
                rows.clone().map(|t| weights[t] * x[t * width + c]).fold(0.0, |sum, term| sum + term);
        }
    }
}

/// `dx[t] = weight[t] · dy[s]`, `d weight[t] = x[t] · dy[s]`
pub fn backward(sum: &SequenceSum, operands: Backward<'_, Host, F64>) {
    let Backward { weights, x, offsets, dy, d_weights, store_weights, dx, store } = operands;
    let width = sum.width;
    let sequences = Sequences::new(offsets, weights.len());
    for (s, rows) in sequences.iter().enumerate() {
        for t in rows {
            let mut d_weight = 0.0;
            for c in 0..width {
                let gradient = dy[s * width + c];
                d_weight += x[t * width + c] * gradient;
                store.put(&mut dx[t * width + c], weights[t] * gradient);
            }
            store_weights.put(&mut d_weights[t], d_weight);
        }
    }
    for t in sequences.dead() {
        store_weights.put(&mut d_weights[t], 0.0);
        for c in 0..width {
            store.put(&mut dx[t * width + c], 0.0);
        }
    }
}
