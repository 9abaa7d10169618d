//! What an instruction sees: the registers of its warp and all memories, every access checked.
//!
//! Lanes that reach for consecutive addresses are served together, as one range; so are those that load one address.

use super::super::decode::Address;
use super::super::fault::{Access, Other, Trouble};
use super::super::memory::device::{DeviceMemory, KernelError};
use super::super::memory::local::LocalMemory;
use super::super::memory::order::{ALL_LANES, Order};
use super::super::memory::races::GlobalAccessor;
use super::super::memory::shared::{Accessor, Hazard, Rival, SharedMemory};
use super::super::memory::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use super::super::registers::{LANES, Registers};
use super::super::syntax::Space;
use super::counters::{Counters, Request};
use super::{Copies, Copy, Seed};

/// A warp about to execute an instruction.
pub struct Machine<'a> {
    /// Number of the block in the launch.
    pub block: u32,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Warp within the block.
    pub warp: usize,
    /// Index of the instruction.
    pub instruction: u32,
    pub registers: &'a mut Registers,
    pub local: &'a mut LocalMemory,
    pub copies: &'a mut Copies,
    pub shared: &'a mut SharedMemory,
    pub order: &'a mut Order,
    pub device: &'a mut DeviceMemory,
    /// Parameters of the kernel.
    pub parameters: &'a [u8],
    pub printed: &'a mut String,
    pub seed: &'a mut Seed,
    /// Where to count what is asked of memory, if anybody wants to know.
    pub counters: Option<&'a mut Counters>,
}

/// How an operand reaches memory.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    pub space: Space,
    pub address: Address,
    /// Atomic or volatile.
    pub strong: bool,
    /// `ld.global.nc`
    pub constant: bool,
    /// Whether what is read must have been written.
    pub initialised: bool,
}

impl Reach {
    /// A plain access.
    pub fn new(space: Space, address: Address) -> Reach {
        Reach { space, address, strong: false, constant: false, initialised: true }
    }

    /// The same, `offset` bytes on.
    pub fn shifted(mut self, offset: i64) -> Reach {
        self.address.offset += offset;
        self
    }
}

/// The lanes that a range of addresses belongs to: from `first` on, `width` bytes each.
#[derive(Debug, Clone, Copy)]
struct Lanes {
    first: u8,
    width: usize,
}

impl Lanes {
    fn one(lane: usize, width: usize) -> Lanes {
        Lanes { first: lane as u8, width }
    }

    /// The lane for reports: of all of them, the first.
    fn reported(self, offset: usize) -> usize {
        if self.first == ALL_LANES { 0 } else { usize::from(self.first) + offset / self.width }
    }
}

type Checked<T> = Result<T, Box<Trouble>>;

