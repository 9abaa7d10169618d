//! Device memory, pinned host memory, and the copies between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::border::{HostPointer, In, Out, driver_calls};
use super::device::{check_room, is_full};
use super::error::{CudaError, Failure, Result};
use super::handles::Handle;
use super::operation::{Operation, Place};
use super::stream::Stream;
use super::{Driver, Locked, Schedule};
use crate::ptx::DeviceMemory;

/// Host memory that the driver knows: copies to and from it do not wait for the host.
#[derive(Default)]
pub struct PinnedMemory {
    /// By address.
    buffers: BTreeMap<u64, PinnedBuffer>,
}

struct PinnedBuffer {
    /// `u128` for the alignment; filled with NaN.
    #[expect(dead_code, reason = "owned here, used through its address")]
    memory: Vec<u128>,
    bytes: usize,
}

impl PinnedMemory {
    fn allocate(&mut self, bytes: usize) -> u64 {
        let mut memory = vec![u128::MAX; bytes.div_ceil(size_of::<u128>())];
        let address = memory.as_mut_ptr() as u64;
        self.buffers.insert(address, PinnedBuffer { memory, bytes });
        address
    }

    fn free(&mut self, address: u64) -> Result {
        match self.buffers.remove(&address) {
            Some(_) => Ok(()),
            None => {
                let reason = format!("{address:#x} is not pinned memory, or is freed already");
                Err(Failure::invalid(reason))
            }
        }
    }

