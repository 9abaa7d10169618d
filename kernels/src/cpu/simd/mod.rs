//! The SIMD vocabulary: vectors of f32 and u32 whose number of lanes belongs to the instruction set.
//!
//! A kernel is one generic function over [`Simd`], written with [`kernel!`]. Vectors come from the token alone
//! (`simd.splat(1.0)`, `simd.load(row)`), and a token only from [`Token::new`], which asks the machine: whoever holds
//! a vector may use its operators. Functions that a kernel calls are generic too and `#[inline(always)]`, so that they
//! are compiled with the kernel's instructions; closures over vectors are avoided, since nothing forces them inline.
//!
//! Slices may end inside a vector: [`Simd::load`] fills up with zeros and [`Floats::store`] writes what there is room
//! for, in f32 or rounded to bf16 as the slice is. A loop over a row is therefore `for at in (0..width).step_by(S::LANES)` with `&row[at..]`, and has no tail.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use std::ops::{Add, BitXor, Div, Mul, Sub};

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, multiply_pairs};
pub use scalar::Scalar;

use half::bf16;

use super::Isa;
use crate::precision::Real;

/// An instruction set that the machine has.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Floats, or words, in a vector.
    const LANES: usize;
    /// A vector of f32.
    type F32: Floats<U32 = Self::U32>;
    /// A vector of u32.
    type U32: Words<Mask = <Self::F32 as Floats>::Mask>;

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::F32;
    /// The first elements of `source`; `filler` in the lanes that it is too short for.
    fn load_f32(self, source: &[f32], filler: f32) -> Self::F32;
    /// The same of bf16, widened.
    fn load_bf16(self, source: &[bf16], filler: f32) -> Self::F32;
    /// The first elements of `source`, widened; `filler` in the lanes that it is too short for.
    #[inline(always)]
    fn load_or<A: Stored>(self, source: &[A], filler: f32) -> Self::F32 {
        A::load(self, source, filler)
    }
    /// The same with zeros in the lanes that `source` is too short for.
    #[inline(always)]
    fn load<A: Stored>(self, source: &[A]) -> Self::F32 {
        A::load(self, source, 0.0)
    }
    /// The first pairs of neighbours of `source`, as they lie; zeros where it is too short.
    fn load_pairs(self, source: &[bf16]) -> Self::F32;
    /// Hints that the cache line of `address` will be used soon; it need not be one.
    fn prefetch<T>(self, address: *const T);
    /// `value` in every lane.
    fn splat_u32(self, value: u32) -> Self::U32;
    /// `first, first + 1, …`, modulo 2³².
    fn count_from(self, first: u32) -> Self::U32;
}

/// A vector of f32.
pub trait Floats:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// A vector of truth values.
    type Mask: Copy;
    /// The vector of u32 with as many lanes.
    type U32;

    /// Writes the lanes that there is room for.
    fn store_f32(self, target: &mut [f32]);
    /// The same, each rounded to the nearest bf16, the even one if there are two.
    fn store_bf16(self, target: &mut [bf16]);
    /// Writes the lanes that there is room for, rounded to what they are stored in.
    #[inline(always)]
    fn store<A: Stored>(self, target: &mut [A]) {
        A::store(self, target);
    }
    /// Two bf16 in each lane, of which `self` has the lower ones in its upper halves, and `upper` the others.
    fn pair(self, upper: Self) -> Self;
    /// The lower bf16 of each pair, widened.
    fn lower(self) -> Self;
    /// The upper bf16 of each pair, widened.
    fn upper(self) -> Self;
    /// `self · factor + addend`, rounded once where the instruction set can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger one; `self` if it is NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller one; `self` if it is NaN.
    fn min(self, other: Self) -> Self;
    /// |self|
    fn abs(self) -> Self;
    /// √self
    fn sqrt(self) -> Self;
    /// The nearest integer, the even one if there are two; for |self| < 2²².
    fn round(self) -> Self;
    /// 2^self, for integers in −126..=127.
    fn power_of_two(self) -> Self;
    /// |self| with the sign of `sign`, for self ≥ 0.
    fn with_sign_of(self, sign: Self) -> Self;
    /// self < other; false where either is NaN.
    fn less(self, other: Self) -> Self::Mask;
    /// `yes` where the mask is true, else `no`.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// Sum of all lanes, added pairwise.
    fn sum(self) -> f32;
    /// Exchanges rows and columns of as many vectors as there are lanes.
    fn transpose(rows: &mut [Self]);
    /// Largest of all lanes.
    fn largest(self) -> f32;
}

