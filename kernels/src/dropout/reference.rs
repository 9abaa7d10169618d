//! The mathematics of dropout.

use super::{Backward, Dropout, Forward, Randomness, logical_row};
use crate::memory::Host;
use crate::precision::F64;

/// What dropout multiplies the element at (`row`, `column`) with: `keep / (1 − p)`, or 1 without dropout.
pub(crate) fn factor(dropout: Option<&Dropout>, randomness: &Randomness, row: usize, column: usize) -> f64 {
    match dropout {
        Some(dropout) if dropout.keeps(randomness, row, column) => f64::from(dropout.scale()),
        Some(_) => 0.0,
        None => 1.0,
    }
}

/// `y = x · keep / (1 − p)`
pub fn forward(dropout: &Dropout, operands: Forward<'_, Host, F64>) {
    let Forward { width, randomness, logical_rows, x, y } = operands;
    for i in 0..y.len() {
        let row = logical_row(logical_rows, i / width);
        y[i] = x[i] * factor(Some(dropout), &randomness, row, i % width);
    }
}

/// `dx = dy · keep / (1 − p)`
pub fn backward(dropout: &Dropout, operands: Backward<'_, Host, F64>) {
    let Backward { width, randomness, logical_rows, dy, dx, store } = operands;
    for i in 0..dx.len() {
        let row = logical_row(logical_rows, i / width);
        store.put(&mut dx[i], dy[i] * factor(Some(dropout), &randomness, row, i % width));
    }
}
