//! How long an H100 takes at least: for each resource, what is asked of it over what it gives in a second.
//!
//! A bound of one resource is exact as far as its count and rate are; kernels take longer, for resources are not busy all
//! the time. The counts are those of PTX: sectors, passes through banks, tensor core and special functions are as in the
//! machine's own code, integers and moves are more than it has, divisions and library functions fewer. So the bounds of
//! `issue` and `integer` are only near the truth. Latency, re-reads beyond the L2 cache, contention of atomics and power are
//! not modelled.

use crate::ptx::{Class, Request};

use super::Summary;

/// What a device gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Bytes a second of device memory.
    pub memory: f64,
    /// Bytes a second of the L2 cache.
    pub cache: f64,
    /// Operations a second of `mma.sync`.
    pub matrix: f64,
    /// Multiprocessors.
    pub multiprocessors: f64,
    /// Cycles a second.
    pub clock: f64,
}

/// An H100 SXM. Memory: 3.0 of 3.35 TB/s are reached by a copy. L2: about 5.5 TB/s. `mma.sync` reaches some two thirds of the
/// 989 TFLOP/s that `wgmma` has (FlashAttention-3 paper). The clock is that under load.
pub const H100: Rates =
    Rates { memory: 3.0e12, cache: 5.5e12, matrix: 620e12, multiprocessors: 132.0, clock: 1.755e9 };

/// The least time that one resource takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Its name.
    pub resource: &'static str,
    /// The time.
    pub seconds: f64,
}

impl Rates {
    /// The bounds of a launch that fills the device, largest first.
    pub fn bounds(&self, summary: &Summary) -> Vec<Bound> {
        let issued = |classes: &[Class]| -> f64 {
            classes.iter().map(|&class| summary.issued[class as usize] as f64).sum()
        };
        let cycles = |count: f64, a_cycle: f64| count / a_cycle / (self.multiprocessors * self.clock);
        // Moves vanish in registers, and parameters come from a cache of constants as part of other instructions.
        let all = summary.instructions() as f64 - issued(&[Class::Move, Class::Local]);
        let sectors: u64 = summary.global.iter().map(|it| it.sectors).sum();
        let wavefronts: u64 = summary.shared.iter().map(|it| it.wavefronts).sum();
        let compulsory: u64 = summary.compulsory_bytes.iter().sum();
        let atomics = summary.global[Request::Atomic as usize].sectors;
        // Warp instructions of a multiprocessor in a cycle: four are issued; a pipe of n lanes takes n / 32.
        let mut bounds = vec![
            Bound { resource: "memory", seconds: compulsory as f64 / self.memory },
            Bound { resource: "L2", seconds: sectors as f64 * 32.0 / self.cache },
            Bound { resource: "tensor", seconds: summary.matrix_operations as f64 / self.matrix },
            Bound { resource: "issue", seconds: cycles(all, 4.0) },
            Bound { resource: "float", seconds: cycles(issued(&[Class::Float, Class::Half]), 4.0) },
            Bound { resource: "integer", seconds: cycles(issued(&[Class::Integer]), 2.0) },
            Bound { resource: "convert", seconds: cycles(issued(&[Class::Convert]), 2.0) },
            Bound { resource: "special", seconds: cycles(issued(&[Class::Special]), 0.5) },
            Bound { resource: "double", seconds: cycles(issued(&[Class::Double]), 2.0) },
            Bound { resource: "warp", seconds: cycles(issued(&[Class::Warp]), 1.0) },
            Bound { resource: "banks", seconds: cycles(wavefronts as f64, 1.0) },
            // The L1 cache gives 128 bytes a cycle, four sectors.
            Bound { resource: "L1", seconds: cycles((sectors - atomics) as f64, 4.0) },
        ];
        bounds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_bound_by_memory_and_a_product_by_tensor_cores() {
        let mut copy = Summary { compulsory_bytes: [3_000_000_000, 3_000_000_000], ..Summary::default() };
        copy.global[0].sectors = 3_000_000_000 / 32;
        let first = H100.bounds(&copy)[0];
        assert_eq!((first.resource, first.seconds), ("memory", 2e-3));
        let mut product = Summary { matrix_operations: 620_000_000_000, ..Summary::default() };
        assert_eq!(H100.bounds(&product)[0], Bound { resource: "tensor", seconds: 1e-3 });
        // Four instructions a cycle on 132 multiprocessors.
        product.issued[Class::Integer as usize] = 4 * 132 * 1_755_000;
        assert_eq!(H100.bounds(&product)[0].resource, "integer");
        assert!((H100.bounds(&product)[0].seconds - 2e-3).abs() < 1e-12);
    }
}
