//! Comparisons, and choices by a predicate.

use super::super::PtxError;
use super::super::decode::{Decoding, lanes};
use super::super::operation::Operation;
use super::super::registers::{Value, halves, join};
use super::super::syntax::Operand;
use super::super::types::Type;
use super::{with_bits, with_integer};
use ::half::{bf16, f16};

/// An ordering of two numbers, or none with a NaN, is accepted or not.
#[derive(Clone, Copy)]
struct Comparison {
    less: bool,
    equal: bool,
    greater: bool,
    unordered: bool,
}

impl Comparison {
    /// The comparison named by a modifier such as `lt` or `geu`.
    fn parse(name: &str) -> Option<Comparison> {
        let (less, equal, greater, unordered) = match name {
            "eq" => (false, true, false, false),
            "ne" => (true, false, true, false),
            "lt" | "lo" => (true, false, false, false),
            "le" | "ls" => (true, true, false, false),
            "gt" | "hi" => (false, false, true, false),
            "ge" | "hs" => (false, true, true, false),
            "equ" => (false, true, false, true),
            "neu" => (true, false, true, true),
            "ltu" => (true, false, false, true),
            "leu" => (true, true, false, true),
            "gtu" => (false, false, true, true),
            "geu" => (false, true, true, true),
            "num" => (true, true, true, false),
            "nan" => (false, false, false, true),
            _ => return None,
        };
        Some(Comparison { less, equal, greater, unordered })
    }

    #[inline(always)]
    fn accepts<T: PartialOrd>(self, a: T, b: T) -> bool {
        let (less, equal, greater) = (a < b, a == b, a > b);
        self.less & less
            | self.equal & equal
            | self.greater & greater
            | self.unordered & !(less | equal | greater)
    }
}

/// How a further predicate joins a comparison.
#[derive(Clone, Copy)]
enum Join {
    And,
    Or,
    Xor,
}

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    match d.instruction.opcode {
        "setp" => set_predicate(d),
        "set" => set(d),
        "selp" => select(d),
        "slct" => select_by_sign(d),
        _ => test(d),
    }
}

fn comparison(d: &mut Decoding) -> Result<Comparison, PtxError> {
    let found = d.instruction.modifiers.iter().find_map(|name| Some((*name, Comparison::parse(name)?)));
    let (name, comparison) = found.ok_or_else(|| d.invalid("the comparison is missing"))?;
    d.take(name);
    Ok(comparison)
}

fn set_predicate(d: &mut Decoding) -> Result<Operation, PtxError> {
    let comparison = comparison(d)?;
    let join = d.choose(&[("and", Join::And), ("or", Join::Or), ("xor", Join::Xor)]);
    let flush = d.take("ftz");
    let kind = d.kind()?;
    let further = match join {
        Some(join) => {
            d.operands(4)?;
            let (slot, negated) = d.predicate(3)?;
            Some((join, slot, negated))
        }
        None => {
            d.operands(3)?;
            None
        }
    };
    match kind {
        Type::F32 if flush => compare(d, further, move |a: f32, b: f32| {
            comparison.accepts(super::float::flush(a), super::float::flush(b))
        }),
        Type::F32 => compare(d, further, move |a: f32, b: f32| comparison.accepts(a, b)),
        Type::F64 => compare(d, further, move |a: f64, b: f64| comparison.accepts(a, b)),
        Type::F16 => compare(d, further, move |a: f16, b: f16| comparison.accepts(a.to_f32(), b.to_f32())),
        Type::Bf16 => compare(d, further, move |a: bf16, b: bf16| comparison.accepts(a.to_f32(), b.to_f32())),
        _ => with_integer!(d, kind, T => compare(d, further, move |a: T, b: T| comparison.accepts(a, b))),
    }
}

/// `setp`: the comparison, joined with the further predicate. A second destination gets the opposite comparison, joined
/// alike.
fn compare<T: Value>(
    d: &mut Decoding,
    further: Option<(Join, u32, bool)>,
    accepts: impl Fn(T, T) -> bool + Send + Sync + 'static,
) -> Result<Operation, PtxError> {
    if let &Operand::Pair(first, second) = d.operand(0)? {
        let targets = [d.named_target::<bool>(first)?, d.named_target::<bool>(second)?];
        let (a, b) = (d.source::<T>(1)?, d.source::<T>(2)?);
        return Ok(lanes(move |machine, mask| {
            let registers = &mut *machine.registers;
            let (left, right) = (T::column(registers, a), T::column(registers, b));
            let compared = bool::collect(|lane| accepts(T::at(left, lane), T::at(right, lane)));
            let further = further.map(|(join, slot, negated)| {
                let predicate = registers.predicates[slot as usize];
                (join, if negated { !predicate } else { predicate })
            });
            for (target, bits) in targets.into_iter().zip([compared, !compared]) {
                let joined = match further {
                    None => bits,
                    Some((Join::And, predicate)) => bits & predicate,
                    Some((Join::Or, predicate)) => bits | predicate,
                    Some((Join::Xor, predicate)) => bits ^ predicate,
                };
                bool::merge(bool::column_mut(registers, target), joined, mask);
            }
        }));
    }
    let slots = [d.target::<bool>(0)?, d.source::<T>(1)?, d.source::<T>(2)?];
    let Some((join, further, negated)) = further else {
        return Ok(lanes(move |machine, mask| machine.registers.map2(mask, slots, &accepts)));
    };
    let [target, a, b] = slots;
    Ok(lanes(move |machine, mask| {
        machine.registers.map3(mask, [target, a, b, further], |a, b, p: bool| {
            let (result, p) = (accepts(a, b), p ^ negated);
            match join {
                Join::And => result & p,
                Join::Or => result | p,
                Join::Xor => result ^ p,
            }
        });
    }))
}

