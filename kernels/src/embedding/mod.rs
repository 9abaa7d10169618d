//! Sum of three table look-ups: `y[t] = words[token[t]] + positions[position[t]] + segments[segment[t]]`.

pub mod cpu;
pub mod reference;

use crate::Cost;

/// Shape of an embedding. The tables' heights come from the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// Columns of the tables and of `y`.
    pub width: usize,
}

impl Embedding {
    /// Cost of either pass over `rows` tokens.
    pub fn cost(&self, rows: usize, element_size: usize) -> Cost {
        Cost::new(2 * rows * self.width, 4 * rows * self.width, element_size)
    }
}

/// What is looked up: one entry per token.
#[derive(Clone, Copy, Debug)]
pub struct Indices<'a> {
    /// Row of the word table.
    pub tokens: &'a [i32],
    /// Row of the position table.
    pub positions: &'a [i32],
    /// Row of the segment table.
    pub segments: &'a [i32],
}

/// Operands of the forward pass.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[rows]` each
    pub indices: Indices<'a>,
    /// `[vocabulary, width]`
    pub words: &'a [R],
    /// `[positions, width]`
    pub positions: &'a [R],
    /// `[segments, width]`
    pub segments: &'a [R],
    /// `[rows, width]`
    pub y: &'a mut [R],
}

/// Operands of the backward pass: every row of `dy` is added to three table rows, in ascending order of its row.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// `[rows]` each
    pub indices: Indices<'a>,
    /// Rows stably sorted by token, `[rows]`: what makes a parallel sum deterministic.
    pub token_order: &'a [i32],
    /// `[rows, width]`
    pub dy: &'a [R],
    /// `[vocabulary, width]`, added to.
    pub d_words: &'a mut [R],
    /// `[positions, width]`, added to.
    pub d_positions: &'a mut [R],
    /// `[segments, width]`, added to.
    pub d_segments: &'a mut [R],
}
