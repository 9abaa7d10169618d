//! What the machine can do at most: the figures that every kernel's speed is judged against.

use std::hint::black_box;
use std::time::Instant;

use super::Cpu;
use super::simd::{Floats, kernel};
use super::threads::{Grid, Pieces};

/// Measured limits of a device, all its threads together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// f32 operations per second of multiply-adds on registers; a multiply-add counts as two.
    pub flops_per_second: f64,
    /// Bytes per second of copying memory that no cache holds; a byte copied counts as two, one read and one written.
    pub copy_bytes_per_second: f64,
}

/// The best of so many runs is reported: others were disturbed.
const RUNS: usize = 5;
/// Independent sums: enough to keep two multiply-add units busy for the four cycles that each takes.
const CHAINS: usize = 12;
/// Rounds of one measurement, some 20 ms at 4 GHz.
const ROUNDS: usize = 10_000_000;
/// f32s that all threads together copy: 128 MiB, more than most caches hold.
const COPIED: usize = 1 << 25;

impl Cpu {
    /// Measures the limits, within about a second.
    pub fn peak(&self) -> Peak {
        Peak { flops_per_second: self.peak_flops(), copy_bytes_per_second: self.copy_bandwidth() }
    }

    fn peak_flops(&self) -> f64 {
        let threads = self.threads();
        let lanes = lanes(self.token());
        let seconds = best(|| {
            self.on_every_thread(|_| {
                black_box(multiply_adds(self.token(), black_box(0.5)));
            })
        });
        (2 * CHAINS * ROUNDS * lanes * threads) as f64 / seconds
    }

    fn copy_bandwidth(&self) -> f64 {
        let grid = Grid::new(COPIED, COPIED.div_ceil(self.threads()));
        let source = vec![1.0f32; COPIED];
        let mut target = vec![0.0f32; COPIED];
        let target = Pieces::new(&mut target);
        let seconds = best(|| {
            self.on_every_thread(|thread| {
                let range = grid.range(thread);
                // SAFETY: ranges of a grid are disjoint.
                unsafe { target.piece(range.clone()) }.copy_from_slice(black_box(&source[range]));
            })
        });
        (2 * size_of_val(&source[..])) as f64 / seconds
    }

    /// Calls `work` with every thread's number, on that thread, all at once.
    fn on_every_thread(&self, work: impl Fn(usize) + Sync) {
        self.pool.broadcast(|context| work(context.index()));
    }
}

/// Seconds of the fastest run.
fn best(run: impl Fn()) -> f64 {
    let seconds = (0..RUNS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

kernel! {
    fn lanes<S>(_simd) -> usize { S::LANES }
}

kernel! {
    fn multiply_adds<S>(simd, start: f32) -> f32 {
        let (factor, addend) = (simd.splat(start), simd.splat(start));
        let mut sums = [simd.splat(start); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, addend);
            }
        }
        sums.into_iter().fold(simd.splat(0.0), |total, sum| total + sum).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::Cpu;
    use crate::cpu::Isa;

    /// No machine that this runs on is outside these bounds by honest measurement.
    #[test]
    fn limits_are_plausible() {
        let cpu = Cpu::new(Some(1), Some(Isa::Scalar)).expect("scalar is always there");
        let peak = cpu.peak();
        assert!((1e8..1e12).contains(&peak.flops_per_second), "{peak:?}");
        assert!((1e8..1e12).contains(&peak.copy_bytes_per_second), "{peak:?}");
    }
}
