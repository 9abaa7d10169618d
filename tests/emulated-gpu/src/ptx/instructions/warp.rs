//! Exchange between the lanes of a warp. The executor sees to it that all lanes named are there; `mask` is them.

use super::super::PtxError;
use super::super::decode::{Decoding, lanes};
use super::super::fault::Trouble;
use super::super::operation::{Action, Members, Operation};
use super::super::registers::{Slot, Value};
use super::super::run::active;
use super::super::syntax::Operand;
use super::super::types::Type;

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    if d.instruction.opcode == "activemask" {
        d.kind()?;
        let target = d.target::<u32>(0)?;
        return Ok(lanes(move |machine, mask| {
            machine.registers.map1(mask, [target, target], |_: u32| mask);
        }));
    }
    if !d.take("sync") {
        return Err(d.unsupported(format!("`{}` without `.sync`", d.instruction.opcode)));
    }
    let last = d.instruction.operands.len().saturating_sub(1);
    let members = Members::Mask(d.source::<u32>(last)?);
    let action = match d.instruction.opcode {
        "shfl" => shuffle(d),
        "vote" => vote(d),
        "match" => match_values(d),
        "redux" => reduce(d),
        _ => elect(d),
    }?;
    Ok(Operation::Together { members, action })
}

/// The destination at 0, and the predicate behind its `|`.
fn targets(d: &mut Decoding) -> Result<(Slot, Option<Slot>), PtxError> {
    let operand = d.operand(0)?;
    let &Operand::Pair(value, predicate) = operand else { return Ok((d.target::<u32>(0)?, None)) };
    Ok((d.named_target::<u32>(value)?, Some(d.named_target::<bool>(predicate)?)))
}

/// `shfl.sync.mode.b32 d|p, a, b, c, members`: PTX ISA, "shfl.sync".
fn shuffle(d: &mut Decoding) -> Result<Action, PtxError> {
    #[derive(Clone, Copy)]
    enum Mode {
        Up,
        Down,
        Butterfly,
        Index,
    }
    let mode =
        d.one_of(&[("up", Mode::Up), ("down", Mode::Down), ("bfly", Mode::Butterfly), ("idx", Mode::Index)])?;
    if d.kind()? != Type::Bits(32) {
        return Err(d.unknown());
    }
    d.operands(5)?;
    let (target, predicate) = targets(d)?;
    let (value, offset, clamp) = (d.source::<u32>(1)?, d.source::<u32>(2)?, d.source::<u32>(3)?);
    Ok(Box::new(move |machine, mask| {
        let registers = &mut *machine.registers;
        let (mut values, mut inside) = ([0; 32], 0);
        for lane in active(mask) {
            let (b, c) = (registers.get::<u32>(offset, lane) as i32 & 31, registers.get::<u32>(clamp, lane));
            let (this, limit, segment) = (lane as i32, (c & 31) as i32, (c >> 8 & 31) as i32);
            let (first, last) = (this & segment, this & segment | limit & !segment);
            let (source, ok) = match mode {
                Mode::Up => (this - b, this - b >= last),
                Mode::Down => (this + b, this + b <= last),
                Mode::Butterfly => (this ^ b, this ^ b <= last),
                Mode::Index => (first | b & !segment, first | b & !segment <= last),
            };
            let source = if ok { source as usize } else { lane };
            if mask >> source & 1 == 0 {
                let text = format!("lane {lane} reads lane {source}, which takes no part");
                return Err(Box::new(Trouble::Collective(text)));
            }
            values[lane] = registers.get::<u32>(value, source);
            inside |= u32::from(ok) << lane;
        }
        u32::merge(u32::column_mut(registers, target), values, mask);
        if let Some(predicate) = predicate {
            bool::merge(bool::column_mut(registers, predicate), inside, mask);
        }
        Ok(())
    }))
}

