//! Moves, and conversions between types and address spaces.

use ::half::{bf16, f16};

use super::super::PtxError;
use super::super::decode::{Decoding, lanes};
use super::super::memory::{LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use super::super::operation::Operation;
use super::super::registers::{Class, Value, join};
use super::super::syntax::Operand;
use super::super::types::Type;
use super::exact::{Exact, Rounding};
use super::float::{flush, rounding};
use super::half::Half;
use super::with_bits;

/// As `with_integer`, with 8 bits too.
macro_rules! with_any_integer {
    ($decoding:expr, $kind:expr, $t:ident => $body:expr) => {
        match $kind {
            Type::Unsigned(8) | Type::Bits(8) => {
                type $t = u8;
                $body
            }
            Type::Signed(8) => {
                type $t = i8;
                $body
            }
            _ => super::with_integer!($decoding, $kind, $t => $body),
        }
    };
}

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    match d.instruction.opcode {
        "mov" => copy(d),
        "cvt" => convert(d),
        "cvta" => convert_address(d),
        _ => is_in_space(d),
    }
}

fn copy(d: &mut Decoding) -> Result<Operation, PtxError> {
    d.operands(2)?;
    let kind = d.kind()?;
    match (d.operand(0)?, d.operand(1)?) {
        (Operand::Vector(_), Operand::Vector(_)) => Err(d.unknown()),
        (Operand::Vector(_), _) => unpack(d, kind),
        (_, Operand::Vector(_)) => pack(d, kind),
        _ if kind == Type::Predicate => d.unary(|a: bool| a),
        _ => with_bits!(d, kind, T => d.unary(|a: T| a)),
    }
}

/// Bits of each of the parts that a register is made of.
fn part_bits(d: &Decoding, kind: Type, parts: usize) -> Result<u32, PtxError> {
    match (kind.bits(), parts) {
        (bits @ (32 | 64), 2 | 4) => Ok(bits / parts as u32),
        _ => Err(d.unknown()),
    }
}

/// `mov.b32 {a, b}, c`
fn unpack(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    let elements = d.elements(0)?;
    let bits = part_bits(d, kind, elements.len())?;
    let class = Class::of(kind);
    let source = d.source_of(d.operand(1)?, class)?;
    let mut targets = Vec::new();
    for element in elements {
        targets.push(d.target_of(element, Class::Word)?);
    }
    Ok(lanes(move |machine, mask| {
        let whole: [u64; 32] = match class {
            Class::Long => machine.registers.longs[source as usize],
            _ => machine.registers.words[source as usize].map(u64::from),
        };
        for (index, &target) in targets.iter().enumerate() {
            let part =
                |lane: usize| (whole[lane] >> (index as u32 * bits)) as u32 & (u32::MAX >> (32 - bits));
            let column = u32::collect(part);
            u32::merge(u32::column_mut(machine.registers, target), column, mask);
        }
    }))
}

/// `mov.b32 c, {a, b}`
fn pack(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    let elements = d.elements(1)?;
    let bits = part_bits(d, kind, elements.len())?;
    let class = Class::of(kind);
    let target = d.target_of(d.operand(0)?, class)?;
    let mut sources = Vec::new();
    for element in elements {
        sources.push(d.source_of(element, Class::Word)?);
    }
    Ok(lanes(move |machine, mask| {
        let registers = &mut *machine.registers;
        let whole = |lane: usize| {
            sources.iter().enumerate().fold(0_u64, |whole, (index, &source)| {
                let part = registers.words[source as usize][lane] & (u32::MAX >> (32 - bits));
                whole | u64::from(part) << (index as u32 * bits)
            })
        };
        match class {
            Class::Long => {
                let column = u64::collect(whole);
                u64::merge(u64::column_mut(registers, target), column, mask);
            }
            _ => {
                let column = u32::collect(|lane| whole(lane) as u32);
                u32::merge(u32::column_mut(registers, target), column, mask);
            }
        }
    }))
}

