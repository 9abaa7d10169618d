//! AVX-512 (F, BW, DQ, VL): sixteen lanes.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every block: the token proves that the machine has AVX-512"
)]

use std::arch::x86_64::*;
use std::ops::{Add, BitXor, Div, Mul, Sub};

use half::bf16;

use super::{Floats, Simd, Words};

const LANES: usize = 16;

/// The token.
#[derive(Clone, Copy, Debug)]
pub struct Avx512 {
    /// Whether the machine also multiplies pairs of bf16 (AVX512-BF16), and may.
    pairs: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct F32(__m512);

#[derive(Clone, Copy, Debug)]
pub struct U32(__m512i);

/// `sum + a₀b₀ + a₁b₁` of the pairs of bf16 in each lane, rounded after each product.
///
/// # Safety
/// The machine has AVX512-BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub unsafe fn multiply_pairs(a: F32, b: F32, sum: F32) -> F32 {
    let pairs = |vector: F32| unsafe { std::mem::transmute::<__m512, __m512bh>(vector.0) };
    F32(_mm512_dpbf16_ps(sum.0, pairs(a), pairs(b)))
}

impl Avx512 {
    /// # Safety
    /// The machine has AVX-512 F, BW, DQ and VL, AVX2 and FMA, and with `pairs` AVX512-BF16.
    pub unsafe fn assume(pairs: bool) -> Self {
        Self { pairs }
    }

    /// Whether the machine has AVX512-BF16.
    pub fn pairs(self) -> bool {
        self.pairs
    }
}

/// A mask with the first `count` lanes on, for `count` < 16.
#[inline(always)]
fn first_lanes(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

impl Simd for Avx512 {
    const LANES: usize = LANES;
    type F32 = F32;
    type U32 = U32;

    #[inline(always)]
    fn splat(self, value: f32) -> F32 {
        F32(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    fn load_f32(self, source: &[f32], filler: f32) -> F32 {
        let (start, count) = (source.as_ptr(), source.len());
        // Masked-off lanes are not read.
        F32(unsafe {
            if count >= LANES {
                _mm512_loadu_ps(start)
            } else {
                _mm512_mask_loadu_ps(_mm512_set1_ps(filler), first_lanes(count), start)
            }
        })
    }
    #[inline(always)]
    fn load_bf16(self, source: &[bf16], filler: f32) -> F32 {
        let (start, count) = (source.as_ptr().cast::<i16>(), source.len());
        // Masked-off lanes are not read.
        unsafe {
            if count >= LANES {
                let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(start.cast()));
                F32(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)))
            } else {
                let words = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(count), start));
                let numbers = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words));
                F32(_mm512_mask_blend_ps(first_lanes(count), _mm512_set1_ps(filler), numbers))
            }
        }
    }
    #[inline(always)]
    fn load_pairs(self, source: &[bf16]) -> F32 {
        let (start, count) = (source.as_ptr().cast::<i16>(), source.len());
        // Masked-off lanes are not read.
        F32(unsafe {
            if count >= 2 * LANES {
                _mm512_loadu_ps(start.cast())
            } else {
                _mm512_castsi512_ps(_mm512_maskz_loadu_epi16((1 << count) - 1, start))
            }
        })
    }
    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[inline(always)]
    fn splat_u32(self, value: u32) -> U32 {
        U32(unsafe { _mm512_set1_epi32(value as i32) })
    }
    #[inline(always)]
    fn count_from(self, first: u32) -> U32 {
        let count = unsafe { _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) };
        self.splat_u32(first) + U32(count)
    }
}

macro_rules! operators {
    ($($vector:ident: $trait:ident::$method:ident = $instruction:ident;)*) => {$(
        impl $trait for $vector {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(unsafe { $instruction(self.0, other.0) })
            }
        }
    )*};
}

operators! {
    F32: Add::add = _mm512_add_ps;
    F32: Sub::sub = _mm512_sub_ps;
    F32: Mul::mul = _mm512_mul_ps;
    F32: Div::div = _mm512_div_ps;
    U32: Add::add = _mm512_add_epi32;
    U32: BitXor::bitxor = _mm512_xor_si512;
}

impl Floats for F32 {
    type Mask = __mmask16;
    type U32 = U32;

