//! Shared memory of a block, with a shadow: written or not, by whom, read by whom, copy in flight.
//!
//! A shadow stands for four bytes, until a kernel writes fewer at a time: then for two, or for one.

use std::collections::BTreeMap;

use super::POISON;
use super::order::{ALL_LANES, Order};

/// Who touches shared memory, and with which instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accessor {
    /// Warp within the block.
    pub warp: usize,
    /// The lane that touches the first byte; [`ALL_LANES`] for the warp as a whole.
    pub lane: u8,
    /// Bytes of each lane, one lane after the other.
    pub width: usize,
    /// Index of the instruction in the kernel.
    pub instruction: u32,
    /// Atomic or volatile: may meet other such accesses without a barrier.
    pub strong: bool,
}

impl Accessor {
    /// The lane that touches a byte this far from the first.
    fn lane_at(&self, offset: usize) -> u8 {
        if self.lane == ALL_LANES { ALL_LANES } else { self.lane + (offset / self.width) as u8 }
    }
}

/// Who else touched the byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    /// A warp, with no barrier in between.
    Warp(usize),
    /// A lane of the same warp, with no `__syncwarp` in between; [`ALL_LANES`] for several.
    Lane(u8),
}

/// A wrong access to a byte of shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hazard {
    /// Read before anything wrote it.
    Uninitialised { byte: usize },
    /// Read or written while a `cp.async` to it may still be running.
    InFlight { byte: usize, copy: u32 },
    /// Two touch it, one of them writes, and nothing orders them.
    Race { byte: usize, rival: Rival, wrote: bool, instruction: u32 },
}

