//! Weighted sum of two matrices: `y = alpha · a + beta · b`.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

use crate::contract::shapes;
use crate::memory::{Length, Memory};
use crate::precision::Precision;

/// The two factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Add {
    /// Factor of `a`.
    pub alpha: f64,
    /// Factor of `b`.
    pub beta: f64,
}

/// Operands.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// Any length.
    pub a: M::Slice<'a, P::Activation>,
    /// Length of `a`.
    pub b: M::Slice<'a, P::Activation>,
    /// Length of `a`, stored.
    pub y: M::SliceMut<'a, P::Activation>,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &Add) {
        let length = self.y.length();
        shapes!(self; a: [length], b: [length]);
    }
}