/// `.rni` and its like: rounding to an integral value.
fn integral(d: &mut Decoding) -> Option<fn(f64) -> f64> {
    d.choose::<fn(f64) -> f64>(&[
        ("rni", f64::round_ties_even),
        ("rzi", f64::trunc),
        ("rmi", f64::floor),
        ("rpi", f64::ceil),
    ])
}

fn convert(d: &mut Decoding) -> Result<Operation, PtxError> {
    let integral = integral(d);
    let to_nearest_away = d.take("rna");
    let rounding = rounding(d);
    let (ftz, saturate, rectify) = (d.take("ftz"), d.take("sat"), d.take("relu"));
    let (target, source) = (d.kind()?, d.kind()?);
    let plain = !saturate && !rectify && !ftz && rounding == Rounding::Nearest && integral.is_none();
    match (target, source) {
        (Type::Tf32, Type::F32) if to_nearest_away => return d.unary(round_to_tf32),
        (Type::Bf16x2, Type::F32) => return convert_pair::<bf16>(d, rounding, rectify),
        (Type::F16x2, Type::F32) => return convert_pair::<f16>(d, rounding, rectify),
        // The conversions that kernels do most have closures of their own.
        (Type::F32, Type::Bf16) if plain => return d.unary(bf16::to_f32),
        (Type::F32, Type::F16) if plain => return d.unary(f16::to_f32),
        (Type::Bf16, Type::F32) if plain => return d.unary(<bf16 as Half>::narrow),
        (Type::F16, Type::F32) if plain => return d.unary(<f16 as Half>::narrow),
        _ if to_nearest_away => return Err(d.unknown()),
        _ => {}
    }
    if source.is_float() {
        let prepare = move |value: f64| {
            let value = integral.map_or(value, |integral| integral(value));
            let value = if !saturate || !target.is_float() {
                value
            } else if value > 0.0 {
                value.min(1.0)
            } else {
                0.0
            };
            if rectify && value < 0.0 { 0.0 } else { value }
        };
        let narrow = move |value: f32| f64::from(if ftz { flush(value) } else { value });
        return match source {
            Type::F32 => from_float(d, target, rounding, ftz, move |a: f32| prepare(narrow(a))),
            Type::F64 => from_float(d, target, rounding, ftz, move |a: f64| prepare(a)),
            Type::F16 => from_float(d, target, rounding, ftz, move |a: f16| prepare(a.to_f64())),
            Type::Bf16 => from_float(d, target, rounding, ftz, move |a: bf16| prepare(narrow(a.to_f32()))),
            _ => Err(d.unknown()),
        };
    }
    if target.is_float() {
        return with_any_integer!(d, source, S => integer_to_float(d, target, rounding, saturate, |a: S| i128::from(a)));
    }
    // A register may be wider than the type that is read from it: what is more is cut off (PTX ISA, operand size exceeding instruction-type size).
    let from = d.register_kind(d.operand(1)?)?;
    if source.bits() < 64 && !saturate && from.is_some_and(|kind| Class::of(kind) == Class::Long) {
        return with_any_integer!(d, source, S => with_any_integer!(d, target, T => d.unary(|a: u64| a as S as T)));
    }
    with_any_integer!(d, source, S => with_any_integer!(d, target, T => if saturate {
        d.unary(|a: S| i128::from(a).clamp(T::MIN.into(), T::MAX.into()) as T)
    } else {
        d.unary(|a: S| a as T)
    }))
}

/// From a float that `value` has rounded to an integer where that was asked for.
fn from_float<S: Value>(
    d: &mut Decoding,
    target: Type,
    rounding: Rounding,
    ftz: bool,
    value: impl Fn(S) -> f64 + Send + Sync + 'static,
) -> Result<Operation, PtxError> {
    match target {
        Type::F64 => d.unary(value),
        Type::F32 => d.unary(move |a| {
            let rounded = Exact::new(value(a)).round(rounding);
            if ftz { flush(rounded) } else { rounded }
        }),
        Type::F16 => d.unary(narrowing::<S, f16>(rounding, value)),
        Type::Bf16 => d.unary(narrowing::<S, bf16>(rounding, value)),
        // Out of range gives the nearest integer there is. NaN gives 0, but where 64 bits are involved the highest bit.
        _ => {
            let highest = target.bits() == 64 || S::CLASS == Class::Long;
            with_any_integer!(d, target, T => d.unary(move |a| match value(a) {
                number if highest && number.is_nan() => (1 as T) << (T::BITS - 1),
                number => number as T,
            }))
        }
    }
}

