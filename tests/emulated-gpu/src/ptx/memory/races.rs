//! Races through global memory, within one launch: who wrote and who read each word last, and whether something orders
//! that before an access now.
//!
//! Blocks of a launch run at once on hardware and see each other's writes in any order. What orders them: barriers within
//! a block; between blocks a fence behind the access, then an atomic or volatile access to a word that the other block
//! looks at with an atomic or volatile access before it goes on. (The other block's own fence is not asked for.)
//! Atomic and volatile accesses may meet each other. A word that was read as constant (`ld.global.nc`) may not be written
//! by the same launch at all.
//!
//! A word's shadow holds numbers of [`Record`]s: accesses of a warp by one instruction between two barriers.

use std::collections::HashMap;

use super::order::{Covered, Order};

/// Who touches global memory, and with which instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalAccessor {
    /// Number of the block in the launch.
    pub block: u32,
    /// Warp within the block.
    pub warp: usize,
    /// Index of the instruction in the kernel.
    pub instruction: u32,
    /// Atomic or volatile.
    pub strong: bool,
    /// `ld.global.nc`: through a cache that does not see writes.
    pub constant: bool,
}

/// An access that nothing orders after an earlier one of the same launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalRace {
    /// The first byte, from the start of the range.
    pub offset: usize,
    /// The earlier access.
    pub block: u32,
    pub warp: u32,
    pub instruction: u32,
    pub wrote: bool,
    /// One of the two is a read through the constant cache.
    pub constant: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    block: u32,
    stamp: u32,
    instruction: u32,
    warp: u8,
    strong: bool,
    constant: bool,
}

/// The shadow of an allocation.
#[derive(Debug)]
pub struct AccessShadow {
    /// Bytes that an entry stands for: 4, until fewer are touched at a time.
    granule: usize,
    writes: Vec<u32>,
    /// The latest reader, and the latest that was another warp.
    reads: Vec<[u32; 2]>,
}

/// What a launch has done so far.
#[derive(Debug)]
pub struct Races {
    records: Vec<Record>,
    /// Number of the first record of this launch; lower numbers are of earlier ones.
    first: u32,
    /// By warp and instruction: the number of the latest record.
    latest: Vec<u32>,
    instructions: usize,
    /// By word: what blocks have published by a fence and an atomic or volatile access to it.
    published: HashMap<u64, Published>,
    /// The words with something published that the current block has looked at: word, warp, stamp.
    acquired: Vec<(u64, usize, u32)>,
}

#[derive(Debug, Default)]
struct Published {
    by: HashMap<u32, Covered>,
    /// Words whose publications the publishers had seen themselves.
    through: Vec<u64>,
}

impl Default for Races {
    fn default() -> Races {
        Races {
            records: Vec::new(),
            first: 1,
            latest: Vec::new(),
            instructions: 0,
            published: HashMap::new(),
            acquired: Vec::new(),
        }
    }
}

impl Races {
    /// A launch of a kernel of so many instructions begins: nothing that was done before matters. False if numbers have
    /// run out, and shadows must be cleared.
    pub fn begin_launch(&mut self, instructions: usize) -> bool {
        let fits = u32::try_from(self.records.len()).ok().and_then(|count| self.first.checked_add(count));
        self.first = fits.filter(|&first| first < 1 << 31).unwrap_or(1);
        self.records.clear();
        self.published.clear();
        self.instructions = instructions;
        self.latest.clear();
        self.latest.resize(32 * instructions, 0);
        self.begin_block();
        self.first != 1
    }

    /// Another block begins.
    pub fn begin_block(&mut self) {
        self.acquired.clear();
    }

    /// The number of the record for an access now.
    fn record(&mut self, by: &GlobalAccessor, order: &Order) -> u32 {
        let record = Record {
            block: by.block,
            stamp: order.now(),
            instruction: by.instruction,
            warp: by.warp as u8,
            strong: by.strong,
            constant: by.constant,
        };
        let latest = &mut self.latest[by.warp * self.instructions + by.instruction as usize];
        if *latest >= self.first && self.records[(*latest - self.first) as usize] == record {
            return *latest;
        }
        *latest = self.first + self.records.len() as u32;
        self.records.push(record);
        *latest
    }

