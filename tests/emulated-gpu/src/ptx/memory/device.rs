//! Global memory: live allocations at addresses that are never used twice.

use thiserror::Error;

use super::POISON;
use super::bitmap::Bitmap;
use super::order::Order;
use super::races::{AccessShadow, GlobalAccessor, GlobalRace, Races};

/// Every allocation begins in a region of its own, so that an address tells its allocation.
const REGION: u64 = 1 << 32;
/// Where in its region an allocation begins: aligned as `cuMemAlloc` promises, and no better.
const START: u64 = 256;
/// From the addresses of one device to those of the next, so that an address tells its device.
const DEVICE: u64 = 1 << 56;

/// A wrong use of device memory.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MemoryError {
    /// No live allocation holds all the bytes.
    #[error("{bytes} bytes at {address:#x} are outside every allocation{nearest}")]
    OutOfBounds {
        /// First byte asked for.
        address: u64,
        /// How many.
        bytes: usize,
        /// Which allocation is near, and how it is missed.
        nearest: String,
    },
    /// The allocation has been freed.
    #[error("{bytes} bytes at {address:#x} belong to an allocation of {size} bytes that was freed")]
    UseAfterFree {
        /// First byte asked for.
        address: u64,
        /// How many.
        bytes: usize,
        /// Size of the allocation while it lived.
        size: usize,
    },
    /// Nothing ever wrote the byte.
    #[error("byte {offset} of the allocation of {size} bytes at {base:#x} was never written")]
    Uninitialised {
        /// First byte of the allocation.
        base: u64,
        /// The byte, from the start of the allocation.
        offset: usize,
        /// Size of the allocation.
        size: usize,
    },
    /// `free` of something else than the start of an allocation.
    #[error("{address:#x} is not the start of an allocation")]
    NotAnAllocation {
        /// The address.
        address: u64,
    },
    /// The device is full.
    #[error("out of memory: {bytes} bytes asked for, {free} of {capacity} free")]
    Full {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes left.
        free: usize,
        /// Bytes of the device.
        capacity: usize,
    },
}

/// The memory of a device. New memory is NaN-filled and counts as never written.
#[derive(Debug)]
pub struct DeviceMemory {
    /// Where its addresses begin.
    start: u64,
    /// Region to allocation; the first region holds nothing: it is the null page of the first device.
    regions: Vec<Option<u32>>,
    allocations: Vec<Allocation>,
    capacity: usize,
    used: usize,
    races: Races,
}

/// Why a kernel may not touch memory.
#[derive(Debug)]
pub enum KernelError {
    /// Nobody might.
    Memory(MemoryError),
    /// Another warp or block has touched it, and nothing orders the two.
    Race(GlobalRace),
}

/// Bytes on their way from one place to another, with what is known of them.
#[derive(Debug)]
pub struct Copied {
    bytes: Vec<u8>,
    written: Bitmap,
}

#[derive(Debug)]
struct Allocation {
    base: u64,
    size: usize,
    live: bool,
    bytes: Vec<u8>,
    written: Bitmap,
    /// Who touched it in this launch; made when a kernel first does.
    shadow: Option<Box<AccessShadow>>,
}

impl DeviceMemory {
    /// A device with `capacity` bytes.
    pub fn new(capacity: usize) -> DeviceMemory {
        DeviceMemory::of_device(0, capacity)
    }

    /// As [`DeviceMemory::new`], of the device of that index.
    pub fn of_device(index: usize, capacity: usize) -> DeviceMemory {
        DeviceMemory {
            start: index as u64 * DEVICE,
            regions: vec![None],
            allocations: Vec::new(),
            capacity,
            used: 0,
            races: Races::default(),
        }
    }

    /// The index of the device that an address belongs to.
    pub fn device_of(address: u64) -> usize {
        (address / DEVICE) as usize
    }

