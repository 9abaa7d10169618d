//! Softmax over the tokens of each sequence, column by column: `y[t, c] = exp x[t, c] / Σ_{t' in sequence} exp x[t', c]`.
//! Backward: `dx = y ∘ (dy − Σ_{t' in sequence} y ∘ dy)`.
//! Rows past the last offset are dead: they are never read, and every result is 0 there.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

use crate::contract::{rows, shapes};
use crate::memory::{Length, Memory};
use crate::precision::Precision;

/// Shape of a softmax over sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceSoftmax {
    /// Columns, each a softmax of its own.
    pub width: usize,
}

/// Operands of the forward pass.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows, width]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[sequences + 1]`
    pub offsets: M::Slice<'a, i32>,
    /// `[rows, width]`
    pub y: M::SliceMut<'a, P::Activation>,
}

/// Operands of the backward pass.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// `[rows, width]`
    pub y: M::Slice<'a, P::Activation>,
    /// `[sequences + 1]`
    pub offsets: M::Slice<'a, i32>,
    /// `[rows, width]`
    pub dy: M::Slice<'a, P::Activation>,
    /// `[rows, width]`
    pub dx: M::SliceMut<'a, P::Activation>,
    /// Whether `dx` is stored or added to.
    pub store: crate::Store,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &SequenceSoftmax { width }: &SequenceSoftmax) {
        let rows = rows(self.y.length(), width);
        shapes!(self; x: [rows, width], y: [rows, width]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &SequenceSoftmax { width }: &SequenceSoftmax) {
        let rows = rows(self.dx.length(), width);
        shapes!(self; y: [rows, width], dy: [rows, width], dx: [rows, width]);
    }
}
