//! Shared memory of a block, with a shadow per byte: written or not, by whom, read by whom, copy in flight.

use std::collections::BTreeMap;

use super::POISON;
use super::order::Order;

/// Who touches shared memory, and with which instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accessor {
    /// Warp within the block.
    pub warp: usize,
    /// Index of the instruction in the kernel.
    pub instruction: u32,
    /// Atomic or volatile: may meet other such accesses without a barrier.
    pub strong: bool,
}

/// A wrong access to a byte of shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hazard {
    /// Read before anything wrote it.
    Uninitialised { byte: usize },
    /// Read or written while a `cp.async` to it may still be running.
    InFlight { byte: usize, copy: u32 },
    /// Two warps touch it, one of them writes, and no barrier lies between.
    Race { byte: usize, warp: usize, wrote: bool, instruction: u32 },
}

#[derive(Debug, Clone, Copy, Default)]
struct Shadow {
    written_at: u32,
    written_by: u32,
    /// Latest reading generation; `readers` are the warps that read in it.
    read_at: u32,
    read_by: u32,
    readers: u32,
    writer: u8,
    initialised: bool,
    in_flight: bool,
    strong: bool,
}

/// Bytes and shadows.
#[derive(Debug)]
pub struct SharedMemory {
    bytes: Vec<u8>,
    shadows: Vec<Shadow>,
    /// Readers of an earlier generation that no barrier has ordered before the latest read: (warp, stamp).
    earlier_readers: BTreeMap<usize, Vec<(usize, u32)>>,
}

impl SharedMemory {
    /// `size` bytes that nothing has written.
    pub fn new(size: usize) -> SharedMemory {
        SharedMemory {
            bytes: vec![POISON; size],
            shadows: vec![Shadow::default(); size],
            earlier_readers: BTreeMap::new(),
        }
    }