fn narrowing<S, H: Half>(rounding: Rounding, value: impl Fn(S) -> f64) -> impl Fn(S) -> H {
    move |a| {
        let odd = Exact::new(value(a)).round_to_odd();
        if rounding == Rounding::Zero { H::truncate(odd) } else { H::narrow(odd) }
    }
}

fn integer_to_float<S: Value>(
    d: &mut Decoding,
    target: Type,
    rounding: Rounding,
    saturate: bool,
    widen: impl Fn(S) -> i128 + Send + Sync + 'static,
) -> Result<Operation, PtxError> {
    let exact = move |a| {
        let value = if saturate { widen(a).clamp(0, 1) } else { widen(a) };
        // Two parts that fit f64 exactly.
        Exact::sum((value >> 32) as f64 * 2_f64.powi(32), (value & 0xffff_ffff) as f64)
    };
    match target {
        Type::F32 => d.unary(move |a| exact(a).round(rounding)),
        Type::F64 if rounding == Rounding::Nearest => d.unary(move |a| exact(a).nearest()),
        Type::F16 if rounding == Rounding::Nearest => {
            d.unary(move |a| f16::from_f32(exact(a).round_to_odd()))
        }
        Type::Bf16 if rounding == Rounding::Nearest => {
            d.unary(move |a| bf16::from_f32(exact(a).round_to_odd()))
        }
        _ => Err(d.unknown()),
    }
}

/// To 10 bits of mantissa, ties away from zero.
fn round_to_tf32(value: f32) -> f32 {
    if value.is_finite() { f32::from_bits(value.to_bits().wrapping_add(0x1000) & !0x1fff) } else { value }
}

/// `cvt.rn.bf16x2.f32 d, a, b`: `a` becomes the upper half, `b` the lower.
fn convert_pair<H: Half>(d: &mut Decoding, rounding: Rounding, rectify: bool) -> Result<Operation, PtxError> {
    let narrow = move |value: f32| {
        let value = if rectify && value < 0.0 { 0.0 } else { value };
        if rounding == Rounding::Zero { H::truncate(value).bits() } else { H::narrow(value).bits() }
    };
    d.binary(move |high: f32, low: f32| join([narrow(low), narrow(high)]))
}

/// Where a space's window begins among generic addresses.
fn window(d: &mut Decoding) -> Result<u64, PtxError> {
    d.ignore(&["cta"]);
    d.one_of(&[
        ("global", 0),
        ("const", 0),
        ("shared", SHARED_WINDOW),
        ("shared::cta", SHARED_WINDOW),
        ("local", LOCAL_WINDOW),
        ("param", PARAMETER_WINDOW),
    ])
}

fn convert_address(d: &mut Decoding) -> Result<Operation, PtxError> {
    let to = d.take("to");
    let window = window(d)?;
    if d.kind()?.bits() != 64 {
        return Err(d.unknown());
    }
    if to {
        d.unary(move |a: u64| a.wrapping_sub(window))
    } else {
        d.unary(move |a: u64| a.wrapping_add(window))
    }
}

/// `isspacep`: whether a generic address lies in a space.
fn is_in_space(d: &mut Decoding) -> Result<Operation, PtxError> {
    let window = window(d)?;
    d.unary(move |a: u64| match window {
        0 => a < PARAMETER_WINDOW,
        _ => a & (PARAMETER_WINDOW | SHARED_WINDOW | LOCAL_WINDOW) == window,
    })
}
