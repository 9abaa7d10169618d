//! What an operation costs: the floor that its speed is judged against.

use std::ops::{Add, AddAssign};

/// Floating-point operations, and bytes moved to and from memory if every operand is touched once. A multiply-add counts as
/// two operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Operations that the mathematics needs: what speeds of different programs are compared by.
    pub model_flops: u64,
    /// Operations done, those that compute a value again included: what a share of the machine's peak is made of.
    pub executed_flops: u64,
    /// Bytes read plus bytes written.
    pub bytes: u64,
}

impl Cost {
    /// A cost of `flops` operations over `elements` values of `element_size` bytes each.
    pub fn new(flops: usize, elements: usize, element_size: usize) -> Self {
        let flops = flops as u64;
        Self { model_flops: flops, executed_flops: flops, bytes: (elements * element_size) as u64 }
    }

    /// The same with `flops` more operations, which compute again what was computed before.
    pub fn recomputing(self, flops: usize) -> Self {
        Self { executed_flops: self.executed_flops + flops as u64, ..self }
    }

    /// The cost of doing all of it a second time: no operation of the model.
    pub fn again(self) -> Self {
        Self { model_flops: 0, ..self }
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            model_flops: self.model_flops + other.model_flops,
            executed_flops: self.executed_flops + other.executed_flops,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
