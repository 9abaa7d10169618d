//! One warp: groups of lanes that stand at the same instruction, as on hardware since Volta.
//!
//! Lanes part at branches and meet again where they stand at the same instruction. The group that is furthest behind
//! runs first, so that groups meet soon; one that runs for long gives way to the others.

use super::super::fault::Trouble;
use super::super::operation::{Barrier, Instruction, Members, Operation, Transfer};
use super::super::registers::{LANES, Slot};
use super::{Machine, active};

/// Warp instructions after which another group, or another warp, has its turn.
const TURN: u64 = 1 << 14;

/// Where the lanes of a warp are.
#[derive(Debug, Default)]
pub struct Control {
    /// Lanes that have not exited.
    pub alive: u32,
    pub groups: Vec<Group>,
}

/// Lanes at one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub lanes: u32,
    pub position: usize,
    /// Calls that the lanes are in, innermost last: the calling instructions.
    callers: Vec<usize>,
    /// Waiting for other lanes.
    parked: bool,
    /// While parked at a `bar.warp.sync`: the register with the lanes it waits for.
    barrier: Option<Slot>,
    /// Long turns that the group has had.
    turns: u64,
}

/// Why a warp stopped running.
pub enum Pause {
    /// All lanes have exited.
    Done,
    /// Others may have a turn.
    Turn,
    /// All lanes are at a barrier of the block, which they have not yet passed.
    Barrier(Barrier),
}

/// Where something went wrong, and what.
pub type Stopped = (usize, Box<Trouble>);

/// How to go on after an instruction.
enum Step {
    /// With the same group.
    Next,
    /// The groups have changed.
    Regroup,
    /// The warp is at a barrier of the block.
    Barrier(Barrier),
}

impl Control {
    /// All `lanes` at the first instruction.
    pub fn start(&mut self, lanes: u32) {
        let group = Group { lanes, position: 0, callers: Vec::new(), parked: false, barrier: None, turns: 0 };
        *self = Control { alive: lanes, groups: vec![group] };
    }

    /// Runs until the warp pauses. `executed` counts instructions.
    pub fn run(
        &mut self,
        code: &[Instruction],
        machine: &mut Machine,
        executed: &mut u64,
    ) -> Result<Pause, Stopped> {
        let end = *executed + TURN;
        while self.alive != 0 {
            self.merge();
            let index = self.next(code)?;
            let start = *executed;
            // Where the next group stands: reaching it, the two may merge.
            let others = self.groups.iter().enumerate().filter(|(other, _)| *other != index);
            let meeting = others.map(|(_, group)| group.position).min().unwrap_or(usize::MAX);
            loop {
                let position = self.groups[index].position;
                *executed += 1;
                if let Some(counters) = machine.counters.as_deref_mut() {
                    counters.issue(code[position].class);
                }
                match self.step(index, code, machine).map_err(|trouble| (position, trouble))? {
                    Step::Next => {}
                    Step::Regroup => break,
                    Step::Barrier(barrier) => return Ok(Pause::Barrier(barrier)),
                }
                if *executed - start >= TURN {
                    self.groups[index].turns += 1;
                    break;
                }
                if self.groups[index].position >= meeting {
                    break;
                }
            }
            if *executed >= end {
                return Ok(if self.alive == 0 { Pause::Done } else { Pause::Turn });
            }
        }
        Ok(Pause::Done)
    }

    /// Joins groups that stand at the same place.
    fn merge(&mut self) {
        let mut index = 0;
        while index < self.groups.len() {
            let mut other = index + 1;
            while other < self.groups.len() {
                let (a, b) = (&self.groups[index], &self.groups[other]);
                if a.position != b.position || a.callers != b.callers {
                    other += 1;
                    continue;
                }
                let joined = self.groups.swap_remove(other);
                let group = &mut self.groups[index];
                group.lanes |= joined.lanes;
                // Whoever waited looks again, now that more lanes are there.
                group.parked &= joined.parked;
                group.turns = group.turns.min(joined.turns);
            }
            index += 1;
        }
    }

    /// The group to run: of those that had the fewest long turns, the one furthest behind.
    fn next(&self, code: &[Instruction]) -> Result<usize, Stopped> {
        let ready = self.groups.iter().enumerate().filter(|(_, group)| !group.parked);
        let next = ready.min_by_key(|(_, group)| (group.turns, group.position));
        next.map(|(index, _)| index).ok_or_else(|| self.stuck(code))
    }

