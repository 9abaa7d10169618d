//! Weighted sum of two matrices: `y = alpha · a + beta · b`.

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::contract::shapes;

/// The two factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Add {
    /// Factor of `a`.
    pub alpha: f64,
    /// Factor of `b`.
    pub beta: f64,
}

/// Operands.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// Any length.
    pub a: &'a [R],
    /// Length of `a`.
    pub b: &'a [R],
    /// Length of `a`, stored.
    pub y: &'a mut [R],
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &Add) {
        let length = self.y.len();
        shapes!(self; a: [length], b: [length]);
    }
}