    /// Checks and remembers a read of a range.
    pub fn read(
        &mut self,
        shadow: &mut AccessShadow,
        by: &GlobalAccessor,
        order: &Order,
        start: usize,
        length: usize,
    ) -> Result<(), GlobalRace> {
        let id = self.record(by, order);
        let first = self.first;
        let granule = shadow.granule;
        let range = start / granule..(start + length) / granule;
        if shadow.writes[range.clone()].iter().any(|&write| write >= first) {
            for index in range.clone() {
                let write = shadow.writes[index];
                if write >= first && (by.constant || !self.may_follow(write, by, order)) {
                    return Err(self.race(write, index * granule - start, true, by));
                }
            }
        }
        for entry in &mut shadow.reads[range] {
            if entry[0] == id {
                continue;
            }
            if entry[0] >= first {
                let earlier = &self.records[(entry[0] - first) as usize];
                if (earlier.block, usize::from(earlier.warp)) != (by.block, by.warp) {
                    entry[1] = entry[0];
                }
            }
            entry[0] = id;
        }
        Ok(())
    }

    /// Checks and remembers a write to a range.
    pub fn write(
        &mut self,
        shadow: &mut AccessShadow,
        by: &GlobalAccessor,
        order: &Order,
        start: usize,
        length: usize,
    ) -> Result<(), GlobalRace> {
        let id = self.record(by, order);
        let first = self.first;
        let granule = shadow.granule;
        let range = start / granule..(start + length) / granule;
        let (writes, reads) = (&shadow.writes[range.clone()], &shadow.reads[range.clone()]);
        // What nobody has touched in this launch, or this very instruction alone, needs no more looking at.
        if writes.iter().any(|&write| write >= first && write != id)
            || reads.iter().any(|read| read[0] >= first)
        {
            for index in range.clone() {
                let offset = index * granule - start;
                let write = shadow.writes[index];
                if write >= first && !self.may_follow(write, by, order) {
                    return Err(self.race(write, offset, true, by));
                }
                for read in shadow.reads[index] {
                    let bad = |id: u32| {
                        self.records[(id - first) as usize].constant || !self.may_follow(id, by, order)
                    };
                    if read >= first && bad(read) {
                        return Err(self.race(read, offset, false, by));
                    }
                }
            }
        }
        shadow.writes[range.clone()].fill(id);
        shadow.reads[range].fill([0; 2]);
        Ok(())
    }

    /// An atomic or volatile access to the word at `address`: what was published there is seen, and what the warp's
    /// fences cover is published.
    pub fn meet(&mut self, by: &GlobalAccessor, order: &Order, address: u64, reads: bool, writes: bool) {
        let word = address & !3;
        if reads && self.published.contains_key(&word) {
            let seen = (word, by.warp, order.now());
            if self.acquired.last() != Some(&seen) {
                self.acquired.push(seen);
            }
        }
        let [_, device] = order.fenced(by.warp);
        if writes && let Some(&covered) = device {
            let seen: Vec<u64> = self
                .acquired
                .iter()
                .filter(|&&(_, warp, stamp)| order.precedes(warp, stamp, by.warp))
                .map(|&(word, ..)| word)
                .collect();
            let published = self.published.entry(word).or_default();
            published.by.insert(by.block, covered);
            for word in seen {
                if !published.through.contains(&word) {
                    published.through.push(word);
                }
            }
        }
    }

    /// Whether something orders an access of this launch before one now, or both may happen at once.
    fn may_follow(&self, earlier: u32, by: &GlobalAccessor, order: &Order) -> bool {
        let record = &self.records[(earlier - self.first) as usize];
        if record.strong && by.strong {
            return true;
        }
        if record.block == by.block && order.precedes(record.warp.into(), record.stamp, by.warp) {
            return true;
        }
        let mut words: Vec<u64> = self
            .acquired
            .iter()
            .filter(|&&(_, warp, stamp)| warp == by.warp || order.precedes(warp, stamp, by.warp))
            .map(|&(word, ..)| word)
            .collect();
        let mut next = 0;
        while next < words.len() {
            let Some(published) = self.published.get(&words[next]) else { break };
            let covered = published.by.get(&record.block);
            if covered.is_some_and(|covered| record.stamp < covered[usize::from(record.warp)]) {
                return true;
            }
            for &word in &published.through {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            next += 1;
        }
        false
    }

    fn race(&self, earlier: u32, offset: usize, wrote: bool, by: &GlobalAccessor) -> GlobalRace {
        let Record { block, warp, instruction, constant, .. } = self.records[(earlier - self.first) as usize];
        GlobalRace { offset, block, warp: warp.into(), instruction, wrote, constant: constant || by.constant }
    }
}

impl AccessShadow {
    /// Of an allocation of so many bytes that nobody has touched.
    pub fn new(bytes: usize) -> AccessShadow {
        AccessShadow::with_granule(bytes, 4)
    }

    fn with_granule(bytes: usize, granule: usize) -> AccessShadow {
        let count = bytes.div_ceil(granule);
        AccessShadow { granule, writes: vec![0; count], reads: vec![[0; 2]; count] }
    }

