//! How many blocks of a kernel a multiprocessor holds: by threads, shared memory and registers.
//!
//! Registers are given to warps in portions of 256, to four warps at a time. How many a kernel needs is known where NVRTC
//! compiled it ([`crate::compiler`]); where it is not, they are no limit here, and may be one on hardware.

use super::Driver;
use super::border::{Out, driver_calls};
use super::device::{Limits, MAX_THREADS_PER_BLOCK};
use super::error::{Failure, Result};
use super::handles::Handle;
use super::module::Function;

/// 32-bit registers of a multiprocessor, and the most that a block can have.
pub const REGISTERS: u32 = 64 << 10;
const REGISTER_PORTION: u32 = 256;
const WARP_PORTION: u32 = 4;

/// Warps that a multiprocessor's registers are enough for.
fn warps_by_registers(registers: u32) -> u32 {
    let of_warp = (registers * 32).next_multiple_of(REGISTER_PORTION);
    REGISTERS / of_warp.max(1) / WARP_PORTION * WARP_PORTION
}

/// Most threads of a block whose threads need so many registers.
pub fn most_threads(registers: u32) -> u32 {
    MAX_THREADS_PER_BLOCK.min(warps_by_registers(registers) * 32)
}

/// Blocks of `threads` threads and `shared` bytes that a multiprocessor holds.
pub fn resident_blocks(limits: &Limits, registers: Option<u32>, threads: u32, shared: u32) -> u32 {
    let warps = threads.div_ceil(32).max(1);
    let by_threads = limits.threads_of_multiprocessor / 32 / warps;
    let by_shared = limits.shared_of_multiprocessor / (shared + limits.shared_reserved);
    let by_registers = registers.map_or(u32::MAX, |registers| warps_by_registers(registers) / warps);
    by_threads.min(by_shared).min(by_registers).min(limits.blocks_of_multiprocessor)
}

/// Bytes of dynamic shared memory of a block of so many threads.
#[repr(transparent)]
pub struct SharedBytes(Option<extern "C" fn(i32) -> usize>);

impl Driver {
    fn resident_blocks(
        &self,
        function: Handle<Function>,
        threads: i32,
        dynamic_shared: usize,
    ) -> Result<i32> {
        let function = self.functions.get(function)?;
        let Some(threads) = u32::try_from(threads).ok().filter(|&threads| threads > 0) else {
            return Err(Failure::invalid(format!("a block of {threads} threads")));
        };
        let shared = u32::try_from(function.kernel().static_shared + dynamic_shared).unwrap_or(u32::MAX / 2);
        let registers = function.resources().map(|resources| resources.registers);
        Ok(resident_blocks(&self.limits, registers, threads, shared) as i32)
    }

    /// The block size at which a multiprocessor holds the most threads, and how many blocks fill the device.
    fn best_block(
        &self,
        function: Handle<Function>,
        shared: &SharedBytes,
        dynamic_shared: usize,
        limit: i32,
    ) -> Result<(i32, i32)> {
        let mut most = self.functions.get(function)?.most_threads() as i32;
        if limit > 0 {
            most = most.min(limit);
        }
        let (mut best, mut blocks_of_best) = (0, 0);
        for threads in (1..=most / 32).rev().map(|warps| warps * 32) {
            let bytes = shared.0.map_or(dynamic_shared, |bytes| bytes(threads));
            let blocks = self.resident_blocks(function, threads, bytes)?;
            if blocks * threads > best * blocks_of_best {
                (best, blocks_of_best) = (threads, blocks);
            }
        }
        Ok((blocks_of_best * self.limits.multiprocessors as i32, best))
    }
}

driver_calls! {
    /// How many blocks of a kernel a multiprocessor holds.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        driver,
        blocks: Out<i32>,
        function: Handle<Function>,
        threads: i32,
        dynamic_shared: usize,
    ) {
        blocks.set(driver.resident_blocks(function, threads, dynamic_shared)?)
    }

    /// As [`cuOccupancyMaxActiveBlocksPerMultiprocessor`]; the flags make no difference here.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        driver,
        blocks: Out<i32>,
        function: Handle<Function>,
        threads: i32,
        dynamic_shared: usize,
        _flags: u32,
    ) {
        blocks.set(driver.resident_blocks(function, threads, dynamic_shared)?)
    }

    /// The block size that keeps most threads on the device, and the grid that fills it.
    fn cuOccupancyMaxPotentialBlockSize(
        driver,
        grid: Out<i32>,
        block: Out<i32>,
        function: Handle<Function>,
        shared_of_block: SharedBytes,
        dynamic_shared: usize,
        limit: i32,
    ) {
        let (blocks, threads) = driver.best_block(function, &shared_of_block, dynamic_shared, limit)?;
        grid.set(blocks)?;
        block.set(threads)
    }

    /// As [`cuOccupancyMaxPotentialBlockSize`]; the flags make no difference here.
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        driver,
        grid: Out<i32>,
        block: Out<i32>,
        function: Handle<Function>,
        shared_of_block: SharedBytes,
        dynamic_shared: usize,
        limit: i32,
        _flags: u32,
    ) {
        let (blocks, threads) = driver.best_block(function, &shared_of_block, dynamic_shared, limit)?;
        grid.set(blocks)?;
        block.set(threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_limit_warps_as_the_occupancy_calculator_says() {
        assert_eq!(most_threads(64), 1024);
        // 65 registers are given as 72: 28 warps fit.
        assert_eq!(most_threads(65), 896);
        assert_eq!(most_threads(128), 512);
        assert_eq!(most_threads(255), 256);
        let limits = Limits::of(90).unwrap();
        assert_eq!(resident_blocks(&limits, Some(32), 1024, 0), 2);
        assert_eq!(resident_blocks(&limits, Some(33), 1024, 0), 1);
        assert_eq!(resident_blocks(&limits, Some(141), 128, 0), 3);
        assert_eq!(resident_blocks(&limits, None, 128, 46 << 10), 4);
        assert_eq!(resident_blocks(&limits, None, 32, 0), 32);
        assert_eq!(resident_blocks(&Limits::of(86).unwrap(), None, 1024, 0), 1);
    }
}
