//! Dropout: `y = x · keep / (1 − p)`, `keep` a coin that depends only on what is dropped.
//!
//! The coin of an element is a pure function of (seed, step, stream, row, column): `row` is the token's row in the
//! whole optimisation batch, so neither micro-batches nor threads nor devices change it, and backward draws it again
//! instead of reading a stored mask. Where only some rows of a matrix are there, a list says which they are.

use crate::contract::{rows, shapes};
use crate::memory::{Length, Memory};
use crate::precision::Precision;
use crate::random::Philox;

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

/// Where a kernel's dropout coins come from in one run of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Randomness {
    /// Keyed by the run's seed and the purpose "dropout".
    pub philox: Philox,
    /// The optimizer step.
    pub step: u32,
    /// Row of the optimisation batch that row 0 of this run is: what earlier micro-batches held.
    pub first_row: u64,
}

/// Dropout with its place in the model. Shapes: `x`, `y` `[rows, width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability that an element is dropped, in `[0, 1)`.
    pub probability: f32,
    /// Which dropout of the model this is; no two share a stream.
    pub stream: u32,
}

/// Columns of a matrix whose elements have a coin each.
pub const MOST_COLUMNS: usize = 1 << 26;

impl Dropout {
    /// An element is kept if its random word is at least this.
    #[inline(always)]
    pub fn threshold(&self) -> u32 {
        (f64::from(self.probability) * 4_294_967_296.0) as u32
    }

    /// What a kept element is multiplied with, `1 / (1 − p)`.
    #[inline(always)]
    pub fn scale(&self) -> f32 {
        (1.0 / (1.0 - f64::from(self.probability))) as f32
    }

    /// The random counter of columns `4 · quad .. 4 · quad + 4` of `row` (a row of this run, not of the batch). Along
    /// a row only the first word changes, by 1 per quad.
    #[inline(always)]
    pub fn counter(&self, randomness: &Randomness, row: usize, quad: usize) -> [u32; 4] {
        let block = (randomness.first_row + row as u64) << 24 | quad as u64;
        [block as u32, (block >> 32) as u32, randomness.step, self.stream]
    }

    /// The random words of columns `4 · quad .. 4 · quad + 4` of `row`.
    #[inline(always)]
    pub fn words(&self, randomness: &Randomness, row: usize, quad: usize) -> [u32; 4] {
        randomness.philox.block(self.counter(randomness, row, quad))
    }

    /// Whether the element at (`row`, `column`) is kept; `column < 2²⁶`.
    #[inline(always)]
    pub fn keeps(&self, randomness: &Randomness, row: usize, column: usize) -> bool {
        self.words(randomness, row, column >> 2)[column & 3] >= self.threshold()
    }

    /// Panics unless every element of rows of so many columns has a coin of its own.
    pub(crate) fn check(&self, columns: usize) {
        assert!((0.0..1.0).contains(&self.probability), "probability {} is not in [0, 1)", self.probability);
        assert!(columns <= MOST_COLUMNS, "{columns} columns are more than the 2²⁶ that have coins");
    }
}

/// Which row of a run row `row` of a matrix is.
#[inline(always)]
pub(crate) fn logical_row(logical_rows: Option<&[i32]>, row: usize) -> usize {
    logical_rows.map_or(row, |rows| rows[row] as usize)
}

/// Operands of the forward pass.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// Columns of `x` and `y`.
    pub width: usize,
    /// Source of the coins.
    pub randomness: M::Randomness,
    /// `[rows]`: which row of this run each is, where that is not its own number.
    pub logical_rows: Option<M::Slice<'a, i32>>,
    /// `[rows, width]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[rows, width]`
    pub y: M::SliceMut<'a, P::Activation>,
}

/// Operands of the backward pass: `dx = dy · keep / (1 − p)`.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// Columns of `dy` and `dx`.
    pub width: usize,
    /// Source of the coins: the same as in forward.
    pub randomness: M::Randomness,
    /// The same as in forward.
    pub logical_rows: Option<M::Slice<'a, i32>>,
    /// `[rows, width]`
    pub dy: M::Slice<'a, P::Activation>,
    /// `[rows, width]`
    pub dx: M::SliceMut<'a, P::Activation>,
    /// Whether `dx` is stored or added to.
    pub store: crate::Store,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, dropout: &Dropout) {
        dropout.check(self.width);
        let rows = rows(self.y.length(), self.width);
        shapes!(self; x: [rows, self.width], y: [rows, self.width], logical_rows: [rows]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, dropout: &Dropout) {
        dropout.check(self.width);
        let rows = rows(self.dx.length(), self.width);
        shapes!(self; dy: [rows, self.width], dx: [rows, self.width], logical_rows: [rows]);
    }
}