    /// Has entries stand for few enough bytes that the range, touched `width` bytes at a time, takes whole ones.
    pub fn refine(&mut self, start: usize, width: usize) {
        while self.granule > 1 && !(start.is_multiple_of(self.granule) && width.is_multiple_of(self.granule))
        {
            let granule = self.granule / 2;
            let finer = AccessShadow {
                granule,
                writes: self.writes.iter().flat_map(|&write| [write; 2]).collect(),
                reads: self.reads.iter().flat_map(|&read| [read; 2]).collect(),
            };
            *self = finer;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.writes.fill(0);
        self.reads.fill([0; 2]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(block: u32, warp: usize) -> GlobalAccessor {
        GlobalAccessor { block, warp, instruction: warp as u32, strong: false, constant: false }
    }

    struct World {
        races: Races,
        shadow: AccessShadow,
        order: Order,
    }

    impl World {
        fn new() -> World {
            let mut races = Races::default();
            races.begin_launch(8);
            World { races, shadow: AccessShadow::new(64), order: Order::new() }
        }

        fn block(&mut self) {
            self.order = Order::new();
            self.races.begin_block();
        }

        fn write(&mut self, by: GlobalAccessor) -> bool {
            self.races.write(&mut self.shadow, &by, &self.order, 0, 4).is_ok()
        }

        fn read(&mut self, by: GlobalAccessor) -> bool {
            self.races.read(&mut self.shadow, &by, &self.order, 0, 4).is_ok()
        }
    }

    #[test]
    fn warps_of_a_block_need_a_barrier() {
        let mut world = World::new();
        assert!(world.write(by(0, 0)) && world.read(by(0, 0)) && !world.read(by(0, 1)));
        world.order.barrier(3, 3);
        assert!(world.read(by(0, 1)) && !world.write(by(0, 0)), "read by warp 1, no barrier since");
        world.order.barrier(3, 3);
        assert!(world.write(by(0, 0)));
        // Another launch begins afresh.
        world.races.begin_launch(8);
        assert!(world.read(by(3, 1)) && world.write(by(3, 1)));
    }

    #[test]
    fn blocks_need_a_fence_and_an_atomic() {
        for (fence, atomic) in [(true, true), (false, true), (true, false)] {
            let mut world = World::new();
            assert!(world.write(by(0, 0)));
            if fence {
                world.order.fence(0, true);
            }
            let strong = |block| GlobalAccessor { strong: true, ..by(block, 0) };
            if atomic {
                world.races.meet(&strong(0), &world.order, 100, true, true);
            }
            world.block();
            assert!(!world.read(by(1, 0)), "before it looks");
            world.races.meet(&strong(1), &world.order, 100, true, true);
            assert_eq!(world.read(by(1, 0)), fence && atomic);
            assert!(!world.read(by(1, 1)), "another warp of the block");
            world.order.barrier(3, 3);
            assert_eq!(world.read(by(1, 1)), fence && atomic);
        }
    }

    #[test]
    fn what_is_published_travels_on() {
        let mut world = World::new();
        let strong = |block| GlobalAccessor { strong: true, ..by(block, 0) };
        assert!(world.write(by(0, 0)));
        world.order.fence(0, true);
        world.races.meet(&strong(0), &world.order, 100, false, true);
        world.block();
        world.races.meet(&strong(1), &world.order, 100, true, false);
        world.order.fence(0, true);
        world.races.meet(&strong(1), &world.order, 200, false, true);
        world.block();
        world.races.meet(&strong(2), &world.order, 200, true, false);
        assert!(world.read(by(2, 0)));
    }

    #[test]
    fn constant_reads_exclude_writes_and_strong_accesses_meet() {
        let mut world = World::new();
        let constant = GlobalAccessor { constant: true, ..by(0, 0) };
        assert!(world.read(constant) && !world.write(by(0, 0)), "even by the same warp");
        world.races.begin_launch(8);
        assert!(world.write(by(0, 0)) && !world.read(constant));
        world.races.begin_launch(8);
        let strong = |block| GlobalAccessor { strong: true, ..by(block, 0) };
        assert!(world.write(strong(0)) && world.write(strong(1)) && world.read(strong(2)));
        assert!(!world.read(by(3, 0)));
    }

    #[test]
    fn halves_of_a_word_are_apart_once_halves_are_touched() {
        let mut world = World::new();
        assert!(world.write(by(0, 0)));
        world.races.begin_launch(8);
        world.shadow.refine(2, 2);
        let World { races, shadow, order } = &mut world;
        races.write(shadow, &by(0, 0), order, 0, 2).unwrap();
        races.write(shadow, &by(1, 0), order, 2, 2).unwrap();
        let race = races.read(shadow, &by(1, 0), order, 0, 4).unwrap_err();
        assert_eq!((race.offset, race.block, race.wrote), (0, 0, true));
    }
}
