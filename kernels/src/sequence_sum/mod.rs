//! Weighted sum over the tokens of each sequence: `y[s] = Σ_{t in sequence s} weight[t] · x[t]`.
//! Backward: `dx[t] = weight[t] · dy[s]`, `d weight[t] = x[t] · dy[s]`.
//! Rows past the last offset are dead: they are never read, and every gradient is 0 there.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

use crate::contract::shapes;
use crate::memory::{Length, Memory};
use crate::precision::Precision;

/// Shape of a sum over sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceSum {
    /// Columns of `x` and `y`.
    pub width: usize,
}

/// Operands of the forward pass.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows]`
    pub weights: M::Slice<'a, P::Activation>,
    /// `[rows, width]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[sequences + 1]`
    pub offsets: M::Slice<'a, i32>,
    /// `[sequences, width]`
    pub y: M::SliceMut<'a, P::Activation>,
}

/// Operands of the backward pass. Each gradient is written on its own, so that the two may be stored or added separately.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// `[rows]`
    pub weights: M::Slice<'a, P::Activation>,
    /// `[rows, width]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[sequences + 1]`
    pub offsets: M::Slice<'a, i32>,
    /// `[sequences, width]`
    pub dy: M::Slice<'a, P::Activation>,
    /// `[rows]`
    pub d_weights: M::SliceMut<'a, P::Activation>,
    /// Whether `d_weights` is stored or added to.
    pub store_weights: crate::Store,
    /// `[rows, width]`
    pub dx: M::SliceMut<'a, P::Activation>,
    /// Whether `dx` is stored or added to.
    pub store: crate::Store,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &SequenceSum { width }: &SequenceSum) {
        assert!(width > 0, "a matrix has columns");
        let (rows, sequences) = (self.weights.length(), self.offsets.length().saturating_sub(1));
        shapes!(self; x: [rows, width], y: [sequences, width]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &SequenceSum { width }: &SequenceSum) {
        assert!(width > 0, "a matrix has columns");
        let (rows, sequences) = (self.weights.length(), self.offsets.length().saturating_sub(1));
        shapes!(self; x: [rows, width], dy: [sequences, width], d_weights: [rows], dx: [rows, width]);
    }
}
