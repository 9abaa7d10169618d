//! Sum of three table look-ups: `y[t] = words[token[t]] + positions[position[t]] + segments[segment[t]]`.

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::Cost;
use crate::contract::{rows, shapes};

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

impl Indices<'_> {
    /// Panics unless all have `rows` entries.
    fn check(&self, rows: usize) {
        shapes!(self; tokens: [rows], positions: [rows], segments: [rows]);
    }
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Embedding { width }: &Embedding) {
        self.indices.check(rows(self.y.len(), width));
        let [words, positions, segments] =
            [self.words, self.positions, self.segments].map(|table| rows(table.len(), width));
        shapes!(self; words: [words, width], positions: [positions, width], segments: [segments, width]);
        shapes!(self; y: [self.indices.tokens.len(), width]);
    }
}

impl<R> Backward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Embedding { width }: &Embedding) {
        let rows_of_dy = rows(self.dy.len(), width);
        self.indices.check(rows_of_dy);
        let [words, positions, segments] =
            [&self.d_words, &self.d_positions, &self.d_segments].map(|table| rows(table.len(), width));
        shapes!(self; d_words: [words, width], d_positions: [positions, width], d_segments: [segments, width]);
        shapes!(self; dy: [rows_of_dy, width], token_order: [rows_of_dy]);
    }
}
