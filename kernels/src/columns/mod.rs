//! Copy of a block of columns: `y[r, to + c] = x[r, from + c]` for c in `0..width`.
//!
//! Slicing columns, placing them, and the gradients of both are this one kernel: concatenation is two placements.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

use crate::contract::{rows, shapes};
use crate::memory::{Length, Memory};
use crate::precision::Precision;

/// Which columns go where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Number of columns copied.
    pub width: usize,
    /// Columns of `x`.
    pub x_width: usize,
    /// First column read.
    pub from: usize,
    /// Columns of `y`.
    pub y_width: usize,
    /// First column written.
    pub to: usize,
}

/// What happens to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Write the block, leave the other columns.
    Keep,
    /// Write the block, set the other columns to 0.
    Clear,
    /// Add to the block, leave the other columns.
    Add,
}

/// Operands.
pub struct Copy<'a, M: Memory, P: Precision> {
    /// `[rows, x_width]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[rows, y_width]`
    pub y: M::SliceMut<'a, P::Activation>,
    /// What happens to `y`.
    pub place: Place,
}

impl<M: Memory, P: Precision> Copy<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, columns: &Columns) {
        let Columns { width, x_width, from, y_width, to } = *columns;
        let inside = |start: usize, total| start.checked_add(width).is_some_and(|end| end <= total);
        assert!(inside(from, x_width) && inside(to, y_width), "{columns:?} do not fit");
        let rows = rows(self.y.length(), y_width);
        shapes!(self; x: [rows, x_width], y: [rows, y_width]);
    }
}
