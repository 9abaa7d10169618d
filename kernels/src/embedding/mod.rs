//! Sum of three table look-ups: `y[t] = words[token[t]] + positions[position[t]] + segments[segment[t]]`.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

pub use cuda::scratch_bytes;

use crate::Cost;
use crate::contract::{rows, shapes};
use crate::memory::{Length, Memory};
use crate::precision::Precision;

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
pub struct Indices<'a, M: Memory> {
    /// Row of the word table.
    pub tokens: M::Slice<'a, i32>,
    /// Row of the position table.
    pub positions: M::Slice<'a, i32>,
    /// Row of the segment table.
    pub segments: M::Slice<'a, i32>,
}

/// Operands of the forward pass.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows]` each
    pub indices: Indices<'a, M>,
    /// `[vocabulary, width]`
    pub words: M::Slice<'a, P::Master>,
    /// `[positions, width]`
    pub positions: M::Slice<'a, P::Master>,
    /// `[segments, width]`
    pub segments: M::Slice<'a, P::Master>,
    /// `[rows, width]`
    pub y: M::SliceMut<'a, P::Activation>,
}

/// Operands of the backward pass: every row of `dy` is added to three table rows, in ascending order of its row.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// `[rows]` each
    pub indices: Indices<'a, M>,
    /// Rows stably sorted by token, `[rows]`: what makes a parallel sum deterministic.
    pub token_order: M::Slice<'a, i32>,
    /// `[rows, width]`
    pub dy: M::Slice<'a, P::Activation>,
    /// `[vocabulary, width]`, added to.
    pub d_words: M::SliceMut<'a, P::Master>,
    /// `[positions, width]`, added to.
    pub d_positions: M::SliceMut<'a, P::Master>,
    /// `[segments, width]`, added to.
    pub d_segments: M::SliceMut<'a, P::Master>,
}

impl<M: Memory> Indices<'_, M> {
    /// Panics unless all have `rows` entries.
    fn check(&self, rows: usize) {
        shapes!(self; tokens: [rows], positions: [rows], segments: [rows]);
    }
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Embedding { width }: &Embedding) {
        self.indices.check(rows(self.y.length(), width));
        let [words, positions, segments] =
            [self.words, self.positions, self.segments].map(|table| rows(table.length(), width));
        shapes!(self; words: [words, width], positions: [positions, width], segments: [segments, width]);
        shapes!(self; y: [self.indices.tokens.length(), width]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Embedding { width }: &Embedding) {
        let rows_of_dy = rows(self.dy.length(), width);
        self.indices.check(rows_of_dy);
        let [words, positions, segments] =
            [&self.d_words, &self.d_positions, &self.d_segments].map(|table| rows(table.length(), width));
        shapes!(self; d_words: [words, width], d_positions: [positions, width], d_segments: [segments, width]);
        shapes!(self; dy: [rows_of_dy, width], token_order: [rows_of_dy]);
    }
}
