//! Product with a constant: `y = factor · x`, stored or added. Also how a gradient passes through [`crate::add`].

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::contract::shapes;

/// The constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// What `x` is multiplied with.
    pub factor: f64,
}

/// Operands.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// Any length.
    pub x: &'a [R],
    /// Length of `x`.
    pub y: &'a mut [R],
    /// Whether `y` is stored or added to.
    pub store: crate::Store,
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &Scale) {
        shapes!(self; x: [self.y.len()]);
    }
}
