//! Integer arithmetic.

use super::super::PtxError;
use super::super::decode::Decoding;
use super::super::operation::Operation;
use super::super::types::Type;
use super::with_integer;

/// Which part of a product is wanted.
#[derive(Clone, Copy)]
enum Part {
    Low,
    High,
    Wide,
}

pub fn decode(d: &mut Decoding) -> Result<Operation, PtxError> {
    let saturate = d.take("sat");
    let kind = d.kind()?;
    match (d.instruction.opcode, saturate) {
        ("add", true) if kind == Type::Signed(32) => return d.binary(i32::saturating_add),
        ("sub", true) if kind == Type::Signed(32) => return d.binary(i32::saturating_sub),
        (_, true) => return Err(d.unknown()),
        _ => {}
    }
    match d.instruction.opcode {
        "add" => with_integer!(d, kind, T => d.binary(|a: T, b: T| a.wrapping_add(b))),
        "sub" => with_integer!(d, kind, T => d.binary(|a: T, b: T| a.wrapping_sub(b))),
        "mul" => product(d, kind),
        "mad" => product_sum(d, kind),
        "mul24" | "mad24" => low_product_of_24_bits(d, kind),
        // A division by zero gives all ones, its remainder the dividend, as it does on hardware.
        "div" => {
            with_integer!(d, kind, T => d.binary(|a: T, b: T| if b == 0 { !0 } else { a.wrapping_div(b) }))
        }
        "rem" => {
            with_integer!(d, kind, T => d.binary(|a: T, b: T| if b == 0 { a } else { a.wrapping_rem(b) }))
        }
        "min" => with_integer!(d, kind, T => d.binary(|a: T, b: T| a.min(b))),
        "max" => with_integer!(d, kind, T => d.binary(|a: T, b: T| a.max(b))),
        "abs" => match kind {
            Type::Signed(16) => d.unary(i16::wrapping_abs),
            Type::Signed(32) => d.unary(i32::wrapping_abs),
            Type::Signed(64) => d.unary(i64::wrapping_abs),
            _ => Err(d.unknown()),
        },
        "neg" => with_integer!(d, kind, T => d.unary(|a: T| a.wrapping_neg())),
        "sad" => with_integer!(d, kind, T => d.ternary(|a: T, b: T, c: T| {
            c.wrapping_add(if a < b { b.wrapping_sub(a) } else { a.wrapping_sub(b) })
        })),
        "dp4a" => dot_product(d, kind),
        _ => Err(d.unknown()),
    }
}

fn part(d: &mut Decoding) -> Result<Part, PtxError> {
    d.one_of(&[("lo", Part::Low), ("hi", Part::High), ("wide", Part::Wide)])
}

/// The upper half of the product of two integers of the type.
trait HighProduct {
    fn high_product(self, other: Self) -> Self;
}

macro_rules! high_product {
    ($($type:ty, $wide:ty);*) => {
        $(impl HighProduct for $type {
            fn high_product(self, other: $type) -> $type {
                ((<$wide>::from(self) * <$wide>::from(other)) >> <$type>::BITS) as $type
            }
        })*
    };
}

high_product!(u16, u32; i16, i32; u32, u64; i32, i64; u64, u128; i64, i128);

fn product(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    match part(d)? {
        Part::Low => with_integer!(d, kind, T => d.binary(|a: T, b: T| a.wrapping_mul(b))),
        Part::High => with_integer!(d, kind, T => d.binary(|a: T, b: T| a.high_product(b))),
        Part::Wide => match kind {
            Type::Unsigned(16) => d.binary(|a: u16, b: u16| u32::from(a) * u32::from(b)),
            Type::Signed(16) => d.binary(|a: i16, b: i16| i32::from(a) * i32::from(b)),
            Type::Unsigned(32) => d.binary(|a: u32, b: u32| u64::from(a) * u64::from(b)),
            Type::Signed(32) => d.binary(|a: i32, b: i32| i64::from(a) * i64::from(b)),
            _ => Err(d.unknown()),
        },
    }
}

fn product_sum(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    match part(d)? {
        Part::Low => {
            with_integer!(d, kind, T => d.ternary(|a: T, b: T, c: T| a.wrapping_mul(b).wrapping_add(c)))
        }
        Part::High => {
            with_integer!(d, kind, T => d.ternary(|a: T, b: T, c: T| a.high_product(b).wrapping_add(c)))
        }
        Part::Wide => match kind {
            Type::Unsigned(16) => {
                d.ternary(|a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c))
            }
            Type::Signed(16) => {
                d.ternary(|a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c))
            }
            Type::Unsigned(32) => {
                d.ternary(|a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c))
            }
            Type::Signed(32) => {
                d.ternary(|a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c))
            }
            _ => Err(d.unknown()),
        },
    }
}

fn low_product_of_24_bits(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    if !d.take("lo") {
        return Err(d.unknown());
    }
    let unsigned = |a: u32, b: u32| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff);
    let signed = |a: i32, b: i32| (a << 8 >> 8).wrapping_mul(b << 8 >> 8);
    match (d.instruction.opcode, kind) {
        ("mul24", Type::Unsigned(32)) => d.binary(unsigned),
        ("mul24", Type::Signed(32)) => d.binary(signed),
        ("mad24", Type::Unsigned(32)) => d.ternary(move |a, b, c: u32| unsigned(a, b).wrapping_add(c)),
        ("mad24", Type::Signed(32)) => d.ternary(move |a, b, c: i32| signed(a, b).wrapping_add(c)),
        _ => Err(d.unknown()),
    }
}

/// `dp4a`: the sum of four products of bytes, added to `c`.
fn dot_product(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    fn bytes(word: u32, signed: bool) -> [i32; 4] {
        word.to_le_bytes().map(|byte| if signed { i32::from(byte as i8) } else { i32::from(byte) })
    }
    let other = d.kind()?;
    let signed = |kind| match kind {
        Type::Signed(32) => Some(true),
        Type::Unsigned(32) => Some(false),
        _ => None,
    };
    let (Some(left), Some(right)) = (signed(kind), signed(other)) else { return Err(d.unknown()) };
    d.ternary(move |a: u32, b: u32, c: u32| {
        let products = bytes(a, left).into_iter().zip(bytes(b, right)).map(|(a, b)| a * b);
        c.wrapping_add(products.sum::<i32>() as u32)
    })
}