/// What kernels load and store: they compute in f32.
pub trait Stored: Real {
    /// See [`Simd::load_or`].
    fn load<S: Simd>(simd: S, source: &[Self], filler: f32) -> S::F32;
    /// See [`Floats::store`].
    fn store<F: Floats>(vector: F, target: &mut [Self]);
    /// One number, widened.
    fn widen(self) -> f32;
    /// One number, rounded.
    fn narrow(value: f32) -> Self;
    /// The numbers themselves where they are f32, so that sums can grow where they are stored.
    fn in_place(numbers: &mut [Self]) -> Option<&mut [f32]>;
}

impl Stored for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, source: &[Self], filler: f32) -> S::F32 {
        simd.load_f32(source, filler)
    }
    #[inline(always)]
    fn store<F: Floats>(vector: F, target: &mut [Self]) {
        vector.store_f32(target);
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
    fn in_place(numbers: &mut [Self]) -> Option<&mut [f32]> {
        Some(numbers)
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, source: &[Self], filler: f32) -> S::F32 {
        simd.load_bf16(source, filler)
    }
    #[inline(always)]
    fn store<F: Floats>(vector: F, target: &mut [Self]) {
        vector.store_bf16(target);
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn in_place(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
}

/// A vector of u32. Addition wraps.
pub trait Words: Copy + Add<Output = Self> + BitXor<Output = Self> {
    /// A vector of truth values.
    type Mask: Copy;

    /// High and low word of the 64-bit products.
    fn multiply_wide(self, factor: Self) -> (Self, Self);
    /// self ≥ bound
    fn at_least(self, bound: Self) -> Self::Mask;
    /// `words[i]` in lane j becomes element 4j + i of the four vectors taken together.
    fn interleave(words: [Self; 4]) -> [Self; 4];
}

/// The instruction set in use, with the proof that the machine has it.
#[derive(Clone, Copy, Debug)]
pub enum Token {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Token {
    /// `None` if the machine lacks it.
    pub fn new(isa: Isa) -> Option<Self> {
        if !isa.is_available() {
            return None;
        }
        match isa {
            Isa::Scalar => Some(Self::Scalar(Scalar)),
            // SAFETY: available.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some(Self::Avx2(unsafe { Avx2::assume() })),
            // SAFETY: available.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Some(Self::Avx512(unsafe { Avx512::assume(false) })),
            // SAFETY: available.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Some(Self::Avx512(unsafe { Avx512::assume(true) })),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Bf16 => None,
        }
    }
}

/// Defines a kernel: a function that takes a [`Token`] first and runs its body with the token's vectors and compiled
/// for the token's instructions. Type parameters after the first are what slices are stored in ([`Stored`]).
///
/// ```text
/// kernel! {
///     /// y = 2x
///     fn double<S>(simd, x: &[f32], y: &mut [f32]) {
///         for at in (0..x.len()).step_by(S::LANES) {
///             (simd.load(&x[at..]) * simd.splat(2.0)).store(&mut y[at..]);
///         }
///     }
/// }
/// double(cpu.token(), x, y);
/// ```
macro_rules! kernel {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$S:ident $(: $bound:path)? $(, $A:ident)*>($simd:ident $(, $argument:ident: $type:ty)* $(,)?)
        $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "slices of one kernel")]
        $visibility fn $name<$($A: $crate::cpu::simd::Stored),*>(token: $crate::cpu::simd::Token $(, $argument: $type)*) $(-> $result)? {
            use $crate::cpu::simd::Token;

            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn generic<$S: $crate::cpu::simd::Simd $(+ $bound)? $(, $A: $crate::cpu::simd::Stored)*>($simd: $S $(, $argument: $type)*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx2<$($A: $crate::cpu::simd::Stored),*>(simd: $crate::cpu::simd::Avx2 $(, $argument: $type)*) $(-> $result)? {
                generic(simd $(, $argument)*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx512<$($A: $crate::cpu::simd::Stored),*>(simd: $crate::cpu::simd::Avx512 $(, $argument: $type)*) $(-> $result)? {
                generic(simd $(, $argument)*)
            }

            match token {
                Token::Scalar(simd) => generic(simd $(, $argument)*),
                // SAFETY: the token proves that the machine has these instructions.
                #[cfg(target_arch = "x86_64")]
                Token::Avx2(simd) => unsafe { avx2(simd $(, $argument)*) },
                // SAFETY: the token proves that the machine has these instructions.
                #[cfg(target_arch = "x86_64")]
                Token::Avx512(simd) => unsafe { avx512(simd $(, $argument)*) },
            }
        }
    };
}
pub(crate) use kernel;

#[cfg(test)]
mod tests;
