//! Integer arithmetic.

use super::super::PtxError;
use super::super::decode::{Decoding, checked};
use super::super::fault::Trouble;
use super::super::operation::Operation;
use super::super::registers::Value;
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
        "div" => with_integer!(d, kind, T => quotient(d, T::checked_wrapping_div)),
        "rem" => with_integer!(d, kind, T => quotient(d, T::checked_wrapping_rem)),
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

/// Division that says so where the divisor is zero.
trait Divide: Sized {
    fn checked_wrapping_div(self, other: Self) -> Option<Self>;
    fn checked_wrapping_rem(self, other: Self) -> Option<Self>;
}

macro_rules! divide {
    ($($type:ty)*) => {
        $(impl Divide for $type {
            fn checked_wrapping_div(self, other: $type) -> Option<$type> {
                (other != 0).then(|| self.wrapping_div(other))
            }
            fn checked_wrapping_rem(self, other: $type) -> Option<$type> {
                (other != 0).then(|| self.wrapping_rem(other))
            }
        })*
    };
}

divide!(u16 i16 u32 i32 u64 i64);

/// What hardware gives for a division by zero is not documented, and never what is meant: it is reported.
fn quotient<T: Value>(d: &mut Decoding, f: fn(T, T) -> Option<T>) -> Result<Operation, PtxError> {
    d.operands(3)?;
    let (target, a, b) = (d.target::<T>(0)?, d.source::<T>(1)?, d.source::<T>(2)?);
    Ok(checked(move |machine, mask| {
        let registers = &mut *machine.registers;
        let mut zero = None;
        let (left, right) = (T::column(registers, a), T::column(registers, b));
        let new = T::collect(|lane| {
            let (a, b) = (T::at(left, lane), T::at(right, lane));
            if mask >> lane & 1 == 0 {
                return a;
            }
            f(a, b).unwrap_or_else(|| {
                zero.get_or_insert(lane);
                a
            })
        });
        T::merge(T::column_mut(registers, target), new, mask);
        match zero {
            None => Ok(()),
            Some(lane) => {
                Err(Box::new(Trouble::Operand(format!("an integer is divided by zero, lane {lane}"))))
            }
        }
    }))
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
