//! What an instruction sees: the registers of its warp and all memories, every access checked.

use super::super::decode::Address;
use super::super::fault::{Access, Other, Trouble};
use super::super::memory::device::DeviceMemory;
use super::super::memory::local::LocalMemory;
use super::super::memory::order::Order;
use super::super::memory::shared::{Accessor, Hazard, SharedMemory};
use super::super::memory::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use super::super::registers::Registers;
use super::super::syntax::Space;
use super::{Copies, Copy};

/// A warp about to execute an instruction.
pub struct Machine<'a> {
    /// Warp within the block.
    pub warp: usize,
    /// Index of the instruction.
    pub instruction: u32,
    pub registers: &'a mut Registers,
    pub local: &'a mut LocalMemory,
    pub copies: &'a mut Copies,
    pub shared: &'a mut SharedMemory,
    pub order: &'a Order,
    pub device: &'a mut DeviceMemory,
    /// Parameters of the kernel.
    pub parameters: &'a [u8],
    pub printed: &'a mut String,
}

/// How an operand reaches memory.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    pub space: Space,
    pub address: Address,
    /// Atomic or volatile.
    pub strong: bool,
    /// Whether what is read must have been written.
    pub initialised: bool,
}

impl Reach {
    /// The same, `offset` bytes on.
    pub fn shifted(mut self, offset: i64) -> Reach {
        self.address.offset += offset;
        self
    }
}

type Checked<T> = Result<T, Box<Trouble>>;

impl Machine<'_> {
    /// Fills `out` with what lane `lane` reads.
    pub fn load(&mut self, reach: &Reach, lane: usize, out: &mut [u8]) -> Checked<()> {
        let bytes = out.len();
        let (space, address) = self.place(reach, lane, bytes, Access::Load)?;
        match space {
            Space::Shared => {
                let start = self.shared_range(lane, address, bytes, Access::Load)?;
                let by = self.accessor(reach.strong);
                let read = self.shared.read(by, self.order, start, bytes);
                out.copy_from_slice(read.map_err(|hazard| hazard.trouble(lane, false))?);
            }
            Space::Local => {
                let (size, read) = (self.local.size(), self.local.get(lane, address, bytes));
                out.copy_from_slice(
                    read.ok_or_else(|| outside(space, Access::Load, address, bytes, lane, size))?,
                );
                if reach.initialised && !self.local.is_written(lane, address, bytes) {
                    return Err(Box::new(Trouble::Uninitialised { space, byte: address, lane }));
                }
            }
            Space::Parameter => {
                let range = usize::try_from(address)
                    .ok()
                    .and_then(|start| self.parameters.get(start..)?.get(..bytes));
                let size = self.parameters.len();
                out.copy_from_slice(
                    range.ok_or_else(|| outside(space, Access::Load, address, bytes, lane, size))?,
                );
            }
            Space::Global | Space::Constant | Space::Generic => {
                let read = self.device.load(address, bytes);
                out.copy_from_slice(read.map_err(|error| Trouble::Global {
                    access: Access::Load,
                    lane,
                    error,
                })?);
            }
        }
        Ok(())
    }

    /// Writes what lane `lane` stores.
    pub fn store(&mut self, reach: &Reach, lane: usize, bytes: &[u8]) -> Checked<()> {
        let (space, address) = self.place(reach, lane, bytes.len(), Access::Store)?;
        match space {
            Space::Shared => {
                let start = self.shared_range(lane, address, bytes.len(), Access::Store)?;
                let by = self.accessor(reach.strong);
                let memory = self.shared.write(by, self.order, start, bytes.len());
                memory.map_err(|hazard| hazard.trouble(lane, true))?.copy_from_slice(bytes);
            }
            Space::Local => {
                if !self.local.write(lane, address, bytes) {
                    let size = self.local.size();
                    return Err(outside(space, Access::Store, address, bytes.len(), lane, size));
                }
            }
            Space::Parameter | Space::Constant => {
                return Err(Box::new(Trouble::Operand(format!("a store to {space} memory, lane {lane}"))));
            }
            Space::Global | Space::Generic => {
                let written = self.device.write(address, bytes);
                written.map_err(|error| Trouble::Global { access: Access::Store, lane, error })?;
            }
        }
        Ok(())
    }

    /// Lets `update` change `size` bytes in place, as one atomic access.
    pub fn exchange<T>(
        &mut self,
        reach: &Reach,
        lane: usize,
        size: usize,
        update: impl FnOnce(&mut [u8]) -> T,
    ) -> Checked<T> {
        let (space, address) = self.place(reach, lane, size, Access::Atomic)?;
        match space {
            Space::Shared => {
                let start = self.shared_range(lane, address, size, Access::Atomic)?;
                let by = self.accessor(true);
                let trouble = |hazard: Hazard| hazard.trouble(lane, true);
                self.shared.read(by, self.order, start, size).map_err(trouble)?;
                Ok(update(self.shared.write(by, self.order, start, size).map_err(trouble)?))
            }
            Space::Global | Space::Generic => {
                let trouble = |error| Trouble::Global { access: Access::Atomic, lane, error };
                let mut bytes = [0; 8];
                bytes[..size].copy_from_slice(self.device.load(address, size).map_err(trouble)?);
                let result = update(&mut bytes[..size]);
                self.device.write(address, &bytes[..size]).map_err(trouble)?;
                Ok(result)
            }
            _ => Err(Box::new(Trouble::Operand(format!("an atomic in {space} memory, lane {lane}")))),
        }
    }

    /// Reads the source of a copy into the start of `out`.
    pub fn copy_source(&self, lane: usize, copy: &Copy, out: &mut [u8; 16]) -> Checked<()> {
        let (address, bytes, access) = (copy.from, copy.bytes, Access::CopySource);
        if bytes > 0 {
            if address % copy.size as u64 != 0 {
                let (space, bytes) = (Space::Global, copy.size);
                return Err(Box::new(Trouble::Misaligned { space, access, address, bytes, lane }));
            }
            let read = self.device.load(address, bytes);
            out[..bytes].copy_from_slice(read.map_err(|error| Trouble::Global { access, lane, error })?);
        }
        Ok(())
    }

    /// Marks shared memory as the destination of a copy that has begun.
    pub fn reserve(&mut self, lane: usize, address: u64, bytes: usize) -> Checked<()> {
        aligned(Space::Shared, Access::Store, address, bytes, lane)?;
        let start = self.shared_range(lane, address, bytes, Access::Store)?;
        let by = self.accessor(false);
        let begun = self.shared.begin_copy(by, self.order, start, bytes);
        begun.map_err(|hazard| hazard.trouble(lane, true))
    }

    /// The number of `size` bytes in the parameter of a call at local address `place`.
    pub fn argument(&self, lane: usize, place: usize, size: usize) -> u64 {
        let bytes = self.local.get(lane, place as u64, size).unwrap_or_default();
        super::super::instructions::memory::number(bytes, false)
    }

    /// The number of `size` bytes at a generic address, for printing: 0 where there is nothing.
    pub fn generic(&self, lane: usize, address: u64, size: usize) -> u64 {
        let bytes = match window(address) {
            (Space::Local, address) => self.local.get(lane, address, size),
            (Space::Generic, address) => self.device.load(address, size).ok(),
            _ => None,
        };
        super::super::instructions::memory::number(bytes.unwrap_or_default(), false)
    }

    /// The C string at a global address.
    pub fn text(&self, address: u64) -> String {
        let byte = |index| Some(self.device.load(address.checked_add(index)?, 1).ok()?[0]);
        let text: Vec<u8> = (0..).map_while(byte).take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn accessor(&self, strong: bool) -> Accessor {
        Accessor { warp: self.warp, instruction: self.instruction, strong }
    }

    /// Space and address within it of an access, which must be aligned to its size.
    fn place(&self, reach: &Reach, lane: usize, bytes: usize, access: Access) -> Checked<(Space, u64)> {
        let address = self.address(reach, lane);
        let (space, address) = match reach.space {
            Space::Generic => window(address),
            space => (space, address),
        };
        aligned(space, access, address, bytes, lane)?;
        Ok((space, address))
    }

    fn shared_range(&self, lane: usize, address: u64, bytes: usize, access: Access) -> Checked<usize> {
        let size = self.shared.size();
        let start = usize::try_from(address).ok();
        let start = start.filter(|start| start.checked_add(bytes).is_some_and(|end| end <= size));
        start.ok_or_else(|| outside(Space::Shared, access, address, bytes, lane, size))
    }
}