    /// Every group waits for lanes that are elsewhere.
    fn stuck(&self, code: &[Instruction]) -> Stopped {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| group.position);
        let group = groups[0];
        let mut text = format!("lanes {} wait here for others of the warp", ranges(group.lanes));
        for other in &groups[1..] {
            text += &format!(", lanes {} wait at {}", ranges(other.lanes), code[other.position].origin);
        }
        (group.position, Box::new(Trouble::Collective(text)))
    }

    /// Executes the instruction at which group `index` stands.
    fn step(
        &mut self,
        index: usize,
        code: &[Instruction],
        machine: &mut Machine,
    ) -> Result<Step, Box<Trouble>> {
        let Group { lanes, position, .. } = self.groups[index];
        let instruction = &code[position];
        let taken = match instruction.guard {
            None => lanes,
            Some((slot, true)) => lanes & machine.registers.predicates[slot as usize],
            Some((slot, false)) => lanes & !machine.registers.predicates[slot as usize],
        };
        if taken == 0 {
            self.groups[index].position += 1;
            return Ok(Step::Next);
        }
        machine.instruction = position as u32;
        match &instruction.operation {
            Operation::Lanes(action) => action(machine, taken)?,
            Operation::Together { members, action } => {
                let ready = self.gathered(*members, taken, machine)?;
                let mut rest = ready;
                while rest != 0 {
                    let part = same_members(*members, rest, machine);
                    action(machine, part)?;
                    rest &= !part;
                }
                if ready != taken {
                    self.park(index, taken & !ready);
                    return Ok(Step::Regroup);
                }
            }
            Operation::Barrier(barrier) => {
                if taken != self.alive {
                    self.park(index, taken);
                    return Ok(Step::Regroup);
                }
                self.groups[index].position += 1;
                return Ok(Step::Barrier(*barrier));
            }
            Operation::Branch(target) => {
                if taken != lanes {
                    self.part(index, taken);
                    self.groups[index].position = *target;
                    return Ok(Step::Regroup);
                }
                self.groups[index].position = *target;
                return Ok(Step::Next);
            }
            Operation::BranchIndexed { index: selector, targets } => {
                self.branch_indexed(index, taken, &machine.registers.words[*selector as usize], targets)?;
                return Ok(Step::Regroup);
            }
            Operation::WarpBarrier { .. } | Operation::Call(_) | Operation::Return | Operation::Exit
                if taken != lanes =>
            {
                self.part(index, taken);
                return Ok(Step::Regroup);
            }
            Operation::WarpBarrier { members } => {
                self.warp_barrier(index, *members, machine)?;
                return Ok(Step::Regroup);
            }
            Operation::Call(call) => {
                transfer(machine, taken, &call.arguments);
                self.groups[index].callers.push(position);
                self.groups[index].position = call.target;
                return Ok(Step::Regroup);
            }
            Operation::Return | Operation::Exit => {
                let returns = matches!(instruction.operation, Operation::Return);
                let caller = self.groups[index].callers.pop().filter(|_| returns);
                let Some(caller) = caller else {
                    self.exit(index);
                    return Ok(Step::Regroup);
                };
                if let Operation::Call(call) = &code[caller].operation {
                    transfer(machine, taken, &call.results);
                }
                self.groups[index].position = caller + 1;
                return Ok(Step::Regroup);
            }
        }
        self.groups[index].position += 1;
        Ok(Step::Next)
    }

    /// Sends the lanes that choose as the first of `taken` does to their target; the others come here again.
    fn branch_indexed(
        &mut self,
        index: usize,
        taken: u32,
        choices: &[u32; LANES],
        targets: &[usize],
    ) -> Result<(), Box<Trouble>> {
        let first = taken.trailing_zeros() as usize;
        let choice = choices[first];
        let Some(&target) = targets.get(choice as usize) else {
            let text = format!("branch {choice} of {}, lane {first}", targets.len());
            return Err(Box::new(Trouble::Operand(text)));
        };
        let same = active(taken).filter(|&lane| choices[lane] == choice);
        let same = same.fold(0, |mask, lane| mask | 1 << lane);
        let mut others = self.groups[index].clone();
        others.lanes &= !same;
        if others.lanes != 0 {
            self.groups.push(others);
        }
        self.groups[index].lanes = same;
        self.groups[index].position = target;
        Ok(())
    }

    /// Leaves `taken` of a group where they are; its other lanes pass over the instruction.
    fn part(&mut self, index: usize, taken: u32) {
        let mut others = self.groups[index].clone();
        others.lanes &= !taken;
        others.position += 1;
        self.groups[index].lanes = taken;
        self.groups.push(others);
    }

    /// `taken` of a group wait here for others.
    fn park(&mut self, index: usize, taken: u32) {
        if taken != self.groups[index].lanes {
            self.part(index, taken);
        }
        self.groups[index].parked = true;
    }

    /// The lanes of a group are done. Whoever waits looks again: nobody waits for lanes that have exited.
    fn exit(&mut self, index: usize) {
        self.alive &= !self.groups[index].lanes;
        self.groups.swap_remove(index);
        for group in &mut self.groups {
            group.parked = false;
        }
    }

    /// The lanes of `taken` for which all the lanes that they name are there.
    fn gathered(&self, members: Members, taken: u32, machine: &Machine) -> Result<u32, Box<Trouble>> {
        let refuse = |text: String| Err(Box::new(Trouble::Collective(text)));
        let Members::Mask(slot) = members else {
            if self.alive != u32::MAX {
                return refuse(format!("needs all 32 lanes, only {} are there", ranges(self.alive)));
            }
            return Ok(if taken == self.alive { taken } else { 0 });
        };
        let masks = &machine.registers.words[slot as usize];
        let (mut ready, mut rest) = (0, taken);
        while rest != 0 {
            let part = same_members(members, rest, machine);
            let mask = masks[part.trailing_zeros() as usize];
            if part & !mask != 0 {
                let outside = ranges(part & !mask);
                return refuse(format!("lanes {outside} are not in the mask {mask:#010x} they give"));
            }
            if mask & self.alive & !part == 0 {
                ready |= part;
            }
            rest &= !part;
        }
        Ok(ready)
    }

    /// Releases the lanes whose `bar.warp.sync`, here or elsewhere, all lanes it names have now come to.
    fn warp_barrier(
        &mut self,
        index: usize,
        members: Slot,
        machine: &mut Machine,
    ) -> Result<(), Box<Trouble>> {
        self.groups[index].parked = true;
        self.groups[index].barrier = Some(members);
        // The lanes that each waiting lane names.
        let mut masks = [0; LANES];
        for group in self.groups.iter().filter(|group| group.parked) {
            for (lane, slot) in active(group.lanes).filter_map(|lane| Some((lane, group.barrier?))) {
                masks[lane] = machine.registers.words[slot as usize][lane];
            }
        }
        let here = self.groups[index].lanes;
        if let Some(lane) = active(here).find(|&lane| masks[lane] >> lane & 1 == 0) {
            let text = format!("lane {lane} is not in the mask {:#010x} it gives", masks[lane]);
            return Err(Box::new(Trouble::Collective(text)));
        }
        let complete = |lane: &usize| {
            let same = active(u32::MAX).filter(|&other| masks[other] == masks[*lane]);
            masks[*lane] & self.alive & !same.fold(0, |bits, other| bits | 1 << other) == 0
        };
        let waiting = active(u32::MAX).filter(|&lane| masks[lane] != 0);
        let released = waiting.filter(complete).fold(0, |bits, lane| bits | 1 << lane);
        let mut meeting: u32 = released;
        while meeting != 0 {
            let mask = masks[meeting.trailing_zeros() as usize];
            machine.order.synchronise(machine.warp, mask, self.alive);
            meeting &= !mask;
        }
        for index in 0..self.groups.len() {
            let group = &mut self.groups[index];
            if group.parked && group.barrier.is_some() && group.lanes & released != 0 {
                let done = Group {
                    lanes: group.lanes & released,
                    position: group.position + 1,
                    parked: false,
                    barrier: None,
                    ..group.clone()
                };
                group.lanes &= !released;
                self.groups.push(done);
            }
        }
        self.groups.retain(|group| group.lanes != 0);
        Ok(())
    }
}

/// The lanes of `taken` that name the same members as the first of them.
fn same_members(members: Members, taken: u32, machine: &Machine) -> u32 {
    let Members::Mask(slot) = members else { return taken };
    let masks = &machine.registers.words[slot as usize];
    let first = masks[taken.trailing_zeros() as usize];
    active(taken).filter(|&lane| masks[lane] == first).fold(0, |bits, lane| bits | 1 << lane)
}

/// Copies parameters of a call within local memory.
fn transfer(machine: &mut Machine, taken: u32, transfers: &[Transfer]) {
    for &Transfer { from, to, size } in transfers {
        for lane in active(taken) {
            let bytes = machine.local.get(lane, from as u64, size).unwrap_or_default().to_vec();
            machine.local.write(lane, to as u64, &bytes);
        }
    }
}

/// `0-3, 7` for a mask.
pub fn ranges(mask: u32) -> String {
    let mut parts = Vec::new();
    let mut lane = 0;
    while lane < 32 {
        let first = lane;
        while lane < 32 && mask >> lane & 1 == 1 {
            lane += 1;
        }
        match lane - first {
            0 => lane += 1,
            1 => parts.push(first.to_string()),
            _ => parts.push(format!("{first}-{}", lane - 1)),
        }
    }
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}
