//! Plain Rust: four lanes as arrays, which compilers turn into whatever vectors the target always has.

use std::array::from_fn;
use std::ops::{Add, BitXor, Div, Mul, Sub};

use half::bf16;

use super::{Floats, Simd, Words};

const LANES: usize = 4;

/// The token: any machine will do.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

#[derive(Clone, Copy, Debug)]
pub struct F32([f32; LANES]);

#[derive(Clone, Copy, Debug)]
pub struct U32([u32; LANES]);

impl Simd for Scalar {
    const LANES: usize = LANES;
    type F32 = F32;
    type U32 = U32;

    #[inline(always)]
    fn splat(self, value: f32) -> F32 {
        F32([value; LANES])
    }
    #[inline(always)]
    fn load_f32(self, source: &[f32], filler: f32) -> F32 {
        match source.first_chunk() {
            Some(whole) => F32(*whole),
            None => F32(from_fn(|lane| source.get(lane).copied().unwrap_or(filler))),
        }
    }
    #[inline(always)]
    fn load_bf16(self, source: &[bf16], filler: f32) -> F32 {
        F32(from_fn(|lane| source.get(lane).map_or(filler, |number| number.to_f32())))
    }
    #[inline(always)]
    fn load_pairs(self, source: &[bf16]) -> F32 {
        let bits = |index: usize| u32::from(source.get(index).map_or(0, |number| number.to_bits()));
        F32(from_fn(|lane| f32::from_bits(bits(2 * lane) | bits(2 * lane + 1) << 16)))
    }
    #[inline(always)]
    fn prefetch<T>(self, _address: *const T) {}
    #[inline(always)]
    fn splat_u32(self, value: u32) -> U32 {
        U32([value; LANES])
    }
    #[inline(always)]
    fn count_from(self, first: u32) -> U32 {
        U32(from_fn(|lane| first.wrapping_add(lane as u32)))
    }
}

macro_rules! operators {
    ($($vector:ident: $trait:ident::$method:ident = |$a:ident, $b:ident| $result:expr;)*) => {$(
        impl $trait for $vector {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(from_fn(|lane| {
                    let ($a, $b) = (self.0[lane], other.0[lane]);
                    $result
                }))
            }
        }
    )*};
}

operators! {
    F32: Add::add = |a, b| a + b;
    F32: Sub::sub = |a, b| a - b;
    F32: Mul::mul = |a, b| a * b;
    F32: Div::div = |a, b| a / b;
    U32: Add::add = |a, b| a.wrapping_add(b);
    U32: BitXor::bitxor = |a, b| a ^ b;
}

impl F32 {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }
    #[inline(always)]
    fn map2(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Floats for F32 {
    type Mask = [bool; LANES];
    type U32 = U32;

    #[inline(always)]
    fn store_f32(self, target: &mut [f32]) {
        match target.first_chunk_mut() {
            Some(whole) => *whole = self.0,
            None => target.iter_mut().zip(self.0).for_each(|(target, value)| *target = value),
        }
    }
    #[inline(always)]
    fn store_bf16(self, target: &mut [bf16]) {
        target.iter_mut().zip(self.0).for_each(|(target, value)| *target = bf16::from_f32(value));
    }
    #[inline(always)]
    fn pair(self, upper: Self) -> Self {
        self.map2(upper, |lower, upper| f32::from_bits(lower.to_bits() >> 16 | upper.to_bits()))
    }
    #[inline(always)]
    fn lower(self) -> Self {
        self.map(|pair| f32::from_bits(pair.to_bits() << 16))
    }
    #[inline(always)]
    fn upper(self) -> Self {
        self.map(|pair| f32::from_bits(pair.to_bits() & 0xFFFF_0000))
    }
    /// Fused where every machine of the architecture can; elsewhere it would be a call of the C library.
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        if cfg!(target_arch = "aarch64") {
            Self(from_fn(|lane| self.0[lane].mul_add(factor.0[lane], addend.0[lane])))
        } else {
            self * factor + addend
        }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.map2(other, |a, b| if b > a { b } else { a })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.map2(other, |a, b| if b < a { b } else { a })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        self.map(f32::abs)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }
    /// By way of a number so large that its unit is 1.
    #[inline(always)]
    fn round(self) -> Self {
        const LARGE: f32 = 12_582_912.0; // 1.5 · 2²³
        self.map(|value| (value + LARGE) - LARGE)
    }
    #[inline(always)]
    fn power_of_two(self) -> Self {
        self.map(|exponent| f32::from_bits(((exponent as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    fn with_sign_of(self, sign: Self) -> Self {
        self.map2(sign, f32::copysign)
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        from_fn(|lane| self.0[lane] < other.0[lane])
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(from_fn(|lane| if mask[lane] { yes.0[lane] } else { no.0[lane] }))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn transpose(rows: &mut [Self]) {
        for i in 0..LANES {
            for j in 0..i {
                (rows[i].0[j], rows[j].0[i]) = (rows[j].0[i], rows[i].0[j]);
            }
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

impl Words for U32 {
    type Mask = [bool; LANES];

    #[inline(always)]
    fn multiply_wide(self, factor: Self) -> (Self, Self) {
        let product: [u64; LANES] = from_fn(|lane| u64::from(self.0[lane]) * u64::from(factor.0[lane]));
        (Self(product.map(|p| (p >> 32) as u32)), Self(product.map(|p| p as u32)))
    }
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self::Mask {
        from_fn(|lane| self.0[lane] >= bound.0[lane])
    }
    #[inline(always)]
    fn interleave(words: [Self; 4]) -> [Self; 4] {
        from_fn(|vector| Self(from_fn(|word| words[word].0[vector])))
    }
}
