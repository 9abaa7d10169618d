//! Copying columns, one element after the other.

use super::{Columns, Copy, Place};
use crate::memory::Host;
use crate::precision::F64;

/// `y[r, to + c] = x[r, from + c]`
pub fn copy(columns: &Columns, operands: Copy<'_, Host, F64>) {
    let Copy { x, y, place } = operands;
    let Columns { width, x_width, from, y_width, to } = *columns;
    if place == Place::Clear {
        y.fill(0.0);
    }
    for row in 0..y.len() / y_width {
        for c in 0..width {
            let value = x[row * x_width + from + c];
            let destination = &mut y[row * y_width + to + c];
            match place {
                Place::Keep | Place::Clear => *destination = value,
                Place::Add => *destination += value,
            }
        }
    }
}
