//! How tensor cores of an H100 add: not as IEEE arithmetic does.
//!
//! The products of a block of 16 (tf32: 8) are exact. They and the accumulator are aligned to the largest exponent among
//! them, with two bits beyond those of an `f32`; what lies below is cut off, the sum is exact, and the result is cut to 24
//! bits. So results drift towards zero. The model is that of Khattak and Mikaitis (arXiv 2512.07004), found by probing an
//! H100 and an H200; `golden/h100_mma` holds products that an H100 made, and the model gives every bit of them.
//!
//! Not settled by recorded results: whether a result beyond the largest `f32` is infinite (here it is), and that the forms
//! of `mma` with half as many products are blocks of half the length.

/// Columns that are worked on at a time.
pub const COLUMNS: usize = 8;
/// Fraction bits that a term keeps: those of an `f32` and two more.
const KEPT: i32 = 23 + 2;
/// The exponent of a term that is zero: below all others.
const ZERO: i32 = -1000;

/// The format of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The upper half of an `f32`.
    Bf16,
    /// IEEE half precision.
    F16,
    /// `f32` with ten bits of mantissa.
    Tf32,
}

/// The format of C and D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// IEEE single precision; results are cut.
    F32,
    /// IEEE half precision; results are rounded to nearest, ties to even.
    F16,
}

impl Input {
    /// Products that are added at a time.
    pub fn block(self) -> usize {
        if self == Input::Tf32 { 8 } else { 16 }
    }

    /// Exponent of the smallest normal number.
    fn least_exponent(self) -> i32 {
        if self == Input::F16 { -14 } else { -126 }
    }
}

impl Output {
    /// No block is aligned to an exponent below this.
    fn least_exponent(self) -> i32 {
        match self {
            Output::F32 => -133,
            Output::F16 => -21,
        }
    }
}

/// Factors of products: values and their exponents.
#[derive(Clone, Copy, Debug)]
pub struct Terms<const N: usize> {
    values: [f64; N],
    exponents: [i32; N],
}

impl<const N: usize> Terms<N> {
    /// Takes numbers apart that the format holds.
    #[inline(always)]
    pub fn new(values: [f32; N], input: Input) -> Self {
        let least = input.least_exponent();
        Self { values: values.map(f64::from), exponents: values.map(|value| exponent(value, least)) }
    }
}

/// The exponent of a number, not below that of the smallest normal one.
#[inline(always)]
fn exponent(value: f32, least: i32) -> i32 {
    let bits = value.to_bits();
    let exponent = ((bits >> 23 & 255) as i32).wrapping_sub(127);
    if bits << 1 == 0 { ZERO } else { exponent.max(least) }
}

/// `sums[j] += Σ a[i] · b[i][j]` over one block.
pub fn add_block(a: &[Terms<1>], b: &[Terms<COLUMNS>], sums: &mut [f32; COLUMNS], output: Output) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as it has just said.
        return unsafe { add_block_avx2(a, b, sums, output) };
    }
    add_block_anywhere(a, b, sums, output);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_block_avx2(a: &[Terms<1>], b: &[Terms<COLUMNS>], sums: &mut [f32; COLUMNS], output: Output) {
    add_block_anywhere(a, b, sums, output);
}

#[inline(always)]
fn add_block_anywhere(a: &[Terms<1>], b: &[Terms<COLUMNS>], sums: &mut [f32; COLUMNS], output: Output) {
    // The exponent of a product is that of its factors together, whether or not its significand reaches 2.
    let mut top = sums.map(|sum| exponent(sum, -126).max(output.least_exponent()));
    for (a, b) in a.iter().zip(b) {
        for (top, exponent) in top.iter_mut().zip(b.exponents) {
            // Wrapping, here and below: a check for overflow in every lane would keep the loops from being vector instructions.
            *top = (*top).max(a.exponents[0].wrapping_add(exponent));
        }
    }
    // Powers of two: multiplying by them is exact.
    let scales = top.map(|top| power_of_two(KEPT.wrapping_sub(top)));
    let mut totals = [0.0_f64; COLUMNS];
    for j in 0..COLUMNS {
        totals[j] += (f64::from(sums[j]) * scales[j]).trunc();
    }
    for (a, b) in a.iter().zip(b) {
        for j in 0..COLUMNS {
            totals[j] += (a.values[0] * b.values[j] * scales[j]).trunc();
        }
    }
    for j in 0..COLUMNS {
        sums[j] = match output {
            Output::F32 => cut(totals[j], power_of_two(top[j].wrapping_sub(KEPT))),
            // Exact in `f64`, and `half` rounds once.
            Output::F16 => half::f16::from_f64(totals[j] * power_of_two(top[j].wrapping_sub(KEPT))).to_f32(),
        };
    }
}