    /// The region of an address; `None` for those of other devices.
    fn region(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.start)?;
        self.regions.get((offset / REGION) as usize).copied().flatten()
    }

    /// Bytes of the device.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes in live allocations.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Allocates `bytes`, aligned to 256, and returns their address.
    pub fn alloc(&mut self, bytes: usize) -> Result<u64, MemoryError> {
        let full = MemoryError::Full { bytes, free: self.capacity - self.used, capacity: self.capacity };
        let mut contents = Vec::new();
        if bytes > self.capacity - self.used || contents.try_reserve_exact(bytes).is_err() {
            return Err(full);
        }
        contents.resize(bytes, POISON);
        self.used += bytes;
        let base = self.start + self.regions.len() as u64 * REGION + START;
        let regions = (START + bytes as u64) / REGION + 1;
        let index = Some(self.allocations.len() as u32);
        self.regions.extend((0..regions).map(|_| index));
        let written = Bitmap::new(bytes);
        let shadow = None;
        self.allocations.push(Allocation { base, size: bytes, live: true, bytes: contents, written, shadow });
        Ok(base)
    }

    /// Frees the allocation that begins at `address`; later use of it is an error for ever.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let allocation = self.region(address).map(|index| &mut self.allocations[index as usize]);
        match allocation {
            Some(allocation) if allocation.base == address && allocation.live => {
                self.used -= allocation.size;
                allocation.end();
                Ok(())
            }
            Some(allocation) if allocation.base == address => {
                Err(MemoryError::UseAfterFree { address, bytes: 0, size: allocation.size })
            }
            _ => Err(MemoryError::NotAnAllocation { address }),
        }
    }

    /// Frees every allocation: what the end of a context does.
    pub fn free_all(&mut self) {
        for allocation in self.allocations.iter_mut().filter(|allocation| allocation.live) {
            allocation.end();
        }
        self.used = 0;
    }

    /// Start and size of the live allocation that holds `address`.
    pub fn allocation(&self, address: u64) -> Option<(u64, usize)> {
        let (index, _) = self.locate(address, 1).ok()?;
        let allocation = &self.allocations[index];
        Some((allocation.base, allocation.size))
    }

    /// Copies memory out, written or not: what a host copy does.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryError> {
        let (index, offset) = self.locate(address, out.len())?;
        out.copy_from_slice(&self.allocations[index].bytes[offset..offset + out.len()]);
        Ok(())
    }

    /// The bytes at `address`, which must all have been written.
    pub fn load(&self, address: u64, length: usize) -> Result<&[u8], MemoryError> {
        let (index, offset) = self.locate(address, length)?;
        let allocation = &self.allocations[index];
        if let Some(offset) = allocation.written.first_missing(offset, length) {
            let Allocation { base, size, .. } = *allocation;
            return Err(MemoryError::Uninitialised { base, offset, size });
        }
        Ok(&allocation.bytes[offset..offset + length])
    }

    /// A launch of a kernel of so many instructions begins.
    pub(crate) fn begin_launch(&mut self, instructions: usize) {
        if !self.races.begin_launch(instructions) {
            self.allocations.iter_mut().filter_map(|it| it.shadow.as_mut()).for_each(|shadow| shadow.clear());
        }
    }

    /// Another of its blocks begins.
    pub(crate) fn begin_block(&mut self) {
        self.races.begin_block();
    }

    /// An atomic or volatile access to `address`, for what it orders.
    pub(crate) fn meet(
        &mut self,
        by: &GlobalAccessor,
        order: &Order,
        address: u64,
        reads: bool,
        writes: bool,
    ) {
        self.races.meet(by, order, address, reads, writes);
    }

    /// As [`DeviceMemory::load`], by a kernel: `width` bytes for each of its lanes.
    pub(crate) fn kernel_load(
        &mut self,
        address: u64,
        length: usize,
        width: usize,
        by: &GlobalAccessor,
        order: &Order,
    ) -> Result<&[u8], KernelError> {
        let (index, offset) = self.locate(address, length)?;
        let allocation = &mut self.allocations[index];
        if let Some(offset) = allocation.written.first_missing(offset, length) {
            let Allocation { base, size, .. } = *allocation;
            return Err(KernelError::Memory(MemoryError::Uninitialised { base, offset, size }));
        }
        let shadow = allocation.shadow.get_or_insert_with(|| Box::new(AccessShadow::new(allocation.size)));
        shadow.refine(offset, width);
        self.races.read(shadow, by, order, offset, length).map_err(KernelError::Race)?;
        Ok(&allocation.bytes[offset..offset + length])
    }

    /// As [`DeviceMemory::write`], by a kernel.
    pub(crate) fn kernel_write(
        &mut self,
        address: u64,
        bytes: &[u8],
        width: usize,
        by: &GlobalAccessor,
        order: &Order,
    ) -> Result<(), KernelError> {
        let (index, offset) = self.locate(address, bytes.len())?;
        let allocation = &mut self.allocations[index];
        let shadow = allocation.shadow.get_or_insert_with(|| Box::new(AccessShadow::new(allocation.size)));
        shadow.refine(offset, width);
        self.races.write(shadow, by, order, offset, bytes.len()).map_err(KernelError::Race)?;
        allocation.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        allocation.written.insert(offset, bytes.len());
        Ok(())
    }

    /// Lets `update` change memory in place, as an atomic of a kernel.
    pub(crate) fn kernel_exchange<T>(
        &mut self,
        address: u64,
        length: usize,
        by: &GlobalAccessor,
        order: &Order,
        update: impl FnOnce(&mut [u8]) -> T,
    ) -> Result<T, KernelError> {
        let (index, offset) = self.locate(address, length)?;
        let allocation = &mut self.allocations[index];
        if let Some(offset) = allocation.written.first_missing(offset, length) {
            let Allocation { base, size, .. } = *allocation;
            return Err(KernelError::Memory(MemoryError::Uninitialised { base, offset, size }));
        }
        let shadow = allocation.shadow.get_or_insert_with(|| Box::new(AccessShadow::new(allocation.size)));
        shadow.refine(offset, length);
        self.races.write(shadow, by, order, offset, length).map_err(KernelError::Race)?;
        Ok(update(&mut allocation.bytes[offset..offset + length]))
    }

    /// Writes `bytes` at `address`.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.write_with(address, bytes.len(), |memory| memory.copy_from_slice(bytes))
    }

    /// Writes `pattern` over and over, `count` times.
    pub fn fill(&mut self, address: u64, pattern: &[u8], count: usize) -> Result<(), MemoryError> {
        let length = pattern.len().saturating_mul(count);
        self.write_with(address, length, |memory| {
            for chunk in memory.chunks_exact_mut(pattern.len().max(1)) {
                chunk.copy_from_slice(pattern);
            }
        })
    }

    /// Copies within the device. Bytes that were never written stay so in the copy.
    pub fn copy(&mut self, destination: u64, source: u64, length: usize) -> Result<(), MemoryError> {
        let copied = self.copied(source, length)?;
        self.put(destination, &copied)
    }

    /// Memory as it is, written or not: one end of a copy.
    pub fn copied(&self, source: u64, length: usize) -> Result<Copied, MemoryError> {
        let (index, offset) = self.locate(source, length)?;
        let Allocation { bytes, written, .. } = &self.allocations[index];
        Ok(Copied { bytes: bytes[offset..offset + length].to_vec(), written: written.range(offset, length) })
    }

    /// The other end of the copy.
    pub fn put(&mut self, destination: u64, copied: &Copied) -> Result<(), MemoryError> {
        let length = copied.bytes.len();
        let (index, offset) = self.locate(destination, length)?;
        let allocation = &mut self.allocations[index];
        allocation.bytes[offset..offset + length].copy_from_slice(&copied.bytes);
        allocation.written.replace(offset, &copied.written, length);
        Ok(())
    }

    /// Fills with NaN and counts as never written again: what is left of scratch memory.
    pub fn forget(&mut self, address: u64, length: usize) -> Result<(), MemoryError> {
        let (index, offset) = self.locate(address, length)?;
        let allocation = &mut self.allocations[index];
        allocation.bytes[offset..offset + length].fill(POISON);
        allocation.written.replace(offset, &Bitmap::new(length), length);
        Ok(())
    }

    fn write_with(
        &mut self,
        address: u64,
        length: usize,
        write: impl FnOnce(&mut [u8]),
    ) -> Result<(), MemoryError> {
        let (index, offset) = self.locate(address, length)?;
        let allocation = &mut self.allocations[index];
        write(&mut allocation.bytes[offset..offset + length]);
        allocation.written.insert(offset, length);
        Ok(())
    }

    /// Allocation and offset of `bytes` bytes at `address`, which must all be inside and alive.
    fn locate(&self, address: u64, bytes: usize) -> Result<(usize, usize), MemoryError> {
        let Some(index) = self.region(address).map(|index| index as usize) else {
            let nearest = match DeviceMemory::device_of(address) {
                _ if address < REGION => " (null pointer plus offset)".into(),
                device if device as u64 * DEVICE != self.start => {
                    format!(" of this device: the address is of device {device}")
                }
                _ => String::new(),
            };
            return Err(MemoryError::OutOfBounds { address, bytes, nearest });
        };
        let Allocation { base, size, live, .. } = self.allocations[index];
        let offset = address.checked_sub(base).and_then(|offset| usize::try_from(offset).ok());
        let inside = offset.filter(|offset| offset.checked_add(bytes).is_some_and(|end| end <= size));
        match inside {
            Some(offset) if live => Ok((index, offset)),
            Some(_) => Err(MemoryError::UseAfterFree { address, bytes, size }),
            None => {
                let offset = i128::from(address) - i128::from(base);
                let nearest = format!(": byte {offset} of one of {size} bytes at {base:#x}");
                Err(MemoryError::OutOfBounds { address, bytes, nearest })
            }
        }
    }
}

