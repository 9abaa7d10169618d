//! Row selection: `y[i] = x[rows[i]]`. Heads read the rows they want: masked tokens, first tokens.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

pub use cuda::scratch_bytes;

use crate::contract::{rows, shapes};
use crate::memory::{Length, Memory};
use crate::precision::Precision;
use crate::{Cost, Store};

/// Shape of a selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Columns.
    pub width: usize,
}

impl Gather {
    /// Cost of selecting `rows` rows.
    pub fn cost(&self, rows: usize, element_size: usize) -> Cost {
        Cost::new(0, 2 * rows * self.width, element_size)
    }
}

/// Operands of the forward pass.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[selected]`, rows of `x`, repetitions allowed.
    pub rows: M::Slice<'a, i32>,
    /// `[rows, width]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[selected, width]`
    pub y: M::SliceMut<'a, P::Activation>,
}

/// Operands of the backward pass: `dx[rows[i]] += dy[i]` in ascending order of i.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// `[selected]`
    pub rows: M::Slice<'a, i32>,
    /// `[selected, width]`
    pub dy: M::Slice<'a, P::Activation>,
    /// `[rows, width]`; rows that were not selected become 0 when stored, stay when added to.
    pub dx: M::SliceMut<'a, P::Activation>,
    /// Whether `dx` is stored or added to.
    pub store: Store,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Gather { width }: &Gather) {
        shapes!(self; x: [rows(self.x.length(), width), width], y: [self.rows.length(), width]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Gather { width }: &Gather) {
        shapes!(self; dx: [rows(self.dx.length(), width), width], dy: [self.rows.length(), width]);
    }
}
