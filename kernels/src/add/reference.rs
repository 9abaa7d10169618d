//! The mathematics of the weighted sum.

use super::{Add, Forward};
use crate::memory::Host;
use crate::precision::Precision;

/// `y = alpha · a + beta · b`
pub fn forward<P: Precision<Activation = f64>>(add: &Add, operands: Forward<'_, Host, P>) {
    let Forward { a, b, y } = operands;
    for i in 0..y.len() {
        y[i] = add.alpha * a[i] + add.beta * b[i];
    }
}
