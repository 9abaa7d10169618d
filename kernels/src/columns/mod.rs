//! Copy of a block of columns: `y[r, to + c] = x[r, from + c]` for c in `0..width`.
//!
//! Slicing columns, placing them, and the gradients of both are this one kernel: concatenation is two placements.

pub mod cpu;
pub mod reference;

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
#[derive(Debug)]
pub struct Copy<'a, R> {
    /// `[rows, x_width]`
    pub x: &'a [R],
    /// `[rows, y_width]`
    pub y: &'a mut [R],
    /// What happens to `y`.
    pub place: Place,
}
