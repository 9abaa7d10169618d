//! What an operation costs: the floor that its speed is judged against.

use std::ops::{Add, AddAssign};

/// Floating-point operations and bytes moved to and from memory if every operand is touched once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts as two.
    pub flops: u64,
    /// Bytes read plus bytes written.
    pub bytes: u64,
}

impl Cost {
    /// A cost of `flops` operations over `elements` values of `element_size` bytes each.
    pub fn new(flops: usize, elements: usize, element_size: usize) -> Self {
        Self { flops: flops as u64, bytes: (elements * element_size) as u64 }
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
