//! What the machine can do at most: the figures that every kernel's speed is judged against.

use std::hint::black_box;

use super::Cpu;
use super::clock::thread_seconds;
use super::microkernel::{self, CHAINS, Unit};
use super::simd::kernel;
use super::threads::{Grid, Pieces};

/// Measured limits of a device, all its threads together.
///
/// Each thread's limit is its best of many short runs by the time that the processor gave it, so that other work on the
/// machine does not lower it; the device's limit is the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// f32 operations per second of multiply-adds in registers; a multiply-add counts as two.
    pub flops_per_second: f64,
    /// The same of products of bf16, by the instruction that matrix products use: that of pairs where there is one, else
    /// those of f32.
    pub bf16_flops_per_second: f64,
    /// Bytes per second of copying memory that no cache holds; a byte copied counts as two, one read and one written.
    pub copy_bytes_per_second: f64,
}

impl Peak {
    /// The larger of two measurements, figure by figure: what disturbs can only lower one.
    pub fn larger(self, other: Self) -> Self {
        Self {
            flops_per_second: self.flops_per_second.max(other.flops_per_second),
            bf16_flops_per_second: self.bf16_flops_per_second.max(other.bf16_flops_per_second),
            copy_bytes_per_second: self.copy_bytes_per_second.max(other.copy_bytes_per_second),
        }
    }
}

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
    use super::Peak;
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

    #[test]
    fn the_larger_of_each_figure_counts() {
        let peak = |flops_per_second, bf16_flops_per_second, copy_bytes_per_second| Peak {
            flops_per_second,
            bf16_flops_per_second,
            copy_bytes_per_second,
        };
        assert_eq!(peak(2.0, 1.0, 5.0).larger(peak(1.0, 3.0, 4.0)), peak(2.0, 3.0, 5.0));
    }
}
