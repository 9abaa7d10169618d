//! Softmax over the tokens of each sequence, column by column: `y[t, c] = exp x[t, c] / Σ_{t' in sequence} exp x[t', c]`.
//! Backward: `dx = y ∘ (dy − Σ_{t' in sequence} y ∘ dy)`.
//! Rows past the last offset are dead: they are never read, and every result is 0 there.

pub mod cpu;
pub mod reference;

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
