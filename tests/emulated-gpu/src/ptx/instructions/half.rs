//! Arithmetic in `f16` and `bf16`, single and packed in pairs.
//!
//! Sums, products and quotients of 16-bit floats are rounded right when computed in `f32` and rounded again; a
//! fused multiply-add needs one rounding, through [`Exact`].

use ::half::{bf16, f16};

use super::super::PtxError;
use super::super::decode::Decoding;
use super::super::operation::Operation;
use super::super::registers::{halves, join};
use super::super::types::Type;
use super::approximate;
use super::exact::Exact;
use super::float::{maximum, minimum, saturate};

pub fn decode(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    match kind {
        Type::F16 => family::<f16>(d, false),
        Type::Bf16 => family::<bf16>(d, false),
        Type::F16x2 => family::<f16>(d, true),
        Type::Bf16x2 => family::<bf16>(d, true),
        _ => Err(d.unknown()),
    }
}

/// The NaN that hardware gives, in either format.
const NAN: u16 = 0x7fff;

/// A 16-bit float.
pub trait Half: Copy + Send + Sync + 'static {
    /// Smallest normal number.
    const SMALLEST: f32;
    /// Bits of the fraction.
    const MANTISSA: i32;
    fn widen(self) -> f32;
    /// To nearest, ties to even.
    fn narrow(value: f32) -> Self;
    /// Towards zero.
    fn truncate(value: f32) -> Self;
    fn bits(self) -> u16;
    fn from_bits(bits: u16) -> Self;
}

impl Half for f16 {
    const SMALLEST: f32 = 6.103_515_6e-5;
    const MANTISSA: i32 = 10;
    fn widen(self) -> f32 {
        self.to_f32()
    }
    fn narrow(value: f32) -> f16 {
        if value.is_nan() { f16::from_bits(NAN) } else { f16::from_f32(value) }
    }
    fn from_bits(bits: u16) -> f16 {
        f16::from_bits(bits)
    }
    fn truncate(value: f32) -> f16 {
        let nearest = Self::narrow(value);
        // The bits of a float grow with its magnitude; past the largest comes infinity.
        let beyond = nearest.to_f32().abs() > value.abs();
        f16::from_bits(nearest.to_bits() - u16::from(beyond))
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
}

impl Half for bf16 {
    const SMALLEST: f32 = f32::MIN_POSITIVE;
    const MANTISSA: i32 = 7;
    fn widen(self) -> f32 {
        self.to_f32()
    }
    fn narrow(value: f32) -> bf16 {
        if value.is_nan() { bf16::from_bits(NAN) } else { bf16::from_f32(value) }
    }
    fn from_bits(bits: u16) -> bf16 {
        bf16::from_bits(bits)
    }
    fn truncate(value: f32) -> bf16 {
        let nearest = Self::narrow(value);
        // The bits of a float grow with its magnitude; past the largest comes infinity.
        let beyond = nearest.to_f32().abs() > value.abs();
        bf16::from_bits(nearest.to_bits() - u16::from(beyond))
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
}

/// What modifiers do to operands and results.
#[derive(Clone, Copy)]
struct Modes {
    flush: bool,
    saturate: bool,
    rectify: bool,
    propagate: bool,
}

impl Modes {
    fn operand<H: Half>(self, bits: u16) -> f32 {
        let value = H::from_bits(bits).widen();
        if self.flush && value.abs() < H::SMALLEST { 0_f32.copysign(value) } else { value }
    }

    fn result<H: Half>(self, value: f32) -> u16 {
        let value = if self.saturate { saturate(value) } else { value };
        let bits = H::narrow(if self.rectify && value < 0.0 { 0.0 } else { value }).bits();
        if self.flush { H::narrow(self.operand::<H>(bits)).bits() } else { bits }
    }
}

/// All opcodes, for one half in a register or for `pairs`.
fn family<H: Half>(d: &mut Decoding, pairs: bool) -> Result<Operation, PtxError> {
    d.ignore(&["rn", "approx"]);
    let modes = Modes {
        flush: d.take("ftz"),
        saturate: d.take("sat"),
        rectify: d.take("relu"),
        propagate: d.take("NaN"),
    };
    let unary = |d: &mut Decoding, f: fn(f32) -> f32| {
        let one = move |a: u16| modes.result::<H>(f(modes.operand::<H>(a)));
        if pairs { d.unary(move |a: u32| join(halves(a).map(one))) } else { d.unary(one) }
    };
    let binary = |d: &mut Decoding, f: fn(f32, f32, bool) -> f32| {
        let one = move |a: u16, b: u16| {
            modes.result::<H>(f(modes.operand::<H>(a), modes.operand::<H>(b), modes.propagate))
        };
        if !pairs {
            return d.binary(one);
        }
        d.binary(move |a: u32, b: u32| {
            let (a, b) = (halves(a), halves(b));
            join([0, 1].map(|i| one(a[i], b[i])))
        })
    };
    match d.instruction.opcode {
        "add" => binary(d, |a, b, _| a + b),
        "sub" => binary(d, |a, b, _| a - b),
        "mul" => binary(d, |a, b, _| a * b),
        "min" => binary(d, minimum),
        "max" => binary(d, maximum),
        "fma" => {
            let one = move |a: u16, b: u16, c: u16| {
                let [a, b, c] = [a, b, c].map(|bits| f64::from(modes.operand::<H>(bits)));
                modes.result::<H>(Exact::product_sum(a, b, c).round_to_odd())
            };
            if !pairs {
                return d.ternary(one);
            }
            d.ternary(move |a: u32, b: u32, c: u32| {
                let (a, b, c) = (halves(a), halves(b), halves(c));
                join([0, 1].map(|i| one(a[i], b[i], c[i])))
            })
        }
        "abs" => unary(d, f32::abs),
        "neg" => unary(d, |a| -a),
        opcode => {
            let approximations = d.function.decoder.approximations;
            let f = approximate::of_half(opcode, H::MANTISSA).ok_or_else(|| d.unknown())?;
            let one = move |a: u16| modes.result::<H>(f(modes.operand::<H>(a), approximations));
            if pairs { d.unary(move |a: u32| join(halves(a).map(one))) } else { d.unary(one) }
        }
    }
}
