//! The vocabulary against plain arithmetic, with every instruction set of this machine.

use super::*;
use crate::cpu::Isa;

fn tokens() -> Vec<Token> {
    Isa::available().filter_map(Token::new).collect()
}

kernel! {
    /// Every binary operator and comparison of `a` and `b`, one after the other.
    fn binary<S>(simd, a: &[f32], b: &[f32], out: &mut [f32]) {
        let (a, b) = (simd.load(a), simd.load(b));
        let (one, zero) = (simd.splat(1.0), simd.splat(0.0));
        let results = [
            a + b, a - b, a * b, a / b, a.max(b), a.min(b), a.mul_add(b, one), a.abs(), b.abs().sqrt(),
            a.round(), a.abs().with_sign_of(b), S::F32::select(a.less(b), one, zero),
        ];
        for (result, out) in results.into_iter().zip(out.chunks_mut(S::LANES)) {
            result.store(out);
        }
    }
}

kernel! {
    fn lanes<S>(_simd) -> usize { S::LANES }
}

#[test]
fn operators_compute_what_they_say() {
    let a: Vec<f32> = (0..16).map(|i| 1.75 * i as f32 - 9.5).collect();
    let b: Vec<f32> = (0..16).map(|i| 3.5 - i as f32 * 0.625).collect();
    type Operator = fn(f32, f32) -> f32;
    let operators: [Operator; 12] = [
        |a, b| a + b,
        |a, b| a - b,
        |a, b| a * b,
        |a, b| a / b,
        f32::max,
        f32::min,
        |a, b| a * b + 1.0,
        |a, _| a.abs(),
        |_, b| b.abs().sqrt(),
        |a, _| a.round_ties_even(),
        f32::copysign,
        |a, b| f32::from(a < b),
    ];
    for token in tokens() {
        let lanes = lanes(token);
        let mut out = vec![f32::NAN; 12 * lanes];
        binary(token, &a, &b, &mut out);
        for (index, value) in out.into_iter().enumerate() {
            let (operator, lane) = (index / lanes, index % lanes);
            assert_eq!(
                value,
                operators[operator](a[lane], b[lane]),
                "{token:?}, operator {operator}, lane {lane}"
            );
        }
    }
}

kernel! {
    fn special<S>(simd, x: f32, out: &mut [f32; 4]) {
        let (x, one) = (simd.splat(x), simd.splat(1.0));
        out[0] = x.max(one).largest_or_nan();
        out[1] = x.min(one).largest_or_nan();
        out[2] = S::F32::select(x.less(one), one, simd.splat(2.0)).sum() / S::LANES as f32;
        out[3] = x.abs().largest_or_nan();
    }
}

trait LargestOrNan {
    fn largest_or_nan(self) -> f32;
}

impl<F: Floats> LargestOrNan for F {
    #[inline(always)]
    fn largest_or_nan(self) -> f32 {
        let mut first = [0.0];
        self.store(&mut first);
        first[0]
    }
}

#[test]
fn nan_passes_through_and_compares_false() {
    for token in tokens() {
        let mut out = [0.0; 4];
        special(token, f32::NAN, &mut out);
        assert!(out[0].is_nan() && out[1].is_nan() && out[3].is_nan(), "{token:?}: {out:?}");
        assert_eq!(out[2], 2.0, "{token:?}");
    }
}

kernel! {
    fn copy<S>(simd, from: &[f32], to: &mut [f32]) {
        for at in (0..from.len()).step_by(S::LANES) {
            simd.load(&from[at..]).store(&mut to[at..]);
        }
    }
}

kernel! {
    fn reduce<S>(simd, from: &[f32]) -> (f32, f32) {
        let vector = simd.load(from);
        (vector.sum(), vector.largest())
    }
}

#[test]
fn short_slices_are_filled_up_and_respected() {
    for token in tokens() {
        for length in 0..40 {
            let from: Vec<f32> = (0..length).map(|i| i as f32 + 1.0).collect();
            let mut to = vec![-1.0; length];
            copy(token, &from, &mut to);
            assert_eq!(from, to);
            let count = length.min(lanes(token));
            let expected = (count * (count + 1) / 2) as f32;
            assert_eq!(reduce(token, &from), (expected, count as f32), "{token:?}, {length} numbers");
        }
    }
}

kernel! {
    fn powers<S>(simd, exponent: f32) -> f32 {
        simd.splat(exponent).power_of_two().largest()
    }
}

#[test]
fn powers_of_two_are_exact() {
    for token in tokens() {
        for exponent in -126..=127 {
            assert_eq!(powers(token, exponent as f32), 2f32.powi(exponent), "{token:?}");
        }
    }
}

