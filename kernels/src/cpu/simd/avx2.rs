//! AVX2 with FMA: eight lanes.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every block: the token proves that the machine has AVX2 and FMA"
)]

use std::arch::x86_64::*;
use std::ops::{Add, BitXor, Div, Mul, Sub};

use half::bf16;

use super::{Floats, Simd, Words};

const LANES: usize = 8;

/// The token.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

#[derive(Clone, Copy, Debug)]
pub struct F32(__m256);

#[derive(Clone, Copy, Debug)]
pub struct U32(__m256i);

impl Avx2 {
    /// # Safety
    /// The machine has AVX2 and FMA.
    pub unsafe fn assume() -> Self {
        Self(())
    }
}

/// A mask with the first `count` lanes on.
#[inline(always)]
fn first_lanes(count: usize) -> __m256i {
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

impl Simd for Avx2 {
    const LANES: usize = LANES;
    type F32 = F32;
    type U32 = U32;

    #[inline(always)]
    fn splat(self, value: f32) -> F32 {
        F32(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    fn load_f32(self, source: &[f32], filler: f32) -> F32 {
        let (start, count) = (source.as_ptr(), source.len());
        // Masked-off lanes are not read.
        F32(unsafe {
            if count >= LANES {
                _mm256_loadu_ps(start)
            } else {
                let mask = first_lanes(count);
                let values = _mm256_maskload_ps(start, mask);
                _mm256_blendv_ps(_mm256_set1_ps(filler), values, _mm256_castsi256_ps(mask))
            }
        })
    }
    #[inline(always)]
    fn load_bf16(self, source: &[bf16], filler: f32) -> F32 {
        let whole = source.first_chunk().copied().unwrap_or_else(|| {
            let mut whole = [bf16::from_f32(filler); LANES];
            whole[..source.len()].copy_from_slice(source);
            whole
        });
        unsafe {
            let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(whole.as_ptr().cast()));
            F32(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)))
        }
    }
    #[inline(always)]
    fn load_pairs(self, source: &[bf16]) -> F32 {
        let whole = source.first_chunk().copied().unwrap_or_else(|| {
            let mut whole = [bf16::ZERO; 2 * LANES];
            whole[..source.len()].copy_from_slice(source);
            whole
        });
        F32(unsafe { _mm256_loadu_ps(whole.as_ptr().cast()) })
    }
    #[inline(always)]
    fn prefetch<T>(self, address: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[inline(always)]
    fn splat_u32(self, value: u32) -> U32 {
        U32(unsafe { _mm256_set1_epi32(value as i32) })
    }
    #[inline(always)]
    fn count_from(self, first: u32) -> U32 {
        self.splat_u32(first) + U32(unsafe { _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7) })
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
    F32: Add::add = _mm256_add_ps;
    F32: Sub::sub = _mm256_sub_ps;
    F32: Mul::mul = _mm256_mul_ps;
    F32: Div::div = _mm256_div_ps;
    U32: Add::add = _mm256_add_epi32;
    U32: BitXor::bitxor = _mm256_xor_si256;
}

impl Floats for F32 {
    type Mask = __m256;
    type U32 = U32;

    #[inline(always)]
    fn store_f32(self, target: &mut [f32]) {
        let (start, count) = (target.as_mut_ptr(), target.len());
        // Masked-off lanes are not written.
        unsafe {
            if count >= LANES {
                _mm256_storeu_ps(start, self.0)
            } else {
                _mm256_maskstore_ps(start, first_lanes(count), self.0)
            }
        }
    }
    #[inline(always)]
    fn store_bf16(self, target: &mut [bf16]) {
        let mut words = [bf16::ZERO; LANES];
        // To nearest, to even, by adding to the bits; what is no number stays none.
        unsafe {
            let bits = _mm256_castps_si256(self.0);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
            let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x40_0000));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
            let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(upper, upper));
            _mm_storeu_si128(words.as_mut_ptr().cast(), _mm256_castsi256_si128(packed));
        }
        match target.first_chunk_mut() {
            Some(whole) => *whole = words,
            None => target.copy_from_slice(&words[..target.len()]),
        }
    }
    #[inline(always)]
    fn pair(self, upper: Self) -> Self {
        unsafe {
            let lower = _mm256_srli_epi32::<16>(_mm256_castps_si256(self.0));
            Self(_mm256_castsi256_ps(_mm256_or_si256(lower, _mm256_castps_si256(upper.0))))
        }
    }
    #[inline(always)]
    fn lower(self) -> Self {
        Self(unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(self.0))) })
    }
    #[inline(always)]
    fn upper(self) -> Self {
        let mask = unsafe { _mm256_set1_epi32(0xFFFF_0000_u32 as i32) };
        Self(unsafe { _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(self.0), mask)) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }
    // The instructions return their second operand if either is NaN.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm256_max_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm256_min_ps(other.0, self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn power_of_two(self) -> Self {
        Self(unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    fn with_sign_of(self, sign: Self) -> Self {
        Self(unsafe { _mm256_or_ps(self.0, _mm256_and_ps(_mm256_set1_ps(-0.0), sign.0)) })
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Self(unsafe { _mm256_blendv_ps(no.0, yes.0, mask) })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    /// Pairs of lanes, then quads within 128 bits, then the halves.
    #[inline(always)]
    fn transpose(rows: &mut [Self]) {
        unsafe {
            for i in (0..LANES).step_by(2) {
                let (a, b) = (rows[i].0, rows[i + 1].0);
                (rows[i].0, rows[i + 1].0) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            }
            for i in (0..LANES).step_by(4) {
                let (a, b) = (_mm256_castps_pd(rows[i].0), _mm256_castps_pd(rows[i + 1].0));
                let (c, d) = (_mm256_castps_pd(rows[i + 2].0), _mm256_castps_pd(rows[i + 3].0));
                rows[i].0 = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
                rows[i + 1].0 = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
                rows[i + 2].0 = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
                rows[i + 3].0 = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
            }
            for i in 0..LANES / 2 {
                let (a, b) = (rows[i].0, rows[i + 4].0);
                rows[i].0 = _mm256_permute2f128_ps::<0x20>(a, b);
                rows[i + 4].0 = _mm256_permute2f128_ps::<0x31>(a, b);
            }
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

impl Words for U32 {
    type Mask = __m256;

    #[inline(always)]
    fn multiply_wide(self, factor: Self) -> (Self, Self) {
        unsafe {
            let even = _mm256_mul_epu32(self.0, factor.0);
            let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(self.0), _mm256_srli_epi64::<32>(factor.0));
            let high = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
            let low = _mm256_blend_epi32::<0b1010_1010>(even, _mm256_slli_epi64::<32>(odd));
            (Self(high), Self(low))
        }
    }
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self::Mask {
        unsafe { _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(self.0, bound.0), self.0)) }
    }
    #[inline(always)]
    fn interleave([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        unsafe {
            let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a.0, b.0), _mm256_unpackhi_epi32(a.0, b.0));
            let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c.0, d.0), _mm256_unpackhi_epi32(c.0, d.0));
            // Lane pairs (0, 4), (1, 5), (2, 6), (3, 7), each with its four words.
            let (p, q) = (_mm256_unpacklo_epi64(ab_low, cd_low), _mm256_unpackhi_epi64(ab_low, cd_low));
            let (r, s) = (_mm256_unpacklo_epi64(ab_high, cd_high), _mm256_unpackhi_epi64(ab_high, cd_high));
            [
                Self(_mm256_permute2x128_si256::<0x20>(p, q)),
                Self(_mm256_permute2x128_si256::<0x20>(r, s)),
                Self(_mm256_permute2x128_si256::<0x31>(p, q)),
                Self(_mm256_permute2x128_si256::<0x31>(r, s)),
            ]
        }
    }
}
