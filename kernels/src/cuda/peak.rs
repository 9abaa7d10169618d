//! The limits of a GPU: what large products by cuBLASLt reach on random numbers, and copies within its memory.

use std::time::Instant;

use cudarc::driver::result;

use super::{Buffer, Cuda, Epilogue, Factor, Number, Product};
use crate::backend::Backend;
use crate::memory::DeviceError;
use crate::random::{Philox, unit};
use crate::{Peak, Real, Store};

/// Sides of the matrices that are multiplied, as powers of two: until one product takes [`LONG`].
const SIDES: std::ops::RangeInclusive<u32> = 7..=13;
/// Bytes that are copied, as powers of two: until one copy takes [`LONG`]. The largest is more than caches hold.
const COPIES: std::ops::RangeInclusive<u32> = 20..=29;
/// Seconds that show as much of a device as any more would.
const LONG: f64 = 5e-4;
/// Runs of each measurement, the fastest of which counts.
const RUNS: usize = 5;
/// Seconds that a run should last.
const RUN: f64 = 0.01;

impl Cuda {
    /// Measures the limits, within about a second.
    ///
    /// # Errors
    /// If the GPU has not the memory for it, or fails.
    pub fn peak(&self) -> Result<Peak, DeviceError> {
        Ok(Peak {
            flops_per_second: self.product_rate::<f32>(Number::F32)?,
            bf16_flops_per_second: self.product_rate::<half::bf16>(Number::Bf16)?,
            copy_bytes_per_second: self.copy_rate()?,
        })
    }

    fn product_rate<T: Real>(&self, number: Number) -> Result<f64, DeviceError> {
        let mut fastest = 0.0_f64;
        for side in SIDES.map(|power| 1_usize << power) {
            let (left, right) = (self.random::<T>(side * side)?, self.random::<T>(side * side)?);
            let result = self.allocate(side * side * size_of::<T>())?;
            let factor = |buffer: &Buffer| Factor { address: buffer.address(0, 0), transposed: false };
            let product = Product {
                rows: side,
                columns: side,
                depth: side,
                factors: number,
                left: factor(&left),
                right: factor(&right),
                number,
                result: result.address(0, 0),
                store: Store::Assign,
                epilogue: Epilogue::Nothing,
            };
            let seconds = self.seconds_of(|| {
                self.product(&product);
            })?;
            fastest = fastest.max(2.0 * (side as f64).powi(3) / seconds);
            if seconds > LONG {
                break;
            }
        }
        Ok(fastest)
    }

    fn copy_rate(&self) -> Result<f64, DeviceError> {
        let mut rate = 0.0;
        for bytes in COPIES.map(|power| 1_usize << power) {
            let (from, to) = (self.allocate(bytes)?, self.allocate(bytes)?);
            let seconds = self.seconds_of(|| {
                self.attempt(|| {
                    let (from, to) = (from.address(0, bytes), to.address(0, bytes));
                    // SAFETY: both buffers have so many bytes, are two, and live until the copy has been waited for.
                    unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }
                        .map_err(|error| self.driver_failed("a copy within the GPU", error))
                });
            })?;
            rate = 2.0 * bytes as f64 / seconds;
            if seconds > LONG {
                break;
            }
        }
        Ok(rate)
    }

    /// Numbers in [−1, 1), which are multiplied no faster than others, as zeros are.
    fn random<T: Real>(&self, count: usize) -> Result<Buffer, DeviceError> {
        const DRAWN: usize = 1 << 18;
        let philox = Philox::new(1, 0);
        let drawn =
            (0..DRAWN.min(count) as u64).map(|index| T::from_f64(2.0 * unit(philox.word(0, index)) - 1.0));
        let drawn: Vec<T> = drawn.collect();
        let mut buffer = self.allocate(count * size_of::<T>())?;
        for first in (0..count).step_by(drawn.len()) {
            let part = &drawn[..drawn.len().min(count - first)];
            self.upload(bytemuck::cast_slice(part), &mut buffer, first * size_of::<T>());
        }
        Ok(buffer)
    }

    /// Seconds of what `call` asks for, after a first time that is not counted.
    fn seconds_of(&self, call: impl Fn()) -> Result<f64, DeviceError> {
        let run = |times: usize| {
            let start = Instant::now();
            (0..times).for_each(|_| call());
            self.finish().map(|()| start.elapsed().as_secs_f64() / times as f64)
        };
        run(1)?;
        let times = (RUN / run(1)?).clamp(1.0, 1000.0) as usize;
        (0..RUNS).try_fold(f64::INFINITY, |fastest, _| run(times).map(|seconds| fastest.min(seconds)))
    }
}