/// 2 to a power between -1022 and 1023.
#[inline(always)]
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits((exponent.wrapping_add(1023) as u64) << 52)
}

/// `total · scale` cut to what an `f32` holds. NaN is the one that the hardware gives.
#[inline(always)]
fn cut(total: f64, scale: f64) -> f32 {
    /// Bits of an `f64` beyond the 24 of an `f32`.
    const BEYOND: u64 = (1 << 29) - 1;
    let value = f64::from_bits(total.to_bits() & !BEYOND) * scale;
    let nearest = value as f32;
    if total.is_nan() {
        f32::from_bits(0x7fff_ffff)
    } else if nearest.abs() < f32::MIN_POSITIVE && f64::from(nearest).abs() > value.abs() {
        // A subnormal result has fewer than 24 bits: the cast rounded it away from zero.
        f32::from_bits(nearest.to_bits() - 1)
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &[f32], b: &[f32], c: f32, input: Input, output: Output) -> f32 {
        let a: Vec<_> = a.iter().map(|&a| Terms::new([a], input)).collect();
        let b: Vec<_> = b.iter().map(|&b| Terms::new([b; COLUMNS], input)).collect();
        let mut sums = [c; COLUMNS];
        add_block(&a, &b, &mut sums, output);
        let mut others = [c; COLUMNS];
        add_block_anywhere(&a, &b, &mut others, output);
        assert_eq!(sums.map(f32::to_bits), others.map(f32::to_bits), "the same on every processor");
        assert!(sums.iter().all(|sum| sum.to_bits() == sums[0].to_bits()));
        sums[0]
    }

    #[test]
    fn small_terms_are_cut_off_one_by_one() {
        use Input::Bf16;
        let tiny = 2_f32.powi(-26);
        // Each alone is below the bits kept, and so they never add up.
        assert_eq!(sum(&[tiny; 16], &[1.0; 16], 1.0, Bf16, Output::F32), 1.0);
        assert_eq!(sum(&[-tiny; 16], &[1.0; 16], 1.0, Bf16, Output::F32), 1.0);
        // With one bit more they are kept, add up to 4 ulp below, and are cut towards zero at the end.
        let more = 2_f32.powi(-25);
        assert_eq!(sum(&[more; 16], &[1.0; 16], 1.0, Bf16, Output::F32), 1.0 + 2_f32.powi(-21));
        assert_eq!(sum(&[more; 3], &[1.0; 3], 1.0, Bf16, Output::F32), 1.0);
        assert_eq!(sum(&[more], &[1.0], -1.0, Bf16, Output::F32), -1.0 + 2_f32.powi(-24));
    }

    #[test]
    fn special_numbers_and_both_ends_of_the_range() {
        use Input::{Bf16, F16};
        let (infinity, largest) = (f32::INFINITY, 3e38_f32);
        assert_eq!(sum(&[infinity], &[2.0], 1.0, Bf16, Output::F32), infinity);
        for (a, b, c) in [(infinity, 0.0, 1.0), (infinity, -1.0, infinity), (f32::NAN, 1.0, 1.0)] {
            assert_eq!(sum(&[a], &[b], c, Bf16, Output::F32).to_bits(), 0x7fff_ffff);
        }
        assert_eq!(sum(&[largest], &[-largest], 1.0, Bf16, Output::F32), -infinity);
        assert_eq!(sum(&[0.0], &[-5.0], -0.0, Bf16, Output::F32).to_bits(), 0);
        // Below the normal numbers, cut towards zero; aligned to 2^-133 at least, 25 bits below that are kept.
        let small = 2_f32.powi(-100);
        assert_eq!(sum(&[small * 1.5], &[2_f32.powi(-49)], 0.0, Bf16, Output::F32), 2_f32.powi(-149));
        assert_eq!(sum(&[-small * 1.5], &[2_f32.powi(-50)], 0.0, Bf16, Output::F32), 0.0);
        assert_eq!(sum(&[largest], &[2_f32.powi(-120)], 0.0, Bf16, Output::F32), largest * 2_f32.powi(-120));
        // Sums in f16 are rounded to nearest, and may be infinite.
        assert_eq!(sum(&[1.0, 2_f32.powi(-11)], &[1.0; 2], 0.0, F16, Output::F16), 1.0);
        assert_eq!(
            sum(&[1.0, 3.0 * 2_f32.powi(-11)], &[1.0; 2], 0.0, F16, Output::F16),
            1.0 + 2_f32.powi(-9)
        );
        assert_eq!(sum(&[60_000.0], &[2.0], 0.0, F16, Output::F16), infinity);
    }
}
