//! Arithmetic in `f16` and `bf16`, single and packed in pairs.
//!
//! Sums, products and quotients of 16-bit floats are rounded right when computed in `f32` and rounded again; a
//! fused multiply-add needs one rounding, through [`Exact`].

use ::half::{bf16, f16};

use super::super::PtxError;
use super::super::decode::Decoding;
use super::super::operation::Operation;
use super::super::registers::Value;
use super::super::types::Type;
use super::exact::Exact;
use super::float::{maximum, minimum, saturate};

pub fn decode(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    match kind {
        Type::F16 => family::<f16, 1>(d),
        Type::Bf16 => family::<bf16, 1>(d),
        Type::F16x2 => family::<f16, 2>(d),
        Type::Bf16x2 => family::<bf16, 2>(d),
        _ => Err(d.unknown()),
    }
}

/// A 16-bit float.
pub trait Half: Copy + Send + Sync + 'static {
    /// Smallest normal number.
    const SMALLEST: f32;
    fn widen(self) -> f32;
    /// To nearest, ties to even.
    fn narrow(value: f32) -> Self;
    /// Towards zero.
    fn truncate(value: f32) -> Self;
    fn bits(self) -> u16;
}

impl Half for f16 {
    const SMALLEST: f32 = 6.103_515_6e-5;
    fn widen(self) -> f32 {
        self.to_f32()
    }
    fn narrow(value: f32) -> f16 {
        f16::from_f32(value)
    }
    fn truncate(value: f32) -> f16 {
        let nearest = f16::from_f32(value);
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
    fn widen(self) -> f32 {
        self.to_f32()
    }
    fn narrow(value: f32) -> bf16 {
        bf16::from_f32(value)
    }
    fn truncate(value: f32) -> bf16 {
        let nearest = bf16::from_f32(value);
        // The bits of a float grow with its magnitude; past the largest comes infinity.
        let beyond = nearest.to_f32().abs() > value.abs();
        bf16::from_bits(nearest.to_bits() - u16::from(beyond))
    }
    fn bits(self) -> u16 {
        self.to_bits()
    }
}

/// One or two halves in a register.
trait Packed<H, const N: usize>: Value {
    fn unpack(self) -> [H; N];
    fn pack(values: [H; N]) -> Self;
}

macro_rules! packed {
    ($($half:ty),*) => {
        $(
            impl Packed<$half, 1> for $half {
                fn unpack(self) -> [$half; 1] {
                    [self]
                }
                fn pack([value]: [$half; 1]) -> $half {
                    value
                }
            }
            impl Packed<$half, 2> for [$half; 2] {
                fn unpack(self) -> [$half; 2] {
                    self
                }
                fn pack(values: [$half; 2]) -> [$half; 2] {
                    values
                }
            }
        )*
    };
}

packed!(f16, bf16);

/// The register type of `N` halves.
trait Register<const N: usize>: Half {
    type Packed: Packed<Self, N>;
}

macro_rules! register {
    ($($half:ty),*) => {
        $(
            impl Register<1> for $half {
                type Packed = $half;
            }
            impl Register<2> for $half {
                type Packed = [$half; 2];
            }
        )*
    };
}

register!(f16, bf16);

/// What modifiers do to operands and results.
#[derive(Clone, Copy)]
struct Modes {
    flush: bool,
    saturate: bool,
    rectify: bool,
    propagate: bool,
}

impl Modes {
    fn operand<H: Half>(self, value: H) -> f32 {
        let value = value.widen();
        if self.flush && value.abs() < H::SMALLEST { 0_f32.copysign(value) } else { value }
    }

    fn result<H: Half>(self, value: f32) -> H {
        let value = if self.saturate { saturate(value) } else { value };
        let value = if self.rectify && value < 0.0 { 0.0 } else { value };
        let narrow = H::narrow(value);
        if self.flush { H::narrow(self.operand(narrow)) } else { narrow }
    }
}

fn family<H, const N: usize>(d: &mut Decoding) -> Result<Operation, PtxError>
where
    H: Register<N>,
{
    d.ignore(&["rn", "approx"]);
    let modes = Modes {
        flush: d.take("ftz"),
        saturate: d.take("sat"),
        rectify: d.take("relu"),
        propagate: d.take("NaN"),
    };
    let unary = |d: &mut Decoding, f: fn(f32) -> f32| {
        d.unary(move |a: H::Packed| {
            let a = a.unpack();
            H::Packed::pack(std::array::from_fn(|i| modes.result(f(modes.operand(a[i])))))
        })
    };
    let binary = |d: &mut Decoding, f: fn(f32, f32, bool) -> f32| {
        d.binary(move |a: H::Packed, b: H::Packed| {
            let (a, b) = (a.unpack(), b.unpack());
            let one = |i: usize| f(modes.operand(a[i]), modes.operand(b[i]), modes.propagate);
            H::Packed::pack(std::array::from_fn(|i| modes.result(one(i))))
        })
    };
    match d.instruction.opcode {
        "add" => binary(d, |a, b, _| a + b),
        "sub" => binary(d, |a, b, _| a - b),
        "mul" => binary(d, |a, b, _| a * b),
        "min" => binary(d, minimum),
        "max" => binary(d, maximum),
        "fma" => d.ternary(move |a: H::Packed, b: H::Packed, c: H::Packed| {
            let (a, b, c) = (a.unpack(), b.unpack(), c.unpack());
            let wide = |value: H| f64::from(modes.operand(value));
            let one = |i: usize| Exact::product_sum(wide(a[i]), wide(b[i]), wide(c[i])).round_to_odd();
            H::Packed::pack(std::array::from_fn(|i| modes.result(one(i))))
        }),
        "abs" => unary(d, f32::abs),
        "neg" => unary(d, |a| -a),
        "ex2" => unary(d, f32::exp2),
        "tanh" => unary(d, f32::tanh),
        _ => Err(d.unknown()),
    }
}