kernel! {
    fn words<S>(simd, first: u32, factor: u32, bound: u32) -> Vec<u64> {
        let ones = |mask| {
            let mut out = [0.0; 16];
            S::F32::select(mask, simd.splat(1.0), simd.splat(0.0)).store(&mut out);
            out
        };
        let x = simd.count_from(first) ^ simd.splat_u32(0x5555_0000);
        let (high, low) = x.multiply_wide(simd.splat_u32(factor));
        // A word is read through comparisons, bit by bit: the vocabulary has no other way out.
        let read = |word: S::U32| {
            let mut value = [0u64; 16];
            for bit in (0..32).rev() {
                for (lane, value) in value.iter_mut().enumerate() {
                    let candidate = *value as u32 | 1 << bit;
                    *value |= (ones(word.at_least(simd.splat_u32(candidate)))[lane] as u64) << bit;
                }
            }
            value
        };
        let (high, low) = (read(high), read(low));
        let mut result: Vec<u64> = (0..S::LANES).map(|lane| high[lane] << 32 | low[lane]).collect();
        result.extend(ones((x + x).at_least(simd.splat_u32(bound)))[..S::LANES].iter().map(|&one| one as u64));
        let words = [0, 100, 200, 300].map(|first| simd.count_from(first));
        for vector in S::U32::interleave(words) {
            result.extend(&read(vector)[..S::LANES]);
        }
        result
    }
}

#[test]
fn words_multiply_compare_and_interleave() {
    for token in tokens() {
        let lanes = lanes(token);
        let (first, factor, bound) = (u32::MAX - 2, 0xD251_1F53, 0x9000_0000);
        let x: Vec<u32> = (0..lanes as u32).map(|lane| first.wrapping_add(lane) ^ 0x5555_0000).collect();
        let mut expected: Vec<u64> = x.iter().map(|&x| u64::from(x) * u64::from(factor)).collect();
        expected.extend(x.iter().map(|&x| u64::from(x.wrapping_add(x) >= bound)));
        expected.extend((0..lanes as u64).flat_map(|lane| [lane, 100 + lane, 200 + lane, 300 + lane]));
        assert_eq!(words(token, first, factor, bound), expected, "{token:?}");
    }
}

kernel! {
    fn widened_and_rounded<S>(simd, source: &[bf16], numbers: &mut [f32], back: &mut [bf16]) {
        simd.load_or(source, 7.0).store(numbers);
        simd.load::<f32>(numbers).store(back);
    }
}

kernel! {
    fn rounded<S>(simd, source: &[f32], target: &mut [bf16]) {
        simd.load(source).store(target);
    }
}

kernel! {
    fn pairs<S>(simd, source: &[bf16], lower: &mut [f32], upper: &mut [f32], again: &mut [f32]) {
        let pairs = simd.load_pairs(source);
        pairs.lower().store(lower);
        pairs.upper().store(upper);
        pairs.lower().pair(pairs.upper()).store(again);
    }
}

#[test]
fn bf16_is_widened_and_rounded_like_halfs_own() {
    let values: Vec<f32> =
        [0.0, -0.0, 1.0, 1.003_906_3, 1.011_718_8, -3.3, 1e-40, 3.4e38, f32::NAN, f32::INFINITY]
            .into_iter()
            .chain((0..30).map(|i| 1.0 + i as f32 / 511.0))
            .collect();
    let bits = |numbers: &[bf16]| -> Vec<u16> { numbers.iter().map(|number| number.to_bits()).collect() };
    for token in tokens() {
        let lanes = lanes(token);
        for length in 0..=lanes {
            for source in values.windows(length.max(1)).map(|window| &window[..length]) {
                let expected: Vec<bf16> = source.iter().map(|&value| bf16::from_f32(value)).collect();
                let mut target = vec![bf16::from_f32(5.0); length];
                rounded(token, source, &mut target);
                assert_eq!(bits(&target), bits(&expected), "{token:?}, {source:?}");
                let (mut numbers, mut back) = (vec![f32::NAN; lanes], vec![bf16::ZERO; length]);
                widened_and_rounded(token, &target, &mut numbers, &mut back);
                assert_eq!(bits(&back), bits(&expected), "{token:?}, {source:?}");
                assert!(numbers[length..].iter().all(|&number| number == 7.0), "{token:?}: {numbers:?}");
            }
        }
        let source: Vec<bf16> = (1..=2 * lanes).map(|i| bf16::from_f32(i as f32)).collect();
        for length in 0..=2 * lanes {
            let [mut lower, mut upper, mut again] = [(); 3].map(|()| vec![f32::NAN; lanes]);
            pairs(token, &source[..length], &mut lower, &mut upper, &mut again);
            let number = |index: usize| if index < length { (index + 1) as f32 } else { 0.0 };
            for lane in 0..lanes {
                assert_eq!((lower[lane], upper[lane]), (number(2 * lane), number(2 * lane + 1)), "{token:?}");
                let halves: [bf16; 2] = bytemuck::cast(again[lane]);
                assert_eq!(halves.map(f32::from), [lower[lane], upper[lane]], "{token:?}");
            }
        }
    }
}