    #[inline(always)]
    fn store_f32(self, target: &mut [f32]) {
        let (start, count) = (target.as_mut_ptr(), target.len());
        // Masked-off lanes are not written.
        unsafe {
            if count >= LANES {
                _mm512_storeu_ps(start, self.0)
            } else {
                _mm512_mask_storeu_ps(start, first_lanes(count), self.0)
            }
        }
    }
    #[inline(always)]
    fn store_bf16(self, target: &mut [bf16]) {
        let mut words = [bf16::ZERO; LANES];
        // To nearest, to even, by adding to the bits; what is no number stays none.
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x40_0000));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let upper = _mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(nan, rounded, quiet));
            _mm256_storeu_si256(words.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(upper));
        }
        // Not by a masked store of words: the compiler (LLVM 22) makes one of a constant mask write a word too many.
        match target.first_chunk_mut() {
            Some(whole) => *whole = words,
            None => target.copy_from_slice(&words[..target.len()]),
        }
    }
    #[inline(always)]
    fn pair(self, upper: Self) -> Self {
        unsafe {
            let lower = _mm512_srli_epi32::<16>(_mm512_castps_si512(self.0));
            Self(_mm512_castsi512_ps(_mm512_or_si512(lower, _mm512_castps_si512(upper.0))))
        }
    }
    #[inline(always)]
    fn lower(self) -> Self {
        Self(unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(self.0))) })
    }
    #[inline(always)]
    fn upper(self) -> Self {
        let mask = unsafe { _mm512_set1_epi32(0xFFFF_0000_u32 as i32) };
        Self(unsafe { _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(self.0), mask)) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }
    // The instructions return their second operand if either is NaN.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn power_of_two(self) -> Self {
        Self(unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    fn with_sign_of(self, sign: Self) -> Self {
        Self(unsafe { _mm512_or_ps(self.0, _mm512_and_ps(_mm512_set1_ps(-0.0), sign.0)) })
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(unsafe { _mm512_mask_blend_ps(mask, no.0, yes.0) })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    /// Pairs of lanes, then quads within 128 bits, then the quarters.
    #[inline(always)]
    fn transpose(rows: &mut [Self]) {
        unsafe {
            for i in (0..LANES).step_by(2) {
                let (a, b) = (rows[i].0, rows[i + 1].0);
                (rows[i].0, rows[i + 1].0) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            }
            for i in (0..LANES).step_by(4) {
                let (a, b) = (_mm512_castps_pd(rows[i].0), _mm512_castps_pd(rows[i + 1].0));
                let (c, d) = (_mm512_castps_pd(rows[i + 2].0), _mm512_castps_pd(rows[i + 3].0));
                rows[i].0 = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
                rows[i + 1].0 = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
                rows[i + 2].0 = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
                rows[i + 3].0 = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
            }
            for i in 0..LANES / 4 {
                let (a, b, c, d) = (rows[i].0, rows[i + 4].0, rows[i + 8].0, rows[i + 12].0);
                let (ab_even, ab_odd) =
                    (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b));
                let (cd_even, cd_odd) =
                    (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xDD>(c, d));
                rows[i].0 = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
                rows[i + 4].0 = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
                rows[i + 8].0 = _mm512_shuffle_f32x4::<0xDD>(ab_even, cd_even);
                rows[i + 12].0 = _mm512_shuffle_f32x4::<0xDD>(ab_odd, cd_odd);
            }
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
}

impl Words for U32 {
    type Mask = __mmask16;

    #[inline(always)]
    fn multiply_wide(self, factor: Self) -> (Self, Self) {
        unsafe {
            let even = _mm512_mul_epu32(self.0, factor.0);
            let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(self.0), _mm512_srli_epi64::<32>(factor.0));
            let high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64::<32>(even), odd);
            let low = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64::<32>(odd));
            (Self(high), Self(low))
        }
    }
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self::Mask {
        unsafe { _mm512_cmpge_epu32_mask(self.0, bound.0) }
    }
    #[inline(always)]
    fn interleave([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        unsafe {
            let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a.0, b.0), _mm512_unpackhi_epi32(a.0, b.0));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c.0, d.0), _mm512_unpackhi_epi32(c.0, d.0));
            // Lanes (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), each with its four words.
            let (p, q) = (_mm512_unpacklo_epi64(ab_low, cd_low), _mm512_unpackhi_epi64(ab_low, cd_low));
            let (r, s) = (_mm512_unpacklo_epi64(ab_high, cd_high), _mm512_unpackhi_epi64(ab_high, cd_high));
            // Lanes 0 4 1 5, 8 12 9 13, 2 6 3 7, 10 14 11 15.
            let (t, u) = (_mm512_shuffle_i32x4::<0x44>(p, q), _mm512_shuffle_i32x4::<0xEE>(p, q));
            let (v, w) = (_mm512_shuffle_i32x4::<0x44>(r, s), _mm512_shuffle_i32x4::<0xEE>(r, s));
            [
                Self(_mm512_shuffle_i32x4::<0x88>(t, v)),
                Self(_mm512_shuffle_i32x4::<0xDD>(t, v)),
                Self(_mm512_shuffle_i32x4::<0x88>(u, w)),
                Self(_mm512_shuffle_i32x4::<0xDD>(u, w)),
            ]
        }
    }
}
