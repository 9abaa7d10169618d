//! Softmax over the tokens of each sequence, column by column: `y[t, c] = exp x[t, c] / Σ_{t' in sequence} exp x[t', c]`.
//! Backward: `dx = y ∘ (dy − Σ_{t' in sequence} y ∘ dy)`.
//! Rows past the last offset are dead: they are never read, and every result is 0 there.

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::contract::{rows, shapes};

/// Shape of a softmax over sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceSoftmax {
    /// Columns, each a softmax of its own.
    pub width: usize,
}

/// Operands of the forward pass.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[rows, width]`
    pub x: &'a [R],
    /// `[sequences + 1]`
    pub offsets: &'a [i32],
    /// `[rows, width]`
    pub y: &'a mut [R],
}

/// Operands of the backward pass.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// `[rows, width]`
    pub y: &'a [R],
    /// `[sequences + 1]`
    pub offsets: &'a [i32],
    /// `[rows, width]`
    pub dy: &'a [R],
    /// `[rows, width]`
    pub dx: &'a mut [R],
    /// Whether `dx` is stored or added to.
    pub store: crate::Store,
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &SequenceSoftmax { width }: &SequenceSoftmax) {
        let rows = rows(self.y.len(), width);
        shapes!(self; x: [rows, width], y: [rows, width]);
    }
}

impl<R> Backward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &SequenceSoftmax { width }: &SequenceSoftmax) {
        let rows = rows(self.dx.len(), width);
        shapes!(self; y: [rows, width], dy: [rows, width], dx: [rows, width]);
    }
}
