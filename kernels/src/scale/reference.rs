//! The mathematics of the product with a constant.

use super::{Forward, Scale};

/// `y = factor · x`
pub fn forward(scale: &Scale, operands: Forward<'_, f64>) {
    let Forward { x, y, store } = operands;
    for i in 0..y.len() {
        store.put(&mut y[i], scale.factor * x[i]);
    }
}
