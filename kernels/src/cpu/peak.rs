//! The limits of a processor: multiply-adds in registers, by the instructions that matrix products use, and copies.
//!
//! Each thread's limit is its best of many short runs by the time that the processor gave it, so that other work on the
//! machine does not lower it; the device's limit is the sum.

use std::hint::black_box;

use super::Cpu;
use super::clock::thread_seconds;
use super::microkernel::{self, CHAINS, Unit};
use super::simd::kernel;
use super::threads::{Grid, Pieces};
use crate::Peak;

/// Short runs of each measurement.
const RUNS: usize = 40;
/// Rounds of one run, some 3 ms at 4 GHz.
const ROUNDS: usize = 1_000_000;
/// f32s that all threads together copy: 128 MiB, more than most caches hold.
const COPIED: usize = 1 << 25;
/// Runs of the measurement of copying: each takes tens of milliseconds.
const COPIES: usize = 6;

impl Cpu {
    /// Measures the limits, within about a second of a processor's time.
    pub fn peak(&self) -> Peak {
        Peak {
            flops_per_second: self.peak_flops(Unit::Single),
            bf16_flops_per_second: self.peak_flops(Unit::Pair),
            copy_bytes_per_second: self.copy_bandwidth(),
        }
    }

    fn peak_flops(&self, unit: Unit) -> f64 {
        let numbers = match unit {
            Unit::Single => 1,
            Unit::Pair => 2,
        };
        let flops = (2 * numbers * CHAINS * ROUNDS * lanes(self.token())) as f64;
        self.sum_over_threads(|_| {
            let sums = || {
                black_box(microkernel::multiply_in_registers(self.token(), unit, ROUNDS, black_box(0.5)));
            };
            flops / best(RUNS, sums)
        })
    }

    fn copy_bandwidth(&self) -> f64 {
        let grid = Grid::new(COPIED, COPIED.div_ceil(self.threads()));
        let source = vec![1.0f32; COPIED];
        let mut target = vec![0.0f32; COPIED];
        let target = Pieces::new(&mut target);
        self.sum_over_threads(|thread| {
            let range = grid.range(thread);
            // SAFETY: ranges of a grid are disjoint.
            let piece = unsafe { target.piece(range.clone()) };
            let bytes = 2 * size_of_val(piece);
            bytes as f64 / best(COPIES, || piece.copy_from_slice(black_box(&source[range.clone()])))
        })
    }

    /// The sum of what every thread measures, all at once; threads are numbered.
    fn sum_over_threads(&self, measure: impl Fn(usize) -> f64 + Sync) -> f64 {
        self.pool.broadcast(|context| measure(context.index())).into_iter().sum()
    }
}

/// Seconds of processor time of the fastest of `runs` runs.
fn best(runs: usize, mut run: impl FnMut()) -> f64 {
    let seconds = (0..runs).map(|_| {
        let start = thread_seconds();
        run();
        thread_seconds() - start
    });
    seconds.fold(f64::INFINITY, f64::min)
}

kernel! {
    fn lanes<S>(_simd) -> usize { S::LANES }
}

#[cfg(test)]
mod tests {
    use crate::Cpu;
    use crate::cpu::Isa;

    /// No machine that this runs on is outside these bounds by honest measurement; pairs are multiplied no slower than
    /// singles, or products would not use them.
    #[test]
    fn limits_are_plausible() {
        for isa in Isa::available() {
            let peak = Cpu::new(Some(1), Some(isa)).expect("available").peak();
            for figure in [peak.flops_per_second, peak.bf16_flops_per_second, peak.copy_bytes_per_second] {
                assert!((1e8..1e12).contains(&figure), "{isa}: {peak:?}");
            }
            assert!(peak.bf16_flops_per_second > 0.8 * peak.flops_per_second, "{isa}: {peak:?}");
        }
    }
}