impl Allocation {
    /// The allocation is freed.
    fn end(&mut self) {
        self.live = false;
        self.bytes = Vec::new();
        self.written = Bitmap::default();
        self.shadow = None;
    }
}

impl From<MemoryError> for KernelError {
    fn from(error: MemoryError) -> KernelError {
        KernelError::Memory(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_its_device() {
        let mut devices = [0, 1].map(|index| DeviceMemory::of_device(index, 1000));
        let [a, b] = devices.each_mut().map(|memory| memory.alloc(8).unwrap());
        assert_eq!([a, b].map(DeviceMemory::device_of), [0, 1]);
        assert_eq!((a % 256, b % 256), (0, 0));
        devices[0].write(a, &[1, 2]).unwrap();
        let copied = devices[0].copied(a, 4).unwrap();
        devices[1].put(b, &copied).unwrap();
        assert_eq!(devices[1].load(b, 2).unwrap(), [1, 2]);
        assert!(matches!(devices[1].load(b, 3), Err(MemoryError::Uninitialised { offset: 2, .. })));
        assert!(devices[0].load(b, 1).unwrap_err().to_string().ends_with("the address is of device 1"));
        assert!(devices[1].load(a, 1).unwrap_err().to_string().ends_with("the address is of device 0"));
        assert!(matches!(devices[0].free(b), Err(MemoryError::NotAnAllocation { .. })));
        devices[1].free(b).unwrap();
    }

    #[test]
    fn allocations_live_die_and_are_checked() {
        let mut memory = DeviceMemory::new(1000);
        let a = memory.alloc(100).unwrap();
        let b = memory.alloc(900).unwrap();
        assert_eq!((a % 256, b % 256, memory.used()), (0, 0, 1000));
        assert_eq!(memory.alloc(1), Err(MemoryError::Full { bytes: 1, free: 0, capacity: 1000 }));

        let mut out = [0; 2];
        memory.read(a + 98, &mut out).unwrap();
        assert_eq!(out, [POISON; 2]);
        assert!(
            memory.read(a + 99, &mut out).unwrap_err().to_string().contains("byte 99 of one of 100 bytes")
        );
        assert!(memory.read(a - 1, &mut out).unwrap_err().to_string().contains("byte -1 of one of 100"));
        assert!(memory.read(8, &mut out).unwrap_err().to_string().contains("null pointer"));
        assert!(memory.read(u64::MAX, &mut out).is_err());

        memory.write(a + 2, &[1, 2, 3]).unwrap();
        assert_eq!(memory.load(a + 2, 3).unwrap(), [1, 2, 3]);
        assert_eq!(memory.load(a + 2, 4), Err(MemoryError::Uninitialised { base: a, offset: 5, size: 100 }));
        memory.copy(b, a + 2, 4).unwrap();
        assert_eq!(memory.load(b, 3).unwrap(), [1, 2, 3]);
        assert!(memory.load(b, 4).is_err());
        memory.fill(b, &[7, 8], 5).unwrap();
        assert_eq!(memory.load(b, 10).unwrap(), [7, 8, 7, 8, 7, 8, 7, 8, 7, 8]);

        memory.forget(b + 1, 2).unwrap();
        assert_eq!(memory.load(b + 3, 7).unwrap(), [8, 7, 8, 7, 8, 7, 8]);
        assert_eq!(memory.load(b, 2), Err(MemoryError::Uninitialised { base: b, offset: 1, size: 900 }));

        assert_eq!(memory.free(a + 1), Err(MemoryError::NotAnAllocation { address: a + 1 }));
        memory.free(a).unwrap();
        assert_eq!(memory.used(), 900);
        assert!(matches!(memory.free(a), Err(MemoryError::UseAfterFree { .. })));
        assert!(matches!(memory.write(a, &[0]), Err(MemoryError::UseAfterFree { size: 100, .. })));
        assert!(memory.alloc(100).unwrap() > b);
        assert_eq!(memory.allocation(b + 899), Some((b, 900)));
        assert_eq!(memory.allocation(b + 900), None);

        memory.free_all();
        assert_eq!((memory.used(), memory.allocation(b)), (0, None));
        assert!(matches!(memory.free(b), Err(MemoryError::UseAfterFree { size: 900, .. })));
    }
}
