//! What every operation requires of its operands, checked in one place: before any device computes, in [`crate::Kernels`].
//!
//! The lengths of the operands, and the constants that a kernel's arithmetic relies on. What lists of integers name is
//! checked where a kernel follows them.

use crate::memory::Length;

/// An operand as the checks see it.
pub(crate) trait Operand {
    /// How many numbers it has, `None` if it is absent.
    fn present_length(&self) -> Option<usize>;
}

impl<L: Length> Operand for L {
    fn present_length(&self) -> Option<usize> {
        Some(self.length())
    }
}

impl<L: Length> Operand for Option<L> {
    fn present_length(&self) -> Option<usize> {
        self.as_ref().map(L::length)
    }
}

/// Rows of a matrix of `length` numbers that is `width` wide.
///
/// # Panics
/// If it has no columns.
#[track_caller]
pub(crate) fn rows(length: usize, width: usize) -> usize {
    assert!(width > 0, "a matrix has columns");
    length / width
}

/// See [`shapes`].
pub(crate) fn require(operation: &str, name: &str, operand: &impl Operand, shape: &[usize]) {
    let Some(found) = operand.present_length() else { return };
    let needed = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length));
    assert!(needed == Some(found), "{operation}: {name} has {found} numbers, not those of {shape:?}");
}

/// `shapes!(operands; x: [rows, width], …)`: panics, naming the operand, if one that is present has another length.
macro_rules! shapes {
    ($operands:expr; $($operand:ident: $shape:expr),* $(,)?) => {
        $($crate::contract::require(module_path!(), stringify!($operand), &$operands.$operand, &$shape);)*
    };
}
pub(crate) use shapes;