    /// Forgets everything, for the next block.
    pub fn reset(&mut self) {
        self.bytes.fill(POISON);
        self.shadows.fill(Shadow::default());
        self.earlier_readers.clear();
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of a range that is inside, after checking that the read is sound.
    pub fn read(
        &mut self,
        by: Accessor,
        order: &Order,
        start: usize,
        length: usize,
    ) -> Result<&[u8], Hazard> {
        let now = order.now();
        for byte in start..start + length {
            let shadow = &mut self.shadows[byte];
            if shadow.in_flight {
                return Err(Hazard::InFlight { byte, copy: shadow.written_by });
            }
            if !shadow.initialised {
                return Err(Hazard::Uninitialised { byte });
            }
            shadow.check_writer(by, order, byte)?;
            if by.strong {
                continue;
            }
            if shadow.read_at != now {
                let unordered = shadow.unordered_readers(by.warp, order);
                if unordered != 0 {
                    let stamp = shadow.read_at;
                    let warps = (0..32).filter(|warp| unordered >> warp & 1 == 1).map(|warp| (warp, stamp));
                    self.earlier_readers.entry(byte).or_default().extend(warps);
                }
                shadow.read_at = now;
                shadow.readers = 0;
            }
            shadow.readers |= 1 << by.warp;
            shadow.read_by = by.instruction;
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
        for byte in start..start + length {
            let shadow = &mut self.shadows[byte];
            if shadow.in_flight {
                return Err(Hazard::InFlight { byte, copy: shadow.written_by });
            }
            shadow.check_writer(by, order, byte)?;
            let race = |warp, instruction| Hazard::Race { byte, warp, wrote: false, instruction };
            let unordered = shadow.unordered_readers(by.warp, order);
            if unordered != 0 {
                return Err(race(unordered.trailing_zeros() as usize, shadow.read_by));
            }
            if !self.earlier_readers.is_empty()
                && let Some(readers) = self.earlier_readers.remove(&byte)
                && let Some(&(warp, _)) =
                    readers.iter().find(|&&(warp, stamp)| !order.precedes(warp, stamp, by.warp))
            {
                return Err(race(warp, shadow.read_by));
            }
            *shadow = Shadow {
                written_at: order.now(),
                written_by: by.instruction,
                writer: by.warp as u8,
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
        for shadow in &mut self.shadows[start..start + length] {
            shadow.in_flight = true;
        }
        Ok(())
    }

    /// The copy has been waited for: its bytes arrive now.
    pub fn finish_copy(&mut self, order: &Order, start: usize, bytes: &[u8]) {
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        for shadow in &mut self.shadows[start..start + bytes.len()] {
            shadow.in_flight = false;
            shadow.written_at = order.now();
        }
    }
}

impl Shadow {
    fn check_writer(&self, by: Accessor, order: &Order, byte: usize) -> Result<(), Hazard> {
        let warp = usize::from(self.writer);
        if self.initialised && !order.precedes(warp, self.written_at, by.warp) && !(self.strong && by.strong)
        {
            return Err(Hazard::Race { byte, warp, wrote: true, instruction: self.written_by });
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
        Accessor { warp, instruction: 10 + warp as u32, strong: false }
    }

    #[test]
    fn a_barrier_is_needed_between_writer_and_reader_both_ways() {
        let (mut memory, mut order) = (SharedMemory::new(8), Order::new());
        assert_eq!(memory.read(warp(0), &order, 4, 4), Err(Hazard::Uninitialised { byte: 4 }));
        memory.write(warp(0), &order, 0, 8).unwrap().fill(7);
        assert_eq!(memory.read(warp(0), &order, 0, 2).unwrap(), [7, 7]);
        let race = Hazard::Race { byte: 2, warp: 0, wrote: true, instruction: 10 };
        assert_eq!(memory.read(warp(1), &order, 2, 2), Err(race));
        assert_eq!(memory.write(warp(1), &order, 2, 2).unwrap_err(), race);
        order.barrier(0b11, 0b11);
        memory.read(warp(1), &order, 2, 2).unwrap();
        let race = Hazard::Race { byte: 3, warp: 1, wrote: false, instruction: 11 };
        assert_eq!(memory.write(warp(0), &order, 3, 1).unwrap_err(), race);
        order.barrier(0b11, 0b11);
        memory.write(warp(0), &order, 3, 1).unwrap();
    }

    #[test]
    fn a_reader_is_remembered_behind_later_readers() {
        let (mut memory, mut order) = (SharedMemory::new(1), Order::new());
        memory.write(warp(0), &order, 0, 1).unwrap();
        order.barrier(0b111, 0b111);
        memory.read(warp(0), &order, 0, 1).unwrap();
        order.barrier(0b110, 0b110); // warps 1 and 2 meet, 0 stays away
        memory.read(warp(1), &order, 0, 1).unwrap();
        order.barrier(0b110, 0b110);
        let race = Hazard::Race { byte: 0, warp: 0, wrote: false, instruction: 11 };
        assert_eq!(memory.write(warp(2), &order, 0, 1).unwrap_err(), race);
    }

    #[test]
    fn strong_accesses_may_meet() {
        let (mut memory, order) = (SharedMemory::new(4), Order::new());
        let strong = |index| Accessor { strong: true, ..warp(index) };
        memory.write(strong(0), &order, 0, 4).unwrap();
        memory.write(strong(1), &order, 0, 4).unwrap();
        memory.read(strong(2), &order, 0, 4).unwrap();
        assert!(matches!(memory.read(warp(2), &order, 0, 4), Err(Hazard::Race { warp: 1, .. })));
    }

    #[test]
    fn copies_in_flight_may_not_be_touched() {
        let (mut memory, mut order) = (SharedMemory::new(4), Order::new());
        memory.begin_copy(warp(0), &order, 0, 4).unwrap();
        let in_flight = Hazard::InFlight { byte: 1, copy: 10 };
        assert_eq!(memory.read(warp(0), &order, 1, 1), Err(in_flight));
        assert_eq!(memory.write(warp(0), &order, 1, 1).unwrap_err(), in_flight);
        memory.finish_copy(&order, 0, &[1, 2, 3, 4]);
        assert_eq!(memory.read(warp(0), &order, 1, 2).unwrap(), [2, 3]);
        assert!(matches!(memory.read(warp(1), &order, 1, 1), Err(Hazard::Race { .. })));
        order.barrier(0b11, 0b11);
        assert_eq!(memory.read(warp(1), &order, 3, 1).unwrap(), [4]);
    }
}
