//! Row selection: `y[i] = x[rows[i]]`. Heads read the rows they want: masked tokens, first tokens.

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::contract::{rows, shapes};
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
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[selected]`, rows of `x`, repetitions allowed.
    pub rows: &'a [i32],
    /// `[rows, width]`
    pub x: &'a [R],
    /// `[selected, width]`
    pub y: &'a mut [R],
}

/// Operands of the backward pass: `dx[rows[i]] += dy[i]` in ascending order of i.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// `[selected]`
    pub rows: &'a [i32],
    /// `[selected, width]`
    pub dy: &'a [R],
    /// `[rows, width]`; rows that were not selected become 0 when stored, stay when added to.
    pub dx: &'a mut [R],
    /// Whether `dx` is stored or added to.
    pub store: Store,
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Gather { width }: &Gather) {
        shapes!(self; x: [rows(self.x.len(), width), width], y: [self.rows.len(), width]);
    }
}

impl<R> Backward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Gather { width }: &Gather) {
        shapes!(self; dx: [rows(self.dx.len(), width), width], dy: [self.rows.len(), width]);
    }
}
