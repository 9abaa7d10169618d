//! Product with a constant: `y = factor · x`, stored or added. Also how a gradient passes through [`crate::add`].

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

use crate::contract::shapes;
use crate::memory::{Length, Memory};
use crate::precision::Precision;

/// The constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// What `x` is multiplied with.
    pub factor: f64,
}

/// Operands.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// Any length.
    pub x: M::Slice<'a, P::Activation>,
    /// Length of `x`.
    pub y: M::SliceMut<'a, P::Activation>,
    /// Whether `y` is stored or added to.
    pub store: crate::Store,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &Scale) {
        shapes!(self; x: [self.y.length()]);
    }
}
