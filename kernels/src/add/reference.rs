//! The mathematics of the weighted sum.

use super::{Add, Forward};

/// `y = alpha · a + beta · b`
pub fn forward(add: &Add, operands: Forward<'_, f64>) {
    let Forward { a, b, y } = operands;
    for i in 0..y.len() {
        y[i] = add.alpha * a[i] + add.beta * b[i];
    }
}