impl Machine<'_> {
    /// Fills `out`, lane after lane, with what the lanes of `mask` read: `width` bytes each.
    pub fn load_lanes(&mut self, reach: &Reach, mask: u32, width: usize, out: &mut [u8]) -> Checked<()> {
        let addresses = self.addresses(reach);
        self.count(reach.space, Request::Load, &addresses, mask, width);
        let any = addresses[mask.trailing_zeros() as usize % LANES];
        // One address in local memory is another place for each lane.
        let local = reach.space == Space::Local || reach.space == Space::Generic && any >= LOCAL_WINDOW;
        let mut rest = mask;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            let same = if local { 1 } else { run(&addresses, rest, first, 0) };
            let (count, together) = match run(&addresses, rest, first, width as u64) {
                1 if same > 1 => (same, true),
                count => (count, false),
            };
            rest &= !lanes(first, count);
            let bytes = if together { width } else { count * width };
            // A broadcast is a read by several lanes, unless parts of the warp went their own ways.
            let apart = count == 1 || together && self.order.in_parts(self.warp);
            let whole = Lanes { first: if together { ALL_LANES } else { first as u8 }, width };
            let from = first * width;
            if apart || self.load(reach, addresses[first], whole, &mut out[from..from + bytes]).is_err() {
                // One by one: so that a report is about the right lane.
                for lane in first..first + count {
                    let out = &mut out[lane * width..][..width];
                    self.load(reach, addresses[lane], Lanes::one(lane, width), out)?;
                }
            } else if together {
                for lane in first + 1..first + count {
                    out.copy_within(from..from + width, lane * width);
                }
            }
        }
        Ok(())
    }

    /// Writes what the lanes of `mask` store: `width` bytes each, lane after lane.
    pub fn store_lanes(&mut self, reach: &Reach, mask: u32, width: usize, bytes: &[u8]) -> Checked<()> {
        let addresses = self.addresses(reach);
        self.count(reach.space, Request::Store, &addresses, mask, width);
        let mut rest = mask;
        while rest != 0 {
            let first = rest.trailing_zeros() as usize;
            let count = run(&addresses, rest, first, width as u64);
            rest &= !lanes(first, count);
            let range = &bytes[first * width..(first + count) * width];
            let whole = Lanes { first: first as u8, width };
            if count == 1 || self.store(reach, addresses[first], whole, range).is_err() {
                for lane in first..first + count {
                    let bytes = &bytes[lane * width..][..width];
                    self.store(reach, addresses[lane], Lanes::one(lane, width), bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Reads the row of a matrix that lane `lane` points at, for the warp as a whole.
    pub fn load_row(&mut self, reach: &Reach, lane: usize, row: &mut [u8; 16]) -> Checked<()> {
        let address = self.address(reach, lane);
        let all = Lanes { first: ALL_LANES, width: 16 };
        self.load(reach, address, all, row).map_err(|trouble| trouble.with_lane(lane))
    }

    /// Writes the row of a matrix that lane `lane` points at.
    pub fn store_row(&mut self, reach: &Reach, lane: usize, row: &[u8; 16]) -> Checked<()> {
        let address = self.address(reach, lane);
        let all = Lanes { first: ALL_LANES, width: 16 };
        self.store(reach, address, all, row).map_err(|trouble| trouble.with_lane(lane))
    }

    fn load(&mut self, reach: &Reach, address: u64, lanes: Lanes, out: &mut [u8]) -> Checked<()> {
        let bytes = out.len();
        let lane = lanes.reported(0);
        let (space, address) = place(reach.space, address, lanes, Access::Load)?;
        match space {
            Space::Shared => {
                let start = self.shared_range(lane, address, bytes, Access::Load)?;
                let by = self.accessor(lanes, reach.strong);
                let read = self.shared.read(by, self.order, start, bytes);
                out.copy_from_slice(read.map_err(|hazard| hazard.trouble(lanes, start, false))?);
            }
            Space::Local => {
                for (index, out) in out.chunks_mut(lanes.width).enumerate() {
                    // Lanes have memories of their own: nothing of this is consecutive.
                    let (lane, address) = (lane + index, address + (index * lanes.width) as u64);
                    self.load_local(reach, lane, address, out)?;
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
                let by = self.global_accessor(reach.strong, reach.constant);
                if reach.strong {
                    self.device.meet(&by, self.order, address, true, false);
                }
                let grid = self.grid;
                let read = self.device.kernel_load(address, bytes, lanes.width, &by, self.order);
                out.copy_from_slice(read.map_err(|error| error.trouble(Access::Load, lanes, address, grid))?);
            }
        }
        Ok(())
    }

    fn load_local(&mut self, reach: &Reach, lane: usize, address: u64, out: &mut [u8]) -> Checked<()> {
        let space = Space::Local;
        let (size, read) = (self.local.size(), self.local.get(lane, address, out.len()));
        out.copy_from_slice(
            read.ok_or_else(|| outside(space, Access::Load, address, out.len(), lane, size))?,
        );
        if reach.initialised && !self.local.is_written(lane, address, out.len()) {
            return Err(Box::new(Trouble::Uninitialised { space, byte: address, lane }));
        }
        Ok(())
    }

    fn store(&mut self, reach: &Reach, address: u64, lanes: Lanes, bytes: &[u8]) -> Checked<()> {
        let lane = lanes.reported(0);
        let (space, address) = place(reach.space, address, lanes, Access::Store)?;
        match space {
            Space::Shared => {
                let start = self.shared_range(lane, address, bytes.len(), Access::Store)?;
                let by = self.accessor(lanes, reach.strong);
                let memory = self.shared.write(by, self.order, start, bytes.len());
                memory.map_err(|hazard| hazard.trouble(lanes, start, true))?.copy_from_slice(bytes);
            }
            Space::Local => {
                for (index, bytes) in bytes.chunks(lanes.width).enumerate() {
                    let (lane, address) = (lane + index, address + (index * lanes.width) as u64);
                    if !self.local.write(lane, address, bytes) {
                        let size = self.local.size();
                        return Err(outside(space, Access::Store, address, bytes.len(), lane, size));
                    }
                }
            }
            Space::Parameter | Space::Constant => {
                return Err(Box::new(Trouble::Operand(format!("a store to {space} memory, lane {lane}"))));
            }
            Space::Global | Space::Generic => {
                let by = self.global_accessor(reach.strong, false);
                let grid = self.grid;
                let written = self.device.kernel_write(address, bytes, lanes.width, &by, self.order);
                written.map_err(|error| error.trouble(Access::Store, lanes, address, grid))?;
                if reach.strong {
                    self.device.meet(&by, self.order, address, false, true);
                }
            }
        }
        Ok(())
    }

    /// Counts an atomic of the lanes of `mask`, `width` bytes each.
    pub fn count_atomic(&mut self, reach: &Reach, mask: u32, width: usize) {
        let addresses = self.addresses(reach);
        self.count(reach.space, Request::Atomic, &addresses, mask, width);
    }

    /// Lets `update` change `size` bytes in place, as one atomic access.
    pub fn exchange<T>(
        &mut self,
        reach: &Reach,
        lane: usize,
        size: usize,
        update: impl FnOnce(&mut [u8]) -> T,
    ) -> Checked<T> {
        let lanes = Lanes::one(lane, size);
        let (space, address) = place(reach.space, self.address(reach, lane), lanes, Access::Atomic)?;
        match space {
            Space::Shared => {
                let start = self.shared_range(lane, address, size, Access::Atomic)?;
                let by = self.accessor(lanes, true);
                let trouble = |hazard: Hazard| hazard.trouble(lanes, start, true);
                self.shared.read(by, self.order, start, size).map_err(trouble)?;
                Ok(update(self.shared.write(by, self.order, start, size).map_err(trouble)?))
            }
            Space::Global | Space::Generic => {
                let (by, grid) = (self.global_accessor(true, false), self.grid);
                self.device.meet(&by, self.order, address, true, true);
                let changed = self.device.kernel_exchange(address, size, &by, self.order, update);
                changed.map_err(|error| error.trouble(Access::Atomic, lanes, address, grid))
            }
            _ => Err(Box::new(Trouble::Operand(format!("an atomic in {space} memory, lane {lane}")))),
        }
    }

    /// Reads the source of a copy into the start of `out`.
    pub fn copy_source(&mut self, lane: usize, copy: &Copy, out: &mut [u8; 16]) -> Checked<()> {
        let (address, bytes, access) = (copy.from, copy.bytes, Access::CopySource);
        if bytes > 0 {
            if address % copy.size as u64 != 0 {
                let (space, bytes) = (Space::Global, copy.size);
                return Err(Box::new(Trouble::Misaligned { space, access, address, bytes, lane }));
            }
            let (by, grid) = (self.global_accessor(false, false), self.grid);
            let read = self.device.kernel_load(address, bytes, bytes, &by, self.order);
            let lanes = Lanes::one(lane, bytes);
            out[..bytes].copy_from_slice(read.map_err(|error| error.trouble(access, lanes, address, grid))?);
        }
        Ok(())
    }

    /// Marks shared memory as the destination of a copy that has begun.
    pub fn reserve(&mut self, lane: usize, address: u64, bytes: usize) -> Checked<()> {
        aligned(Space::Shared, Access::Store, address, bytes, lane)?;
        let start = self.shared_range(lane, address, bytes, Access::Store)?;
        let lanes = Lanes::one(lane, bytes);
        let by = self.accessor(lanes, false);
        let begun = self.shared.begin_copy(by, self.order, start, bytes);
        begun.map_err(|hazard| hazard.trouble(lanes, start, true))
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

    /// Counts a request of the lanes of `mask`, `width` bytes each, at addresses of a space.
    pub fn count(
        &mut self,
        space: Space,
        request: Request,
        addresses: &[u64; LANES],
        mask: u32,
        width: usize,
    ) {
        let Some(counters) = self.counters.as_deref_mut() else { return };
        let space = match space {
            Space::Generic => window(addresses[mask.trailing_zeros() as usize % LANES]).0,
            space => space,
        };
        match space {
            Space::Shared => {
                counters.shared(request, addresses.map(|address| address & (SHARED_WINDOW - 1)), mask, width);
            }
            Space::Global | Space::Generic => counters.global(request, addresses, mask, width),
            _ => {}
        }
    }

    fn accessor(&self, lanes: Lanes, strong: bool) -> Accessor {
        let Lanes { first: lane, width } = lanes;
        Accessor { warp: self.warp, lane, width, instruction: self.instruction, strong }
    }

    fn global_accessor(&self, strong: bool, constant: bool) -> GlobalAccessor {
        let &Machine { block, warp, instruction, .. } = self;
        GlobalAccessor { block, warp, instruction, strong, constant }
    }

    fn shared_range(&self, lane: usize, address: u64, bytes: usize, access: Access) -> Checked<usize> {
        let size = self.shared.size();
        let start = usize::try_from(address).ok();
        let start = start.filter(|start| start.checked_add(bytes).is_some_and(|end| end <= size));
        start.ok_or_else(|| outside(Space::Shared, access, address, bytes, lane, size))
    }
}

/// How many lanes from `first` on, all of `mask`, have addresses `step` bytes apart.
fn run(addresses: &[u64; LANES], mask: u32, first: usize, step: u64) -> usize {
    let mut end = first + 1;
    while end < LANES && mask >> end & 1 == 1 && addresses[end] == addresses[end - 1].wrapping_add(step) {
        end += 1;
    }
    end - first
}

/// The mask of `count` lanes from `first` on.
fn lanes(first: usize, count: usize) -> u32 {
    (u32::MAX >> (LANES - count)) << first
}

/// Space and address within it of an access, which must be aligned to its size.
fn place(space: Space, address: u64, lanes: Lanes, access: Access) -> Checked<(Space, u64)> {
    let (space, address) = match space {
        Space::Generic => window(address),
        space => (space, address),
    };
    aligned(space, access, address, lanes.width, lanes.reported(0))?;
    Ok((space, address))
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
    /// The report of an access that begins at `start`.
    fn trouble(self, lanes: Lanes, start: usize, writes: bool) -> Box<Trouble> {
        let lane = lanes.reported(self.byte().saturating_sub(start));
        Box::new(match self {
            Hazard::Uninitialised { byte } => {
                Trouble::Uninitialised { space: Space::Shared, byte: byte as u64, lane }
            }
            Hazard::InFlight { byte, copy } => Trouble::InFlight { byte, lane, copy: Other::Index(copy) },
            Hazard::Race { byte, rival, wrote, instruction } => {
                let other = Other::Index(instruction);
                match rival {
                    Rival::Warp(warp) => Trouble::Race { byte, lane, writes, warp, wrote, other },
                    Rival::Lane(rival) => {
                        let rival = (rival < ALL_LANES).then_some(usize::from(rival));
                        Trouble::LaneRace { byte, lane, writes, rival, wrote, other }
                    }
                }
            }
        })
    }
}

impl KernelError {
    fn trouble(
        self,
        access: Access,
        lanes: Lanes,
        address: u64,
        [width, height, _]: [u32; 3],
    ) -> Box<Trouble> {
        Box::new(match self {
            KernelError::Memory(error) => Trouble::Global { access, lane: lanes.reported(0), error },
            KernelError::Race(race) => Trouble::GlobalRace {
                address: address + race.offset as u64,
                lane: lanes.reported(race.offset),
                writes: matches!(access, Access::Store | Access::Atomic),
                block: [race.block % width, race.block / width % height, race.block / (width * height)],
                warp: race.warp,
                wrote: race.wrote,
                constant: race.constant,
                other: Other::Index(race.instruction),
            },
        })
    }
}