/// The space that a generic address means, and the address there.
fn window(address: u64) -> (Space, u64) {
    match address {
        LOCAL_WINDOW.. => (Space::Local, address - LOCAL_WINDOW),
        SHARED_WINDOW.. => (Space::Shared, address - SHARED_WINDOW),
        PARAMETER_WINDOW.. => (Space::Parameter, address - PARAMETER_WINDOW),
        _ => (Space::Generic, address),
    }
}

fn aligned(space: Space, access: Access, address: u64, bytes: usize, lane: usize) -> Checked<()> {
    match address % bytes as u64 {
        0 => Ok(()),
        _ => Err(Box::new(Trouble::Misaligned { space, access, address, bytes, lane })),
    }
}

fn outside(
    space: Space,
    access: Access,
    address: u64,
    bytes: usize,
    lane: usize,
    size: usize,
) -> Box<Trouble> {
    Box::new(Trouble::OutOfBounds { space, access, address, bytes, lane, size })
}

impl Hazard {
    /// The report, once the lane is known.
    fn trouble(self, lane: usize, writes: bool) -> Box<Trouble> {
        Box::new(match self {
            Hazard::Uninitialised { byte } => {
                Trouble::Uninitialised { space: Space::Shared, byte: byte as u64, lane }
            }
            Hazard::InFlight { byte, copy } => Trouble::InFlight { byte, lane, copy: Other::Index(copy) },
            Hazard::Race { byte, warp, wrote, instruction } => {
                Trouble::Race { byte, lane, writes, warp, wrote, other: Other::Index(instruction) }
            }
        })
    }
}
