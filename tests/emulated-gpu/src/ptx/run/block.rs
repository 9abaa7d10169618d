//! One block: its warps, its shared memory, and the barriers between them.

use super::super::fault::{Fault, Place, Trouble};
use super::super::memory::POISON;
use super::super::memory::device::DeviceMemory;
use super::super::memory::local::LocalMemory;
use super::super::memory::order::{MAX_WARPS, Order};
use super::super::memory::shared::SharedMemory;
use super::super::module::{Fill, Special};
use super::super::operation::{Barrier, BarrierKind, Reduction};
use super::super::registers::{LANES, Registers, Slot, Value};
use super::warp::{Control, Pause, Stopped, ranges};
use super::{Copies, Launch, Machine, Seed, Statistics, active};

/// Barriers of a block.
const BARRIERS: usize = 16;

/// A block of a launch; the same one serves all blocks in turn.
pub struct Block<'a> {
    launch: &'a Launch<'a>,
    /// Registers as every warp starts, but for the special registers that vary.
    template: Registers,
    warps: Vec<Warp>,
    shared: SharedMemory,
    order: Order,
    barriers: [Arrivals; BARRIERS],
    seed: Seed,
}

struct Warp {
    /// Lanes that hold a thread.
    lanes: u32,
    registers: Registers,
    local: LocalMemory,
    copies: Copies,
    control: Control,
    /// The barrier at which the warp waits.
    waiting: Option<usize>,
}

/// Who has come to a barrier.
#[derive(Default)]
struct Arrivals {
    /// Threads it was called for, if it was called with a count.
    threads: Option<u32>,
    arrived: u32,
    /// Masks of warps.
    present: u32,
    waiting: u32,
    /// Whether they combine predicates.
    reduces: bool,
    /// Threads with a true predicate.
    votes: u32,
    /// Where waiting warps want the result.
    results: Vec<(usize, Reduction, Slot)>,
}

