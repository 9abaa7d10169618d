//! `cp.async`: copies from global to shared memory that run while the kernel goes on.
//!
//! The bytes move as late as the program allows, when the lane waits for them; until then nobody may touch them.

use super::super::PtxError;
use super::super::decode::{Decoding, checked, lanes};
use super::super::fault::{Access, Trouble};
use super::super::operation::Operation;
use super::super::registers::Class;
use super::super::run::{Copy, Machine, Reach, Request, active};
use super::super::syntax::{Operand, Space};
use super::memory::get;

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    if !d.take("async") || d.instruction.modifiers.contains(&"bulk") {
        return Err(d.unknown());
    }
    if d.take("commit_group") {
        d.operands(0)?;
        return Ok(lanes(|machine, mask| active(mask).for_each(|lane| machine.copies.commit(lane))));
    }
    if d.take("wait_all") {
        d.operands(0)?;
        return Ok(checked(|machine, mask| {
            active(mask).for_each(|lane| machine.copies.commit(lane));
            active(mask).try_for_each(|lane| machine.finish_copies(lane, 0))
        }));
    }
    if d.take("wait_group") {
        d.operands(1)?;
        let &Operand::Integer(keep) = d.operand(0)? else { return Err(d.invalid("the count is no number")) };
        return Ok(checked(move |machine, mask| {
            active(mask).try_for_each(|lane| machine.finish_copies(lane, keep as usize))
        }));
    }
    begin(d)
}

/// `cp.async.ca.shared.global [to], [from], size {, source size or predicate to ignore the source}`
fn begin(d: &mut Decoding) -> Result<Operation, PtxError> {
    let every_level = d.one_of(&[("ca", true), ("cg", false)])?;
    if !(d.take("shared") || d.take("shared::cta")) || !d.take("global") {
        return Err(d.unknown());
    }
    d.ignore_cache_hints();
    let &Operand::Integer(size) = d.operand(2)? else { return Err(d.invalid("the size is no number")) };
    if !(size == 16 || every_level && (size == 4 || size == 8)) {
        return Err(d.invalid(format!("a copy of {size} bytes")));
    }
    let (to, from) = (Reach::new(Space::Shared, d.address(0)?.0), Reach::new(Space::Global, d.address(1)?.0));
    let (mut source_size, mut ignore) = (None, None);
    if let Ok(operand) = d.operand(3) {
        match d.register_kind(operand)?.map(Class::of) {
            Some(Class::Predicate) => ignore = Some(d.source::<bool>(3)?),
            _ => source_size = Some(d.source::<u32>(3)?),
        }
    }
    let size = size as usize;
    Ok(checked(move |machine, mask| {
        let mut reading = 0;
        for lane in active(mask) {
            let wanted =
                source_size.map_or(size as u64, |slot| get(machine.registers, Class::Word, slot, lane));
            let ignored = ignore.is_some_and(|slot| machine.registers.get::<bool>(slot, lane));
            let bytes = if ignored { 0 } else { wanted as usize };
            if bytes > size {
                let text = format!("lane {lane} copies {bytes} source bytes into {size}");
                return Err(Box::new(Trouble::Operand(text)));
            }
            reading |= u32::from(bytes > 0) << lane;
            let (to, from) = (machine.address(&to, lane), machine.address(&from, lane));
            machine.begin_copy(lane, Copy { to, from, size, bytes })?;
        }
        machine.count(Space::Shared, Request::Store, &machine.addresses(&to), mask, size);
        machine.count(Space::Global, Request::Load, &machine.addresses(&from), reading, size);
        Ok(())
    }))
}

impl Machine<'_> {
    /// Checks both ends of a copy and queues it.
    fn begin_copy(&mut self, lane: usize, copy: Copy) -> Result<(), Box<Trouble>> {
        self.copy_source(lane, &copy, &mut [0; 16])?;
        self.reserve(lane, copy.to, copy.size)?;
        self.copies.begin(lane, copy);
        Ok(())
    }

    /// Moves the bytes of all groups of `lane` but the `keep` latest.
    fn finish_copies(&mut self, lane: usize, keep: usize) -> Result<(), Box<Trouble>> {
        while let Some(group) = self.copies.next_to_finish(lane, keep) {
            for copy in group {
                // Looked at when it began; it may have been freed or overwritten since.
                let mut bytes = [0; 16];
                if copy.bytes > 0 {
                    let (access, read) = (Access::CopySource, self.device.load(copy.from, copy.bytes));
                    let read = read.map_err(|error| Trouble::Global { access, lane, error })?;
                    bytes[..copy.bytes].copy_from_slice(read);
                }
                self.shared.finish_copy(self.order, self.warp, copy.to as usize, &bytes[..copy.size]);
            }
        }
        Ok(())
    }
}
