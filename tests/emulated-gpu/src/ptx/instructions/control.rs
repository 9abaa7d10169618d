//! Control flow, barriers, calls, fences.

use super::super::PtxError;
use super::super::decode::{Decoding, checked, lanes, list};
use super::super::fault::Trouble;
use super::super::operation::{Barrier, BarrierKind, Operation, Reduction};
use super::super::run::active;
use super::super::syntax::Operand;

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    // `.uni` promises that no lane goes elsewhere; lanes are looked at anyway.
    d.ignore(&["uni"]);
    match d.instruction.opcode {
        "bra" => {
            d.operands(1)?;
            let &Operand::Name(label) = d.operand(0)? else { return Err(d.invalid("no label")) };
            d.function.branch(label);
            Ok(Operation::Branch(usize::MAX))
        }
        "brx" => {
            if !d.take("idx") {
                return Err(d.unknown());
            }
            d.operands(2)?;
            let &Operand::Name(table) = d.operand(1)? else { return Err(d.invalid("no table")) };
            d.function.branch_indexed(table);
            Ok(Operation::BranchIndexed { index: d.source::<u32>(0)?, targets: Vec::new() })
        }
        "call" => call(d),
        "ret" => Ok(Operation::Return),
        "exit" => Ok(Operation::Exit),
        "trap" => Ok(checked(|_, _| Err(Box::new(Trouble::Trap)))),
        "bar" | "barrier" => barrier(d),
        "membar" | "fence" => {
            let whole_device = !d.has("cta");
            let modifiers = d.instruction.modifiers.clone();
            d.ignore(&modifiers);
            // One block runs at a time and sees all memory as it is; what a fence orders is remembered, to find races.
            Ok(lanes(move |machine, _| machine.order.fence(machine.warp, whole_device)))
        }
        "nanosleep" => {
            let modifiers = d.instruction.modifiers.clone();
            d.ignore(&modifiers);
            Ok(lanes(|_, _| {}))
        }
        _ => Err(d.unknown()),
    }
}

fn call(d: &mut Decoding) -> Result<Operation, PtxError> {
    let (results, name, arguments) = match d.instruction.operands.as_slice() {
        [Operand::List(results), Operand::Name(name), arguments] => {
            (results.as_slice(), *name, Some(arguments))
        }
        [Operand::List(results), Operand::Name(name)] => (results.as_slice(), *name, None),
        [Operand::Name(name), arguments] => (&[][..], *name, Some(arguments)),
        [Operand::Name(name)] => (&[][..], *name, None),
        _ => return Err(d.unsupported("a call through a pointer")),
    };
    let arguments = list(arguments);
    match name {
        "__assertfail" => return assertion(d, arguments),
        "vprintf" => return super::print::decode(d, arguments),
        _ => {}
    }
    match d.function.call(name, results, arguments)? {
        Some(call) => Ok(Operation::Call(Box::new(call))),
        None => Err(d.unsupported(format!("a call of `{name}` with these arguments"))),
    }
}

/// `__assertfail(message, file, line, function, size of a character)`
fn assertion<'a>(d: &mut Decoding<'_, '_, '_, 'a>, arguments: &[&'a str]) -> Result<Operation, PtxError> {
    let places = d.arguments(arguments)?;
    let &[message, file, line, function, _] = places.as_slice() else {
        return Err(d.invalid("an assertion with other arguments"));
    };
    Ok(checked(move |machine, mask| {
        let lane = active(mask).next().unwrap_or_default();
        let text = |place| machine.text(machine.argument(lane, place, 8));
        let line = machine.argument(lane, line, 4);
        let text = format!("{} ({}:{line}, {}, lane {lane})", text(message), text(file), text(function));
        Err(Box::new(Trouble::Assertion(text)))
    }))
}

fn barrier(d: &mut Decoding) -> Result<Operation, PtxError> {
    if d.take("warp") {
        if !d.take("sync") {
            return Err(d.unknown());
        }
        d.operands(1)?;
        return Ok(Operation::WarpBarrier { members: d.source::<u32>(0)? });
    }
    d.ignore(&["cta", "aligned"]);
    if d.take("arrive") {
        d.operands(2)?;
        let (index, threads) = (d.source::<u32>(0)?, Some(d.source::<u32>(1)?));
        return Ok(Operation::Barrier(Barrier { index, threads, kind: BarrierKind::Arrive }));
    }
    if d.take("sync") {
        let index = d.source::<u32>(0)?;
        let threads = if d.instruction.operands.len() > 1 { Some(d.source::<u32>(1)?) } else { None };
        return Ok(Operation::Barrier(Barrier { index, threads, kind: BarrierKind::Sync }));
    }
    if !d.take("red") {
        return Err(d.unknown());
    }
    let reduction =
        d.one_of(&[("popc", Reduction::Count), ("and", Reduction::And), ("or", Reduction::Or)])?;
    d.kind()?;
    let target = if reduction == Reduction::Count { d.target::<u32>(0)? } else { d.target::<bool>(0)? };
    let index = d.source::<u32>(1)?;
    let counted = d.instruction.operands.len() == 4;
    let threads = if counted { Some(d.source::<u32>(2)?) } else { None };
    let (predicate, negated) = d.predicate(if counted { 3 } else { 2 })?;
    let kind = BarrierKind::Reduce { reduction, target, predicate, negated };
    Ok(Operation::Barrier(Barrier { index, threads, kind }))
}
