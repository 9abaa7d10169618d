//! Squared error with a weight per row: `loss = Σ_i weight_i · (x_i − target_i)²`, `dx_i = d_loss · 2 weight_i (x_i − target_i)`.
//! A row of weight 0 adds nothing and gets a gradient of 0, whatever it holds: it fills up a batch.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

pub use cuda::scratch_bytes;

use crate::contract::shapes;
use crate::memory::{Length, Memory};
use crate::precision::Precision;

/// Squared error; it has no constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquaredError;

/// Operands of the forward pass.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[rows]`
    pub targets: M::Slice<'a, P::Master>,
    /// `[rows]`
    pub weights: M::Slice<'a, P::Master>,
    /// `[1]`, stored.
    pub loss: M::SliceMut<'a, P::Master>,
}

/// Operands of the backward pass.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// `[rows]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[rows]`
    pub targets: M::Slice<'a, P::Master>,
    /// `[rows]`
    pub weights: M::Slice<'a, P::Master>,
    /// `[1]`
    pub d_loss: M::Slice<'a, P::Master>,
    /// `[rows]`
    pub dx: M::SliceMut<'a, P::Activation>,
    /// Whether `dx` is stored or added to.
    pub store: crate::Store,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &SquaredError) {
        let rows = self.x.length();
        shapes!(self; targets: [rows], weights: [rows], loss: [1]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &SquaredError) {
        let rows = self.x.length();
        shapes!(self; targets: [rows], weights: [rows], d_loss: [1], dx: [rows]);
    }
}