/// `set`: a comparison whose result is 1.0 (floats) or all ones (integers).
fn set(d: &mut Decoding) -> Result<Operation, PtxError> {
    let comparison = comparison(d)?;
    let flush = d.take("ftz");
    let (target, source) = (d.kind()?, d.kind()?);
    let accepts = move |a: f32, b: f32| match flush {
        true => comparison.accepts(super::float::flush(a), super::float::flush(b)),
        false => comparison.accepts(a, b),
    };
    let one_or_ones =
        |one: u32, bits: u32| move |yes: bool| if yes { if one == 0 { bits } else { one } } else { 0 };
    match (target, source) {
        (Type::F16 | Type::Bf16 | Type::Unsigned(16) | Type::Signed(16), Type::F16 | Type::Bf16) => {
            let result = one_or_ones(one(target), 0xffff);
            let widen = widen(source);
            d.binary(move |a: u16, b: u16| result(accepts(widen(a), widen(b))) as u16)
        }
        (Type::F16x2 | Type::Bf16x2 | Type::Unsigned(32) | Type::Signed(32), Type::F16x2 | Type::Bf16x2) => {
            let result = one_or_ones(one(target), 0xffff);
            let widen = widen(source);
            d.binary(move |a: u32, b: u32| {
                let (a, b) = (halves(a), halves(b));
                join([0, 1].map(|i| result(accepts(widen(a[i]), widen(b[i]))) as u16))
            })
        }
        (Type::F32 | Type::Unsigned(32) | Type::Signed(32), Type::F32) => {
            let result = one_or_ones(one(target), u32::MAX);
            d.binary(move |a: f32, b: f32| result(accepts(a, b)))
        }
        (Type::Unsigned(32) | Type::Signed(32), _) if !source.is_float() => {
            with_integer!(d, source, T => d.binary(move |a: T, b: T| if comparison.accepts(a, b) { u32::MAX } else { 0 }))
        }
        _ => Err(d.unknown()),
    }
}

/// The bits of 1.0, or 0 for an integer type.
fn one(kind: Type) -> u32 {
    match kind {
        Type::F16 | Type::F16x2 => f16::ONE.to_bits().into(),
        Type::Bf16 | Type::Bf16x2 => bf16::ONE.to_bits().into(),
        Type::F32 => 1_f32.to_bits(),
        _ => 0,
    }
}

fn widen(kind: Type) -> fn(u16) -> f32 {
    match kind {
        Type::F16 | Type::F16x2 => |bits| f16::from_bits(bits).to_f32(),
        _ => |bits| bf16::from_bits(bits).to_f32(),
    }
}

fn select(d: &mut Decoding) -> Result<Operation, PtxError> {
    let kind = d.kind()?;
    with_bits!(d, kind, T => d.ternary(|a: T, b: T, p: bool| if p { a } else { b }))
}

/// `slct`: the first choice if the third operand is not negative.
fn select_by_sign(d: &mut Decoding) -> Result<Operation, PtxError> {
    let flush = d.take("ftz");
    let (kind, sign) = (d.kind()?, d.kind()?);
    match (sign, flush) {
        (Type::Signed(32), false) => {
            with_bits!(d, kind, T => d.ternary(|a: T, b: T, c: i32| if c >= 0 { a } else { b }))
        }
        (Type::F32, _) => {
            with_bits!(d, kind, T => d.ternary(|a: T, b: T, c: f32| if c >= 0.0 { a } else { b }))
        }
        _ => Err(d.unknown()),
    }
}

/// `testp`: what kind of number a float is.
fn test(d: &mut Decoding) -> Result<Operation, PtxError> {
    #[derive(Clone, Copy)]
    enum Kind {
        Finite,
        Infinite,
        Number,
        NotANumber,
        Normal,
        Subnormal,
    }
    let wanted = d.one_of(&[
        ("finite", Kind::Finite),
        ("infinite", Kind::Infinite),
        ("number", Kind::Number),
        ("notanumber", Kind::NotANumber),
        ("normal", Kind::Normal),
        ("subnormal", Kind::Subnormal),
    ])?;
    macro_rules! test {
        ($type:ty) => {
            d.unary(move |a: $type| match wanted {
                Kind::Finite => a.is_finite(),
                Kind::Infinite => a.is_infinite(),
                Kind::Number => !a.is_nan(),
                Kind::NotANumber => a.is_nan(),
                Kind::Normal => a.is_normal(),
                Kind::Subnormal => a.is_subnormal(),
            })
        };
    }
    match d.kind()? {
        Type::F32 => test!(f32),
        Type::F64 => test!(f64),
        _ => Err(d.unknown()),
    }
}