impl Hazard {
    /// The byte that it is about.
    pub fn byte(&self) -> usize {
        match *self {
            Hazard::Uninitialised { byte } | Hazard::InFlight { byte, .. } | Hazard::Race { byte, .. } => {
                byte
            }
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Shadow {
    written_at: u32,
    written_by: u32,
    /// The writing lane's stamp.
    written_lane_at: u32,
    /// Latest reading generation; `readers` are the warps that read in it.
    read_at: u32,
    read_by: u32,
    readers: u32,
    /// The stamp of the lane that read last.
    read_lane_at: u32,
    writer: u8,
    write_lane: u8,
    /// The warp and lane that read last; several lanes are [`ALL_LANES`].
    reader: u8,
    read_lane: u8,
    initialised: bool,
    in_flight: bool,
    strong: bool,
}

/// Bytes and shadows.
#[derive(Debug)]
pub struct SharedMemory {
    bytes: Vec<u8>,
    /// Bytes that a shadow stands for: 4, 2 or 1.
    granule: usize,
    shadows: Vec<Shadow>,
    /// Readers of an earlier generation that no barrier has ordered before the latest read: (warp, stamp).
    earlier_readers: BTreeMap<usize, Vec<(usize, u32)>>,
}

impl SharedMemory {
    /// `size` bytes that nothing has written.
    pub fn new(size: usize) -> SharedMemory {
        SharedMemory {
            bytes: vec![POISON; size],
            granule: 4,
            shadows: vec![Shadow::default(); size.div_ceil(4)],
            earlier_readers: BTreeMap::new(),
        }
    }

    /// Forgets everything, for the next block. A kernel's shadows stay as fine as it has needed them.
    pub fn reset(&mut self) {
        self.bytes.fill(POISON);
        self.shadows.fill(Shadow::default());
        self.earlier_readers.clear();
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Has shadows stand for few enough bytes that the range, touched `width` bytes at a time, takes whole ones.
    fn refine(&mut self, start: usize, width: usize) {
        while self.granule > 1 && !(start.is_multiple_of(self.granule) && width.is_multiple_of(self.granule))
        {
            self.granule /= 2;
            self.shadows = self.shadows.iter().flat_map(|&shadow| [shadow; 2]).collect();
            let earlier = std::mem::take(&mut self.earlier_readers);
            let halves = earlier
                .into_iter()
                .flat_map(|(at, readers)| [(2 * at, readers.clone()), (2 * at + 1, readers)]);
            self.earlier_readers = halves.collect();
        }
    }

    /// The bytes of a range that is inside, after checking that the read is sound.
    pub fn read(
        &mut self,
        by: Accessor,
        order: &Order,
        start: usize,
        length: usize,
    ) -> Result<&[u8], Hazard> {
        self.refine(start, by.width.min(length));
        let (now, lane_now) = (order.now(), order.lane_now(by.warp));
        let known = order.known(by.warp);
        let granule = self.granule;
        for index in start / granule..(start + length) / granule {
            let byte = index * granule;
            let shadow = &mut self.shadows[index];
            let lane = by.lane_at(byte - start);
            if shadow.in_flight {
                return Err(Hazard::InFlight { byte, copy: shadow.written_by });
            }
            if !shadow.initialised {
                return Err(Hazard::Uninitialised { byte });
            }
            if usize::from(shadow.writer) == by.warp {
                shadow.check_write_lane(by, lane, order, byte)?;
            } else if shadow.written_at >= known[usize::from(shadow.writer)] && !(shadow.strong && by.strong)
            {
                return Err(shadow.written(byte));
            }
            if by.strong {
                continue;
            }
            if shadow.read_at != now {
                let unordered = shadow.unordered_readers(by.warp, order);
                if unordered != 0 {
                    let stamp = shadow.read_at;
                    let warps = (0..32).filter(|warp| unordered >> warp & 1 == 1).map(|warp| (warp, stamp));
                    self.earlier_readers.entry(index).or_default().extend(warps);
                }
                shadow.read_at = now;
                shadow.readers = 0;
            }
            shadow.readers |= 1 << by.warp;
            shadow.read_by = by.instruction;
            let again = usize::from(shadow.reader) == by.warp && shadow.read_lane_at == lane_now;
            let several = again && shadow.read_lane != lane && shadow.readers != 0;
            shadow.read_lane = if several { ALL_LANES } else { lane };
            (shadow.reader, shadow.read_lane_at) = (by.warp as u8, lane_now);
        }
        Ok(&self.bytes[start..start + length])
    }

    /// Checks that a write to a range that is inside is sound, records it, and gives the bytes to change.
    pub fn write(
        &mut self,
        by: Accessor,
        order: &Order,
        start: usize,
        length: usize,
    ) -> Result<&mut [u8], Hazard> {
        self.refine(start, by.width.min(length));
        let (now, lane_now) = (order.now(), order.lane_now(by.warp));
        let granule = self.granule;
        for index in start / granule..(start + length) / granule {
            let byte = index * granule;
            let shadow = &mut self.shadows[index];
            let lane = by.lane_at(byte - start);
            if shadow.in_flight {
                return Err(Hazard::InFlight { byte, copy: shadow.written_by });
            }
            shadow.check_writer(by, lane, order, byte)?;
            if shadow.readers != 0 {
                shadow.check_readers(by, lane, order, byte)?;
            }
            if !self.earlier_readers.is_empty()
                && let Some(readers) = self.earlier_readers.remove(&index)
                && let Some(&(warp, _)) =
                    readers.iter().find(|&&(warp, stamp)| !order.precedes(warp, stamp, by.warp))
            {
                return Err(shadow.read(byte, Rival::Warp(warp)));
            }
            *shadow = Shadow {
                written_at: now,
                written_by: by.instruction,
                written_lane_at: lane_now,
                writer: by.warp as u8,
                write_lane: lane,
                initialised: true,
                strong: by.strong,
                ..Shadow::default()
            };
        }
        Ok(&mut self.bytes[start..start + length])
    }

    /// A `cp.async` to the range begins: a write whose bytes come later.
    pub fn begin_copy(
        &mut self,
        by: Accessor,
        order: &Order,
        start: usize,
        length: usize,
    ) -> Result<(), Hazard> {
        self.write(by, order, start, length)?;
        self.shadows_of(start, length).for_each(|shadow| shadow.in_flight = true);
        Ok(())
    }

    /// The copy has been waited for: its bytes arrive now.
    pub fn finish_copy(&mut self, order: &Order, warp: usize, start: usize, bytes: &[u8]) {
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        for shadow in self.shadows_of(start, bytes.len()) {
            shadow.in_flight = false;
            (shadow.written_at, shadow.written_lane_at) = (order.now(), order.lane_now(warp));
        }
    }

    fn shadows_of(&mut self, start: usize, length: usize) -> impl Iterator<Item = &mut Shadow> {
        self.shadows[start / self.granule..(start + length) / self.granule].iter_mut()
    }
}

impl Shadow {
    /// The hazard of what wrote the byte last, if it was another warp.
    fn written(&self, byte: usize) -> Hazard {
        let rival = Rival::Warp(usize::from(self.writer));
        Hazard::Race { byte, rival, wrote: true, instruction: self.written_by }
    }

    /// The hazard of what read it last.
    fn read(&self, byte: usize, rival: Rival) -> Hazard {
        Hazard::Race { byte, rival, wrote: false, instruction: self.read_by }
    }

    fn check_writer(&self, by: Accessor, lane: u8, order: &Order, byte: usize) -> Result<(), Hazard> {
        let warp = usize::from(self.writer);
        if !self.initialised {
            return Ok(());
        }
        if warp != by.warp {
            let ordered = order.precedes(warp, self.written_at, by.warp) || self.strong && by.strong;
            return if ordered { Ok(()) } else { Err(self.written(byte)) };
        }
        // Lanes that store to one word at once: one of them wins, which is as intended.
        if self.written_by == by.instruction { Ok(()) } else { self.check_write_lane(by, lane, order, byte) }
    }

    /// Another lane of the same warp wrote it: since Volta that is another thread.
    #[inline(always)]
    fn check_write_lane(&self, by: Accessor, lane: u8, order: &Order, byte: usize) -> Result<(), Hazard> {
        if self.write_lane == lane
            || self.strong && by.strong
            || order.lane_precedes(by.warp, self.write_lane, self.written_lane_at, lane)
        {
            return Ok(());
        }
        let rival = Rival::Lane(self.write_lane);
        Err(Hazard::Race { byte, rival, wrote: true, instruction: self.written_by })
    }

    fn check_readers(&self, by: Accessor, lane: u8, order: &Order, byte: usize) -> Result<(), Hazard> {
        let unordered = self.unordered_readers(by.warp, order);
        if unordered != 0 {
            return Err(self.read(byte, Rival::Warp(unordered.trailing_zeros() as usize)));
        }
        if usize::from(self.reader) == by.warp
            && self.read_lane != lane
            && self.read_by != by.instruction
            && !order.lane_precedes(by.warp, self.read_lane, self.read_lane_at, lane)
        {
            return Err(self.read(byte, Rival::Lane(self.read_lane)));
        }
        Ok(())
    }

    /// Warps whose latest read no barrier has ordered before what `warp` does now.
    fn unordered_readers(&self, warp: usize, order: &Order) -> u32 {
        let mut unordered = 0;
        let mut readers = self.readers & !(1 << warp);
        while readers != 0 {
            let reader = readers.trailing_zeros();
            readers &= readers - 1;
            if !order.precedes(reader as usize, self.read_at, warp) {
                unordered |= 1 << reader;
            }
        }
        unordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warp(warp: usize) -> Accessor {
        Accessor { warp, lane: 0, width: 8, instruction: 10 + warp as u32, strong: false }
    }

    fn race(byte: usize, warp: usize, wrote: bool, instruction: u32) -> Hazard {
        Hazard::Race { byte, rival: Rival::Warp(warp), wrote, instruction }
    }

    #[test]
    fn a_barrier_is_needed_between_writer_and_reader_both_ways() {
        let (mut memory, mut order) = (SharedMemory::new(8), Order::new());
        assert_eq!(memory.read(warp(0), &order, 4, 4), Err(Hazard::Uninitialised { byte: 4 }));
        memory.write(warp(0), &order, 0, 8).unwrap().fill(7);
        assert_eq!(memory.read(warp(0), &order, 0, 2).unwrap(), [7, 7]);
        assert_eq!(memory.read(warp(1), &order, 2, 2), Err(race(2, 0, true, 10)));
        assert_eq!(memory.write(warp(1), &order, 2, 2).unwrap_err(), race(2, 0, true, 10));
        order.barrier(0b11, 0b11);
        memory.read(warp(1), &order, 2, 2).unwrap();
        assert_eq!(memory.write(warp(0), &order, 3, 1).unwrap_err(), race(3, 1, false, 11));
        order.barrier(0b11, 0b11);
        memory.write(warp(0), &order, 3, 1).unwrap();
    }

    #[test]
    fn a_reader_is_remembered_behind_later_readers() {
        let (mut memory, mut order) = (SharedMemory::new(4), Order::new());
        memory.write(warp(0), &order, 0, 4).unwrap();
        order.barrier(0b111, 0b111);
        memory.read(warp(0), &order, 0, 4).unwrap();
        order.barrier(0b110, 0b110); // warps 1 and 2 meet, 0 stays away
        memory.read(warp(1), &order, 0, 4).unwrap();
        order.barrier(0b110, 0b110);
        assert_eq!(memory.write(warp(2), &order, 0, 4).unwrap_err(), race(0, 0, false, 11));
    }

    #[test]
    fn strong_accesses_may_meet() {
        let (mut memory, order) = (SharedMemory::new(4), Order::new());
        let strong = |index| Accessor { strong: true, ..warp(index) };
        memory.write(strong(0), &order, 0, 4).unwrap();
        memory.write(strong(1), &order, 0, 4).unwrap();
        memory.read(strong(2), &order, 0, 4).unwrap();
        assert_eq!(memory.read(warp(2), &order, 0, 4), Err(race(0, 1, true, 11)));
    }

    #[test]
    fn copies_in_flight_may_not_be_touched() {
        let (mut memory, mut order) = (SharedMemory::new(4), Order::new());
        memory.begin_copy(warp(0), &order, 0, 4).unwrap();
        let in_flight = |byte| Hazard::InFlight { byte, copy: 10 };
        assert_eq!(memory.read(warp(0), &order, 0, 4), Err(in_flight(0)));
        assert_eq!(memory.write(warp(0), &order, 1, 1).unwrap_err(), in_flight(1));
        memory.finish_copy(&order, 0, 0, &[1, 2, 3, 4]);
        assert_eq!(memory.read(warp(0), &order, 1, 2).unwrap(), [2, 3]);
        assert!(matches!(memory.read(warp(1), &order, 1, 1), Err(Hazard::Race { .. })));
        order.barrier(0b11, 0b11);
        assert_eq!(memory.read(warp(1), &order, 3, 1).unwrap(), [4]);
    }

    #[test]
    fn lanes_of_a_warp_must_meet_between_writing_and_reading() {
        let (mut memory, mut order) = (SharedMemory::new(16), Order::new());
        let lane = |lane, instruction| Accessor { lane, width: 4, instruction, ..warp(0) };
        // Four lanes write a word each; each may read its own.
        memory.write(lane(0, 1), &order, 0, 16).unwrap();
        memory.read(lane(0, 2), &order, 0, 16).unwrap();
        let race = |byte, lane, wrote, instruction| Hazard::Race {
            byte,
            rival: Rival::Lane(lane),
            wrote,
            instruction,
        };
        assert_eq!(memory.read(lane(0, 3), &order, 4, 4).unwrap_err(), race(4, 1, true, 1));
        assert_eq!(memory.read(lane(ALL_LANES, 3), &order, 8, 8).unwrap_err(), race(8, 2, true, 1));
        order.synchronise(0, u32::MAX, u32::MAX);
        memory.read(lane(0, 3), &order, 4, 4).unwrap();
        assert_eq!(memory.write(lane(1, 4), &order, 4, 4).unwrap_err(), race(4, 0, false, 3));
        order.synchronise(0, u32::MAX, u32::MAX);
        memory.write(lane(1, 4), &order, 4, 4).unwrap();
        // All lanes of a store may hit one word.
        memory.write(lane(2, 4), &order, 4, 4).unwrap();
    }
}