/// `vote.sync`: all, any, uni or ballot of a predicate.
fn vote(d: &mut Decoding) -> Result<Action, PtxError> {
    let ballot = d.take("ballot");
    let decide: fn(u32, u32) -> bool = match ballot {
        true => |_, _| false,
        false => d.one_of::<fn(u32, u32) -> bool>(&[
            ("all", |votes, mask| votes == mask),
            ("any", |votes, _| votes != 0),
            ("uni", |votes, mask| votes == mask || votes == 0),
        ])?,
    };
    d.kind()?;
    d.operands(3)?;
    let (source, negated) = d.predicate(1)?;
    let target = if ballot { d.target::<u32>(0)? } else { d.target::<bool>(0)? };
    Ok(Box::new(move |machine, mask| {
        let registers = &mut *machine.registers;
        let predicate = registers.predicates[source as usize];
        let votes = if negated { !predicate } else { predicate } & mask;
        if ballot {
            u32::merge(u32::column_mut(registers, target), [votes; 32], mask);
        } else {
            let column = if decide(votes, mask) { u32::MAX } else { 0 };
            bool::merge(bool::column_mut(registers, target), column, mask);
        }
        Ok(())
    }))
}

/// `match.sync`: which lanes hold the same value, or whether all do.
fn match_values(d: &mut Decoding) -> Result<Action, PtxError> {
    let all = d.one_of(&[("all", true), ("any", false)])?;
    let wide = match d.kind()?.bits() {
        32 => false,
        64 => true,
        _ => return Err(d.unknown()),
    };
    d.operands(3)?;
    let (target, predicate) = targets(d)?;
    let source = if wide { d.source::<u64>(1)? } else { d.source::<u32>(1)? };
    Ok(Box::new(move |machine, mask| {
        let registers = &mut *machine.registers;
        let values: [u64; 32] = match wide {
            true => registers.longs[source as usize],
            false => registers.words[source as usize].map(u64::from),
        };
        let equal = |lane: usize| {
            active(mask)
                .filter(|&other| values[other] == values[lane])
                .fold(0, |bits, other| bits | 1 << other)
        };
        let column: [u32; 32] = std::array::from_fn(|lane| match equal(lane) {
            lanes if all && lanes != mask => 0,
            lanes => lanes,
        });
        u32::merge(u32::column_mut(registers, target), column, mask);
        if let Some(predicate) = predicate {
            let agreed = bool::collect(|lane| column[lane] != 0);
            bool::merge(bool::column_mut(registers, predicate), agreed, mask);
        }
        Ok(())
    }))
}

/// `redux.sync`: one number from those of all lanes.
fn reduce(d: &mut Decoding) -> Result<Action, PtxError> {
    type Combine = fn(u32, u32) -> u32;
    let operation = d.one_of(&[("add", 0), ("min", 1), ("max", 2), ("and", 3), ("or", 4), ("xor", 5)])?;
    let combine: Combine = match (operation, d.kind()?) {
        (0, Type::Unsigned(32) | Type::Signed(32)) => u32::wrapping_add,
        (1, Type::Unsigned(32)) => Ord::min,
        (2, Type::Unsigned(32)) => Ord::max,
        (1, Type::Signed(32)) => |a, b| (a as i32).min(b as i32) as u32,
        (2, Type::Signed(32)) => |a, b| (a as i32).max(b as i32) as u32,
        (3, Type::Bits(32)) => |a, b| a & b,
        (4, Type::Bits(32)) => |a, b| a | b,
        (5, Type::Bits(32)) => |a, b| a ^ b,
        _ => return Err(d.unknown()),
    };
    d.operands(3)?;
    let (target, source) = (d.target::<u32>(0)?, d.source::<u32>(1)?);
    Ok(Box::new(move |machine, mask| {
        let values = machine.registers.words[source as usize];
        let result = active(mask).map(|lane| values[lane]).reduce(combine).unwrap_or_default();
        u32::merge(u32::column_mut(machine.registers, target), [result; 32], mask);
        Ok(())
    }))
}

/// `elect.sync d|p, members`: the lowest lane leads.
fn elect(d: &mut Decoding) -> Result<Action, PtxError> {
    d.operands(2)?;
    let (target, predicate) = targets(d)?;
    Ok(Box::new(move |machine, mask| {
        let leader = mask.trailing_zeros();
        u32::merge(u32::column_mut(machine.registers, target), [leader; 32], mask);
        if let Some(predicate) = predicate {
            bool::merge(bool::column_mut(machine.registers, predicate), 1 << leader, mask);
        }
        Ok(())
    }))
}
