//! Row selection, one element after the other.

use super::{Backward, Forward, Gather};
use crate::Store;
use crate::memory::Host;
use crate::precision::F64;

/// `y[i] = x[rows[i]]`
pub fn forward(gather: &Gather, operands: Forward<'_, Host, F64>) {
    let Forward { rows, x, y } = operands;
    let width = gather.width;
    for (i, &row) in rows.iter().enumerate() {
        for c in 0..width {
            y[i * width + c] = x[row as usize * width + c];
        }
    }
}

/// `dx[rows[i]] += dy[i]`
pub fn backward(gather: &Gather, operands: Backward<'_, Host, F64>) {
    let Backward { rows, dy, dx, store } = operands;
    let width = gather.width;
    if store == Store::Assign {
        dx.fill(0.0);
    }
    for (i, &row) in rows.iter().enumerate() {
        for c in 0..width {
            dx[row as usize * width + c] += dy[i * width + c];
        }
    }
}
