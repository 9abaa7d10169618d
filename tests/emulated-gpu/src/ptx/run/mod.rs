//! Running a kernel: block by block, warp by warp, every lane of a warp at once.

mod block;
mod copies;
mod counters;
mod machine;
mod seed;
mod warp;

use super::fault::{Fault, Trouble};
use super::memory::device::DeviceMemory;
use super::module::Kernel;
use super::registers::LANES;
use block::Block;

pub use copies::{Copies, Copy};
pub use counters::{Class, Counters, GlobalTraffic, Request, SharedTraffic};
pub use machine::{Machine, Reach};
pub use seed::{SEED, Seed};

/// Most bytes of shared memory that a block of the emulated device (sm_90) can have.
pub const MOST_SHARED: usize = 227 << 10;
/// Most threads of a block.
const MOST_THREADS: u64 = 1024;

/// One launch of a kernel.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// What to run.
    pub kernel: &'a Kernel,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of `extern __shared__` memory.
    pub dynamic_shared: u32,
    /// The kernel's parameters, laid out as [`Kernel::parameters`] says.
    pub parameters: &'a [u8],
    /// Device addresses of the module's globals, in the order of [`super::Module::globals`].
    pub globals: &'a [u64],
    /// A block that executes more warp instructions than this is taken to loop for ever.
    pub instruction_limit: u64,
    /// The order of blocks and of lanes of atomics: [`SEED`] in the environment, unless given here.
    pub seed: u64,
    /// Whether to count what is asked of the hardware.
    pub counted: bool,
}

impl<'a> Launch<'a> {
    /// A launch with one block of one thread and no parameters, to be filled in.
    pub fn new(kernel: &'a Kernel) -> Launch<'a> {
        Launch {
            kernel,
            grid: [1; 3],
            block: [1; 3],
            dynamic_shared: 0,
            parameters: &[],
            globals: &[],
            instruction_limit: 1 << 30,
            seed: Seed::from_environment(),
            counted: false,
        }
    }

    /// What the device would refuse.
    fn check(&self) -> Result<(), Trouble> {
        let refuse = |text: String| Err(Trouble::Launch(text));
        let (kernel, expected) = (self.kernel, self.kernel.parameter_bytes());
        if self.parameters.len() != expected {
            return refuse(format!("{} bytes of parameters, expected {expected}", self.parameters.len()));
        }
        let threads: u64 = self.block.iter().map(|&extent| u64::from(extent)).product();
        let limit = MOST_THREADS.min(kernel.max_threads.into());
        if threads == 0 || threads > limit || self.block[2] > 64 {
            return refuse(format!(
                "{threads} threads per block {:?}, the kernel allows 1 to {limit}",
                self.block
            ));
        }
        if self.grid.contains(&0)
            || self.grid[0] > i32::MAX as u32
            || self.grid[1..].iter().any(|&n| n > 65535)
        {
            return refuse(format!("grid {:?}: x must be 1 to 2^31 - 1, y and z 1 to 65535", self.grid));
        }
        let shared = self.shared_bytes();
        if shared > MOST_SHARED {
            return refuse(format!(
                "{shared} bytes of shared memory, the device has {MOST_SHARED} per block"
            ));
        }
        Ok(())
    }

    /// Where dynamic shared memory begins.
    fn dynamic_start(&self) -> usize {
        self.kernel.static_shared.next_multiple_of(self.kernel.dynamic_align)
    }

    fn shared_bytes(&self) -> usize {
        match self.dynamic_shared {
            0 => self.kernel.static_shared,
            bytes => self.dynamic_start() + bytes as usize,
        }
    }
}

/// What a launch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Blocks that ran.
    pub blocks: u64,
    /// Instructions executed, each for up to 32 lanes.
    pub warp_instructions: u64,
    /// What the kernel's `printf` wrote.
    pub printed: String,
    /// What was asked of the hardware, if it was to be counted.
    pub counters: Option<Counters>,
}

/// Runs every block of a launch, in the order of its seed. Stops at the first fault.
pub fn run(launch: &Launch, memory: &mut DeviceMemory) -> Result<Statistics, Fault> {
    let refused =
        |trouble| Fault { kernel: launch.kernel.name.clone(), place: None, trouble: Box::new(trouble) };
    launch.check().map_err(refused)?;
    let counters = launch.counted.then(Counters::default);
    let mut statistics = Statistics { counters, ..Statistics::default() };
    memory.begin_launch(launch.kernel.code.len());
    let mut seed = Seed::new(launch.seed);
    let blocks = launch.grid.iter().map(|&extent| u64::from(extent)).product();
    let order = seed.order(blocks);
    let mut block = Block::new(launch, seed);
    let [width, height, _] = launch.grid.map(u64::from);
    for number in order {
        let index = [number % width, number / width % height, number / (width * height)];
        memory.begin_block();
        block.run(number as u32, index.map(|index| index as u32), memory, &mut statistics)?;
        statistics.blocks += 1;
    }
    Ok(statistics)
}

/// The lanes of a mask, lowest first.
pub fn active(mask: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| mask >> lane & 1 == 1)
}
