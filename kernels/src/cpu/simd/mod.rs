//! The SIMD vocabulary: vectors of f32 and u32 whose number of lanes belongs to the instruction set.
//!
//! A kernel is one generic function over [`Simd`], written with [`kernel!`]. Vectors come from the token alone
//! (`simd.splat(1.0)`, `simd.load(row)`), and a token only from [`Token::new`], which asks the machine: whoever holds
//! a vector may use its operators. Functions that a kernel calls are generic too and `#[inline(always)]`, so that they
//! are compiled with the kernel's instructions; closures over vectors are avoided, since nothing forces them inline.
//!
//! Slices may end inside a vector: [`Simd::load`] fills up with zeros and [`Floats::store`] writes what there is room
//! for. A loop over a row is therefore `for at in (0..width).step_by(S::LANES)` with `&row[at..]`, and has no tail.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use std::ops::{Add, BitXor, Div, Mul, Sub};

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use scalar::Scalar;

use super::Isa;
use super::tile::Tile;

/// An instruction set that the machine has.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Floats, or words, in a vector.
    const LANES: usize;
    /// Rows of the block of a matrix product that stays in registers.
    const TILE_ROWS: usize;
    /// Vectors in each of them. A number of A is loaded for so many multiply-adds; loads, of which a core can do as many
    /// as multiply-adds, must leave room for misses.
    const TILE_VECTORS: usize;
    /// A vector of f32.
    type F32: Floats<U32 = Self::U32>;
    /// A vector of u32.
    type U32: Words<Mask = <Self::F32 as Floats>::Mask>;

    /// `value` in every lane.
    fn splat(self, value: f32) -> Self::F32;
    /// The first elements of `source`; `filler` in the lanes that it is too short for.
    fn load_or(self, source: &[f32], filler: f32) -> Self::F32;
    /// The first elements of `source`; zeros in the lanes that it is too short for.
    #[inline(always)]
    fn load(self, source: &[f32]) -> Self::F32 {
        self.load_or(source, 0.0)
    }
    /// Hints that the cache line of `address` will be used soon; it need not be one.
    fn prefetch(self, address: *const f32);
    /// `value` in every lane.
    fn splat_u32(self, value: u32) -> Self::U32;
    /// `first, first + 1, …`, modulo 2³².
    fn count_from(self, first: u32) -> Self::U32;
    /// [`super::tile::compute`] for this tile, whose constants cannot be arguments in a trait.
    ///
    /// # Safety
    /// As there.
    unsafe fn tile(self, tile: &Tile);
}

/// A vector of f32.
pub(crate) trait Floats:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// A vector of truth values.
    type Mask: Copy;
    /// The vector of u32 with as many lanes.
    type U32;

    /// Writes the lanes that there is room for.
    fn store(self, target: &mut [f32]);
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

/// A vector of u32. Addition wraps.
pub(crate) trait Words: Copy + Add<Output = Self> + BitXor<Output = Self> {
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
pub(crate) enum Token {
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
            Isa::Avx512 => Some(Self::Avx512(unsafe { Avx512::assume() })),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => None,
        }
    }
}

/// Defines a kernel: a function that takes a [`Token`] first and runs its body with the token's vectors and compiled
/// for the token's instructions.
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
        $visibility:vis fn $name:ident<$S:ident>($simd:ident $(, $argument:ident: $type:ty)* $(,)?)
        $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "slices of one kernel")]
        $visibility fn $name(token: $crate::cpu::simd::Token $(, $argument: $type)*) $(-> $result)? {
            use $crate::cpu::simd::Token;

            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn generic<$S: $crate::cpu::simd::Simd>($simd: $S $(, $argument: $type)*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx2(simd: $crate::cpu::simd::Avx2 $(, $argument: $type)*) $(-> $result)? {
                generic(simd $(, $argument)*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn avx512(simd: $crate::cpu::simd::Avx512 $(, $argument: $type)*) $(-> $result)? {
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