    /// Whether `bytes` bytes at a host address are pinned. A range that starts in pinned memory and leaves it is
    /// refused.
    fn contains(&self, pointer: HostPointer, bytes: usize) -> Result<bool> {
        let address = pointer.address();
        match self.buffers.range(..=address).next_back() {
            Some((start, buffer)) if address < start + buffer.bytes as u64 => {
                let left = (start + buffer.bytes as u64 - address) as usize;
                if bytes > left {
                    let reason = format!(
                        "{bytes} bytes at {address:#x} leave the pinned buffer of {} bytes at {start:#x} by {}",
                        buffer.bytes,
                        bytes - left
                    );
                    return Err(Failure::invalid(reason));
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl Driver {
    fn allocate(&mut self, device: usize, bytes: usize) -> Result<u64> {
        self.usable()?;
        self.intact(device)?;
        if bytes == 0 {
            return Err(Failure::invalid("an allocation of 0 bytes"));
        }
        check_room()?;
        Ok(self.devices[device].memory.alloc(bytes)?)
    }

    /// A copy whose source is host memory. Memory that is not pinned is read before the call returns, except in a
    /// capture, where the copy is done whenever the graph is launched.
    fn copy_from_host(&mut self, to: u64, from: HostPointer, bytes: usize, stream: Handle<Stream>) -> Result {
        let pinned = self.pinned.contains(from, bytes)?;
        let captured = self.captured_point(self.stream(stream)?)?.is_some();
        // Even an eager stream may have to wait for other ranks.
        let at_once = self.schedule == Schedule::Eager && self.streams.iter().all(|(_, it)| it.is_idle());
        let from = if pinned || captured || at_once {
            Place::Host(from)
        } else {
            Place::Staged(Arc::from(from.read(bytes)?))
        };
        self.submit(stream, Operation::Copy { to: Place::Device(to), from, bytes })
    }

    fn fill(&mut self, address: u64, pattern: &[u8], count: usize, stream: Handle<Stream>) -> Result {
        if !address.is_multiple_of(pattern.len() as u64) {
            let reason = format!("{address:#x} is not a multiple of the pattern's {} bytes", pattern.len());
            return Err(Failure::invalid(reason));
        }
        self.submit(stream, Operation::Fill { address, pattern: pattern.to_vec(), count })
    }

    /// Refuses an address that is not of the device of a context.
    fn check_owner(&self, what: &str, address: u64, context: u64) -> Result {
        let (owner, device) = (DeviceMemory::device_of(address), self.device_of_context(context)?);
        if owner == device {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "the {what} {address:#x} is memory of device {owner}, its context is of device {device}"
        )))
    }
}

impl Locked {
    /// A copy whose destination is host memory. Memory that is not pinned is written before the call returns, except
    /// in a capture.
    fn copy_to_host(&mut self, to: HostPointer, from: u64, bytes: usize, stream: Handle<Stream>) -> Result {
        let pinned = self.pinned.contains(to, bytes)?;
        let stream = self.stream(stream)?;
        self.submit(stream, Operation::Copy { to: Place::Host(to), from: Place::Device(from), bytes })?;
        if pinned || self.captured_point(stream)?.is_some() {
            return Ok(());
        }
        self.finish(stream)
    }

    /// Before and after a synchronous call: it is forbidden in a capture, and the null stream's work is done after it.
    fn synchronously(&mut self, what: &str, submit: impl FnOnce(&mut Self) -> Result) -> Result {
        self.refuse_unsafe_while_capturing(what)?;
        submit(self)?;
        self.finish(self.stream(Handle::NULL)?)
    }
}

driver_calls! {
    /// Allocates device memory.
    fn cuMemAlloc_v2(driver, address: Out<u64>, bytes: usize) {
        driver.refuse_unsafe_while_capturing("allocation")?;
        let device = driver.context()?;
        address.set(driver.allocate(device, bytes)?)
    }

    /// Frees device memory after all work is done.
    fn cuMemFree_v2(driver, address: u64) {
        driver.refuse_unsafe_while_capturing("freeing memory")?;
        if address == 0 {
            return Ok(());
        }
        let device = driver.usable()?;
        let owner = DeviceMemory::device_of(address).min(driver.devices.len() - 1);
        driver.finish_device(owner)?;
        Ok(driver.memory_at(address, device).free(address)?)
    }

    /// Allocates device memory in the order of a stream. The memory is there at once; what other streams may not yet
    /// do with it is not checked. No bytes are at the null address.
    fn cuMemAllocAsync(driver, address: Out<u64>, bytes: usize, stream: Handle<Stream>) {
        let stream = driver.stream(stream)?;
        driver.refuse_while_capturing(stream, "allocation (not emulated)")?;
        let device = driver.streams.get(stream)?.device;
        address.set(if bytes == 0 { 0 } else { driver.allocate(device, bytes)? })
    }

    /// Frees device memory in the order of a stream.
    fn cuMemFreeAsync(driver, address: u64, stream: Handle<Stream>) {
        if address == 0 {
            return Ok(());
        }
        driver.submit(stream, Operation::Free { address })
    }

    /// Allocates pinned host memory, filled with NaN.
    fn cuMemHostAlloc(driver, pointer: Out<u64>, bytes: usize, flags: u32) {
        const PORTABLE: u32 = 1;
        const DEVICE_MAP: u32 = 2;
        const WRITE_COMBINED: u32 = 4;
        driver.usable()?;
        driver.refuse_unsafe_while_capturing("allocating pinned memory")?;
        if flags & !(PORTABLE | DEVICE_MAP | WRITE_COMBINED) != 0 {
            return Err(Failure::invalid(format!("host allocation flags {flags:#x}")));
        }
        if bytes == 0 {
            return Err(Failure::invalid("an allocation of 0 bytes"));
        }
        pointer.set(driver.pinned.allocate(bytes))
    }

    /// Frees pinned host memory after all work is done.
    fn cuMemFreeHost(driver, pointer: HostPointer) {
        driver.refuse_unsafe_while_capturing("freeing pinned memory")?;
        // Freeing must work after a failure too: the work is dropped then, which is as good as done.
        for device in 0..driver.devices.len() {
            let _ = driver.finish_device(device);
        }
        driver.pinned.free(pointer.address())
    }

    /// Free and total bytes of device memory.
    fn cuMemGetInfo_v2(driver, free: Out<usize>, total: Out<usize>) {
        let device = driver.context()?;
        let memory = &driver.devices[device].memory;
        free.set(if is_full() { 0 } else { memory.capacity() - memory.used() })?;
        total.set(memory.capacity())
    }

    /// Copies from the host, in the order of a stream.
    fn cuMemcpyHtoDAsync_v2(driver, to: u64, from: HostPointer, bytes: usize, stream: Handle<Stream>) {
        driver.copy_from_host(to, from, bytes, stream)
    }

    /// Copies to the host, in the order of a stream.
    fn cuMemcpyDtoHAsync_v2(driver, to: HostPointer, from: u64, bytes: usize, stream: Handle<Stream>) {
        driver.copy_to_host(to, from, bytes, stream)
    }

    /// Copies between devices, in the order of a stream.
    fn cuMemcpyPeerAsync(
        driver,
        to: u64, to_context: u64,
        from: u64, from_context: u64,
        bytes: usize,
        stream: Handle<Stream>,
    ) {
        driver.check_owner("destination", to, to_context)?;
        driver.check_owner("source", from, from_context)?;
        driver.submit(stream, Operation::Copy { to: Place::Device(to), from: Place::Device(from), bytes })
    }

    /// Copies within the device, in the order of a stream.
    fn cuMemcpyDtoDAsync_v2(driver, to: u64, from: u64, bytes: usize, stream: Handle<Stream>) {
        driver.submit(stream, Operation::Copy { to: Place::Device(to), from: Place::Device(from), bytes })
    }

    /// Copies from the host and waits.
    fn cuMemcpyHtoD_v2(driver, to: u64, from: HostPointer, bytes: usize) {
        driver.synchronously("a synchronous copy", |driver| driver.copy_from_host(to, from, bytes, Handle::NULL))
    }

    /// Copies to the host and waits.
    fn cuMemcpyDtoH_v2(driver, to: HostPointer, from: u64, bytes: usize) {
        driver.synchronously("a synchronous copy", |driver| driver.copy_to_host(to, from, bytes, Handle::NULL))
    }

    /// Copies within the device on the null stream; the host does not wait.
    fn cuMemcpyDtoD_v2(driver, to: u64, from: u64, bytes: usize) {
        driver.refuse_unsafe_while_capturing("a synchronous copy")?;
        driver.submit(Handle::NULL, Operation::Copy { to: Place::Device(to), from: Place::Device(from), bytes })
    }

    /// Fills device memory with a byte, in the order of a stream.
    fn cuMemsetD8Async(driver, address: u64, value: u8, count: usize, stream: Handle<Stream>) {
        driver.fill(address, &[value], count, stream)
    }

    /// Fills device memory with a two-byte value, in the order of a stream.
    fn cuMemsetD16Async(driver, address: u64, value: u16, count: usize, stream: Handle<Stream>) {
        driver.fill(address, &value.to_le_bytes(), count, stream)
    }

    /// Fills device memory with a four-byte value, in the order of a stream.
    fn cuMemsetD32Async(driver, address: u64, value: u32, count: usize, stream: Handle<Stream>) {
        driver.fill(address, &value.to_le_bytes(), count, stream)
    }

    /// Fills device memory with a byte on the null stream.
    fn cuMemsetD8_v2(driver, address: u64, value: u8, count: usize) {
        driver.refuse_unsafe_while_capturing("a synchronous fill")?;
        driver.fill(address, &[value], count, Handle::NULL)
    }

    /// The memory pool that stream-ordered allocation draws from.
    fn cuDeviceGetDefaultMemPool(driver, pool: Out<u64>, device: i32) {
        let device = driver.check_device(device)?;
        pool.set(POOL + device as u64)
    }

    /// As [`cuDeviceGetDefaultMemPool`]: a device has one pool.
    fn cuDeviceGetMemPool(driver, pool: Out<u64>, device: i32) {
        let device = driver.check_device(device)?;
        pool.set(POOL + device as u64)
    }

    /// Sets how much freed memory a pool keeps. Nothing is kept here: memory is poisoned and never given out again.
    fn cuMemPoolSetAttribute(driver, pool: u64, attribute: u32, _value: In<u64>) {
        const REUSE_AND_RELEASE: std::ops::RangeInclusive<u32> = 1..=4;
        driver.context()?;
        driver.check_pool(pool)?;
        if !REUSE_AND_RELEASE.contains(&attribute) {
            return Err(Failure::not_emulated(format!("memory pool attribute {attribute}")));
        }
        Ok(())
    }

    /// Gives memory that a pool keeps back to the system.
    fn cuMemPoolTrimTo(driver, pool: u64, _keep: usize) {
        driver.context()?;
        driver.check_pool(pool)
    }
}

/// The handle of the first device's memory pool; those of the others follow.
const POOL: u64 = 0x9001_0000_0010;

impl Driver {
    fn check_pool(&self, pool: u64) -> Result {
        if pool.checked_sub(POOL).is_some_and(|device| device < self.devices.len() as u64) {
            return Ok(());
        }
        Err(Failure::new(CudaError::InvalidHandle, format!("memory pool {pool:#x} was never created")))
    }
}