impl<'a> Block<'a> {
    /// Warps for the blocks of `launch`.
    pub fn new(launch: &'a Launch<'a>, seed: Seed) -> Block<'a> {
        let kernel = launch.kernel;
        let poison = u64::from_ne_bytes([POISON; 8]);
        let start = |fill: &Fill| match *fill {
            Fill::Poison | Fill::Special(_) => poison,
            Fill::Bits(bits) => bits,
            Fill::Global(index, offset) => {
                launch.globals.get(index).copied().unwrap_or_default().wrapping_add_signed(offset)
            }
            Fill::DynamicShared(offset) => (launch.dynamic_start() as u64).wrapping_add_signed(offset),
        };
        let template = Registers {
            predicates: kernel
                .predicates
                .iter()
                .map(|fill| if start(fill) == 0 { 0 } else { u32::MAX })
                .collect(),
            words: kernel.words.iter().map(|fill| [start(fill) as u32; LANES]).collect(),
            longs: kernel.longs.iter().map(|fill| [start(fill); LANES]).collect(),
        };
        let threads: u32 = launch.block.iter().product();
        let warps = (0..threads.div_ceil(32)).map(|warp| Warp {
            lanes: u32::MAX >> (32 - (threads - warp * 32).min(32)),
            registers: template.clone(),
            local: LocalMemory::new(kernel.local_bytes),
            copies: Copies::new(),
            control: Control::default(),
            waiting: None,
        });
        Block {
            launch,
            warps: warps.collect(),
            template,
            shared: SharedMemory::new(launch.shared_bytes()),
            order: Order::new(),
            barriers: Default::default(),
            seed,
        }
    }

    /// Runs the block at `index`, the launch's block `number`, to its end.
    pub fn run(
        &mut self,
        number: u32,
        index: [u32; 3],
        memory: &mut DeviceMemory,
        statistics: &mut Statistics,
    ) -> Result<(), Fault> {
        self.reset(index);
        let limit = statistics.warp_instructions.saturating_add(self.launch.instruction_limit);
        loop {
            let mut progress = false;
            for warp in 0..self.warps.len() {
                if self.warps[warp].control.alive == 0 || self.warps[warp].waiting.is_some() {
                    continue;
                }
                progress = true;
                let paused = self.run_warp(number, warp, memory, statistics);
                let paused = paused.and_then(|pause| self.pause(warp, pause));
                paused.map_err(|stopped| self.fault(index, warp, stopped))?;
                if statistics.warp_instructions > limit {
                    let position = self.warps[warp].control.groups.first().map_or(0, |group| group.position);
                    let trouble = Box::new(Trouble::Endless(self.launch.instruction_limit));
                    return Err(self.fault(index, warp, (position, trouble)));
                }
            }
            if self.warps.iter().all(|warp| warp.control.alive == 0) {
                return Ok(());
            }
            if !progress {
                let (warp, stopped) = self.deadlock();
                return Err(self.fault(index, warp, stopped));
            }
        }
    }

    /// Puts every warp at the start, with nothing left of the block before.
    fn reset(&mut self, index: [u32; 3]) {
        self.shared.reset();
        self.order = Order::new();
        self.barriers = Default::default();
        for (number, warp) in self.warps.iter_mut().enumerate() {
            warp.registers.predicates.copy_from_slice(&self.template.predicates);
            warp.registers.words.copy_from_slice(&self.template.words);
            warp.registers.longs.copy_from_slice(&self.template.longs);
            let value = |special, lane| special_register(special, self.launch, index, number, lane);
            for (fill, column) in self.launch.kernel.words.iter().zip(&mut warp.registers.words) {
                if let Fill::Special(special) = *fill {
                    *column = std::array::from_fn(|lane| value(special, lane));
                }
            }
            for (fill, column) in self.launch.kernel.longs.iter().zip(&mut warp.registers.longs) {
                if let Fill::Special(special) = *fill {
                    *column = std::array::from_fn(|lane| value(special, lane).into());
                }
            }
            warp.local.reset();
            warp.copies.reset();
            warp.control.start(warp.lanes);
            warp.waiting = None;
        }
    }

    fn run_warp(
        &mut self,
        block: u32,
        number: usize,
        memory: &mut DeviceMemory,
        statistics: &mut Statistics,
    ) -> Result<Pause, Stopped> {
        let warp = &mut self.warps[number];
        let mut machine = Machine {
            block,
            grid: self.launch.grid,
            warp: number,
            instruction: 0,
            registers: &mut warp.registers,
            local: &mut warp.local,
            copies: &mut warp.copies,
            shared: &mut self.shared,
            order: &mut self.order,
            device: memory,
            parameters: self.launch.parameters,
            printed: &mut statistics.printed,
            seed: &mut self.seed,
            counters: statistics.counters.as_mut(),
        };
        let code = &self.launch.kernel.code;
        warp.control.run(code, &mut machine, &mut statistics.warp_instructions)
    }

    /// What a pause of a warp means to the block.
    fn pause(&mut self, warp: usize, pause: Pause) -> Result<(), Stopped> {
        match pause {
            Pause::Turn => {}
            // Those that have exited are not waited for.
            Pause::Done => (0..BARRIERS).for_each(|barrier| self.complete(barrier)),
            Pause::Barrier(barrier) => self.arrive(warp, barrier).map_err(|trouble| {
                let after = self.warps[warp].control.groups[0].position;
                (after - 1, Box::new(Trouble::Barrier(trouble)))
            })?,
        }
        Ok(())
    }

    /// A warp comes to a barrier.
    fn arrive(&mut self, number: usize, barrier: Barrier) -> Result<(), String> {
        let warp = &mut self.warps[number];
        let alive = warp.control.alive;
        let uniform = |slot: Slot| {
            let column = &warp.registers.words[slot as usize];
            let first = column[alive.trailing_zeros() as usize];
            let same = active(alive).all(|lane| column[lane] == first);
            if same { Ok(first) } else { Err("the lanes of the warp name different barriers".to_string()) }
        };
        let index = uniform(barrier.index)? as usize;
        if index >= BARRIERS {
            return Err(format!("barrier {index}: there are {BARRIERS}"));
        }
        let threads = barrier.threads.map(uniform).transpose()?;
        if threads.is_some_and(|threads| threads == 0 || threads % 32 != 0) {
            return Err(format!("barrier {index} for {threads:?} threads: no multiple of 32"));
        }
        let arrivals = &mut self.barriers[index];
        if arrivals.present != 0 && arrivals.threads != threads {
            return Err(format!(
                "barrier {index} for {threads:?} threads, but others wait there for {:?}",
                arrivals.threads
            ));
        }
        if arrivals.present >> number & 1 == 1 {
            return Err(format!(
                "warp {number} comes to barrier {index} again before the others have come once"
            ));
        }
        let reduces = matches!(barrier.kind, BarrierKind::Reduce { .. });
        if arrivals.present != 0 && reduces != arrivals.reduces {
            return Err(format!(
                "barrier {index}: some warps combine predicates there (`bar.red`), others do not"
            ));
        }
        arrivals.reduces = reduces;
        arrivals.threads = threads;
        arrivals.arrived += 32;
        arrivals.present |= 1 << number;
        if let BarrierKind::Reduce { reduction, target, predicate, negated } = barrier.kind {
            let predicate = warp.registers.predicates[predicate as usize];
            let votes = if negated { !predicate } else { predicate } & alive;
            arrivals.votes += votes.count_ones();
            arrivals.results.push((number, reduction, target));
        }
        if barrier.kind != BarrierKind::Arrive {
            arrivals.waiting |= 1 << number;
            warp.waiting = Some(index);
        }
        self.complete(index);
        Ok(())
    }

    /// Lets everybody pass a barrier that all have come to.
    fn complete(&mut self, index: usize) {
        let alive = |warps: u32| -> u32 {
            let counts = self.warps.iter().enumerate().filter(|(number, _)| warps >> number & 1 == 1);
            counts.map(|(_, warp)| warp.control.alive.count_ones()).sum()
        };
        let all = alive(u32::MAX);
        let arrivals = &self.barriers[index];
        let complete = match arrivals.threads {
            Some(threads) => arrivals.arrived >= threads,
            None => alive(arrivals.present) == all,
        };
        if !complete || arrivals.present == 0 {
            return;
        }
        let voters = arrivals.threads.unwrap_or(all);
        let Arrivals { present, waiting, votes, results, .. } = std::mem::take(&mut self.barriers[index]);
        self.order.barrier(present, waiting);
        for (number, reduction, target) in results {
            let Warp { registers, control, .. } = &mut self.warps[number];
            let decided = |yes: bool| if yes { u32::MAX } else { 0 };
            match reduction {
                Reduction::Count => {
                    u32::merge(u32::column_mut(registers, target), [votes; LANES], control.alive);
                }
                Reduction::And => {
                    bool::merge(bool::column_mut(registers, target), decided(votes == voters), control.alive);
                }
                Reduction::Or => {
                    bool::merge(bool::column_mut(registers, target), decided(votes > 0), control.alive);
                }
            }
        }
        for number in (0..MAX_WARPS).filter(|number| waiting >> number & 1 == 1) {
            self.warps[number].waiting = None;
        }
    }

    /// Nobody can go on: the first warp that waits, and what the block waits for.
    fn deadlock(&self) -> (usize, Stopped) {
        let mut texts = Vec::new();
        for (index, arrivals) in self.barriers.iter().enumerate().filter(|(_, a)| a.present != 0) {
            let waiting = ranges(arrivals.waiting);
            let wanted =
                arrivals.threads.map_or("all threads".into(), |threads| format!("{threads} threads"));
            texts.push(format!("warps {waiting} wait at barrier {index} for {wanted}"));
        }
        let waits = |warp: &Warp| warp.waiting.is_some();
        let first = self.warps.iter().position(waits).unwrap_or(0);
        let position = self.warps[first].control.groups.first().map_or(0, |group| group.position);
        (first, (position.saturating_sub(1), Box::new(Trouble::Deadlock(texts.join("; ")))))
    }

    fn fault(&self, block: [u32; 3], warp: usize, (position, trouble): Stopped) -> Fault {
        let kernel = self.launch.kernel;
        let origin = |index: usize| kernel.code[index].origin.clone();
        let place = Box::new(Place { block, warp, instruction: origin(position) });
        let trouble = Box::new(trouble.resolve(|index| origin(index as usize)));
        Fault { kernel: kernel.name.clone(), place: Some(place), trouble }
    }
}

/// The value of a special register.
fn special_register(special: Special, launch: &Launch, block: [u32; 3], warp: usize, lane: usize) -> u32 {
    let thread = (warp * LANES + lane) as u32;
    let [width, height, _] = launch.block;
    match special {
        Special::Thread(0) => thread % width,
        Special::Thread(1) => thread / width % height,
        Special::Thread(_) => thread / (width * height),
        Special::BlockSize(axis) => launch.block[usize::from(axis)],
        Special::Block(axis) => block[usize::from(axis)],
        Special::GridSize(axis) => launch.grid[usize::from(axis)],
        Special::Lane => lane as u32,
        Special::Warp => warp as u32,
        Special::Warps => launch.block.iter().product::<u32>().div_ceil(32),
        Special::LanesEqual => 1 << lane,
        Special::LanesBelow => (1 << lane) - 1,
        Special::LanesUpTo => u32::MAX >> (31 - lane),
        Special::LanesAbove => !(u32::MAX >> (31 - lane)),
        Special::LanesFrom => u32::MAX << lane,
        Special::DynamicSharedSize => launch.dynamic_shared,
    }
}
