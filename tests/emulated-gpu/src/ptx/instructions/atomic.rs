//! Atomic read-modify-write.

use ::half::{bf16, f16};

use super::super::PtxError;
use super::super::decode::{Decoding, checked};
use super::super::operation::Operation;
use super::super::registers::{Class, halves, join};
use super::super::run::Reach;
use super::super::syntax::Space;
use super::super::types::Type;
use super::float::flush;
use super::memory::{get, number, set, space, strength};

/// The new value from the old one and the operands, all as bits.
type Update = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    // A release comes after what its warp did before, an acquire before what it does next.
    let fence = ["release", "acq_rel"].into_iter().any(|name| d.has(name)) && !d.has("cta");
    strength(d);
    d.ignore(&["noftz"]);
    d.ignore_cache_hints();
    let space = space(d);
    let operation = d.one_of(&[
        ("add", "add"),
        ("min", "min"),
        ("max", "max"),
        ("exch", "exch"),
        ("cas", "cas"),
        ("and", "and"),
        ("or", "or"),
        ("xor", "xor"),
        ("inc", "inc"),
        ("dec", "dec"),
    ])?;
    let elements = d.choose(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1);
    let kind = d.kind()?;
    let update = match (operation, kind) {
        // Sums of floats in global memory are made in the L2 cache, which has no subnormal numbers.
        ("add", Type::F32) if space != Space::Shared => Box::new(|old, a, _| {
            let [old, a] = [old, a].map(|bits| flush(f32::from_bits(bits as u32)));
            flush(old + a).to_bits().into()
        }),
        _ => update(operation, kind).ok_or_else(|| d.unknown())?,
    };
    let returns = d.instruction.opcode == "atom";
    let first = usize::from(returns);
    let compares = operation == "cas";
    d.operands(first + 2 + usize::from(compares))?;
    let (address, _) = d.address(first)?;
    let class = Class::of(kind);
    let mut targets = Vec::new();
    if returns {
        for element in d.vector(0, elements)? {
            targets.push(d.target_of(element, class)?);
        }
    }
    let mut operands = Vec::new();
    for element in d.vector(first + 1, elements)? {
        operands.push(d.source_of(element, class)?);
    }
    let second = if compares { Some(d.source_of(d.operand(first + 2)?, class)?) } else { None };
    let reach = Reach { strong: true, ..Reach::new(space, address) };
    let size = kind.bytes();
    Ok(checked(move |machine, mask| {
        if fence {
            machine.order.fence(machine.warp, true);
        }
        machine.count_atomic(&reach, mask, size * operands.len());
        for lane in machine.seed.lanes(mask) {
            for (index, &operand) in operands.iter().enumerate() {
                let a = get(machine.registers, class, operand, lane);
                let b = second.map_or(0, |slot| get(machine.registers, class, slot, lane));
                let element = reach.shifted((index * size) as i64);
                let old = machine.exchange(&element, lane, size, |bytes| {
                    let old = number(bytes, false);
                    bytes.copy_from_slice(&update(old, a, b).to_le_bytes()[..size]);
                    old
                })?;
                if let Some(&target) = targets.get(index) {
                    set(machine.registers, class, target, lane, old);
                }
            }
        }
        Ok(())
    }))
}

/// Sign-extends the low `bits`.
fn signed(value: u64, bits: u32) -> i64 {
    (value << (64 - bits)) as i64 >> (64 - bits)
}

/// Zero-extends the low `bits`.
fn unsigned(value: u64, bits: u32) -> u64 {
    value << (64 - bits) >> (64 - bits)
}

fn update(operation: &str, kind: Type) -> Option<Update> {
    let bits = kind.bits();
    let integer = !kind.is_float() && bits >= 32;
    Some(match (operation, kind) {
        ("add", Type::F32) => {
            Box::new(|old, a, _| (f32::from_bits(old as u32) + f32::from_bits(a as u32)).to_bits().into())
        }
        ("add", Type::F64) => Box::new(|old, a, _| (f64::from_bits(old) + f64::from_bits(a)).to_bits()),
        ("add" | "min" | "max", Type::F16) => {
            let f = half_operation(operation);
            Box::new(move |old, a, _| apply_f16(old as u16, a as u16, f).into())
        }
        ("add" | "min" | "max", Type::Bf16) => {
            let f = half_operation(operation);
            Box::new(move |old, a, _| apply_bf16(old as u16, a as u16, f).into())
        }
        ("add" | "min" | "max", Type::F16x2 | Type::Bf16x2) => {
            let f = half_operation(operation);
            let apply = if kind == Type::F16x2 { apply_f16 } else { apply_bf16 };
            Box::new(move |old, a, _| {
                let (old, a) = (halves(old as u32), halves(a as u32));
                join([apply(old[0], a[0], f), apply(old[1], a[1], f)]).into()
            })
        }
        ("add", _) if integer => Box::new(|old, a, _| old.wrapping_add(a)),
        ("min", Type::Signed(_)) if integer => {
            Box::new(move |old, a, _| signed(old, bits).min(signed(a, bits)) as u64)
        }
        ("max", Type::Signed(_)) if integer => {
            Box::new(move |old, a, _| signed(old, bits).max(signed(a, bits)) as u64)
        }
        ("min", _) if integer => Box::new(|old, a, _| old.min(a)),
        ("max", _) if integer => Box::new(|old, a, _| old.max(a)),
        ("and", _) if integer => Box::new(|old, a, _| old & a),
        ("or", _) if integer => Box::new(|old, a, _| old | a),
        ("xor", _) if integer => Box::new(|old, a, _| old ^ a),
        ("exch", _) if integer => Box::new(|_, a, _| a),
        ("cas", _) if !kind.is_float() && bits >= 16 => {
            Box::new(move |old, a, b| if old == unsigned(a, bits) { b } else { old })
        }
        ("inc", Type::Unsigned(32)) => Box::new(|old, a, _| if old >= a { 0 } else { old + 1 }),
        ("dec", Type::Unsigned(32)) => Box::new(|old, a, _| if old == 0 || old > a { a } else { old - 1 }),
        _ => return None,
    })
}

fn half_operation(operation: &str) -> fn(f32, f32) -> f32 {
    match operation {
        "add" => |a, b| a + b,
        "min" => |a, b| super::float::minimum(a, b, false),
        _ => |a, b| super::float::maximum(a, b, false),
    }
}

fn apply_f16(old: u16, a: u16, f: fn(f32, f32) -> f32) -> u16 {
    f16::from_f32(f(f16::from_bits(old).to_f32(), f16::from_bits(a).to_f32())).to_bits()
}

fn apply_bf16(old: u16, a: u16, f: fn(f32, f32) -> f32) -> u16 {
    bf16::from_f32(f(bf16::from_bits(old).to_f32(), bf16::from_bits(a).to_f32())).to_bits()
}
