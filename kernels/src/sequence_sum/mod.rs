//! Weighted sum over the tokens of each sequence: `y[s] = Σ_{t in sequence s} weight[t] · x[t]`.
//! Backward: `dx[t] = weight[t] · dy[s]`, `d weight[t] = x[t] · dy[s]`.
//! Rows past the last offset are dead: they are never read, and every gradient is 0 there.

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::contract::shapes;

/// Shape of a sum over sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceSum {
    /// Columns of `x` and `y`.
    pub width: usize,
}

/// Operands of the forward pass.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[rows]`
    pub weights: &'a [R],
    /// `[rows, width]`
    pub x: &'a [R],
    /// `[sequences + 1]`
    pub offsets: &'a [i32],
    /// `[sequences, width]`
    pub y: &'a mut [R],
}

/// Operands of the backward pass. Each gradient is written on its own, so that the two may be stored or added separately.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// `[rows]`
    pub weights: &'a [R],
    /// `[rows, width]`
    pub x: &'a [R],
    /// `[sequences + 1]`
    pub offsets: &'a [i32],
    /// `[sequences, width]`
    pub dy: &'a [R],
    /// `[rows]`
    pub d_weights: &'a mut [R],
    /// Whether `d_weights` is stored or added to.
    pub store_weights: crate::Store,
    /// `[rows, width]`
    pub dx: &'a mut [R],
    /// Whether `dx` is stored or added to.
    pub store: crate::Store,
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &SequenceSum { width }: &SequenceSum) {
        assert!(width > 0, "a matrix has columns");
        let (rows, sequences) = (self.weights.len(), self.offsets.len().saturating_sub(1));
        shapes!(self; x: [rows, width], y: [sequences, width]);
    }
}

impl<R> Backward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &SequenceSum { width }: &SequenceSum) {
        assert!(width > 0, "a matrix has columns");
        let (rows, sequences) = (self.weights.len(), self.offsets.len().saturating_sub(1));
        shapes!(self; x: [rows, width], dy: [sequences, width], d_weights: [rows], dx: [rows, width]);
    }
}
