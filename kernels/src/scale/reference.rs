//! The mathematics of the product with a constant.

use super::{Forward, Scale};
use crate::memory::Host;
use crate::precision::Precision;

/// `y = factor · x`
pub fn forward<P: Precision<Activation = f64>>(scale: &Scale, operands: Forward<'_, Host, P>) {
    let Forward { x, y, store } = operands;
    for i in 0..y.len() {
        store.put(&mut y[i], scale.factor * x[i]);
    }
}
