//! Elementary functions of vectors. Coefficients are minimax fits (Remez) over the ranges named; errors are the largest
//! seen by the tests over the whole range, in units in the last place of the exact result.

use super::simd::{Floats, Simd};

/// c₀ + c₁x + c₂x² + …
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::F32, coefficients: [f32; N]) -> S::F32 {
    let mut sum = simd.splat(coefficients[N - 1]);
    for &coefficient in coefficients[..N - 1].iter().rev() {
        sum = sum.mul_add(x, simd.splat(coefficient));
    }
    sum
}

/// eˣ within 2 ulp; 0 below −87.33 (where results stop being normal numbers), ∞ above 88.37.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    const LOWEST: f32 = -87.33;
    const HIGHEST: f32 = 88.37;
    let (lowest, highest) = (simd.splat(LOWEST), simd.splat(HIGHEST));
    // x = n·ln 2 + r with |r| ≤ ln 2 / 2; the high part of ln 2 is short, so that its product with n is exact.
    let bounded = x.max(lowest).min(highest);
    let n = (bounded * simd.splat(std::f32::consts::LOG2_E)).round();
    let r = n.mul_add(simd.splat(-0.693_359_4), bounded);
    let r = n.mul_add(simd.splat(2.121_944_4e-4), r);
    let tail = polynomial(simd, r, [0.499_999_93, 0.166_665_2, 0.041_668_39, 0.008_368_717, 0.001_381_459_5]);
    let power = (tail * r).mul_add(r, r) + simd.splat(1.0);
    let result = power * n.power_of_two();
    let result = S::F32::select(x.less(lowest), simd.splat(0.0), result);
    S::F32::select(highest.less(x), simd.splat(f32::INFINITY), result)
}

/// tanh x within 3 ulp.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    const SMALL: f32 = 0.625;
    let (size, one) = (x.abs(), simd.splat(1.0));
    // Around 0 a polynomial; elsewhere 1 − 2 / (e²ˣ + 1), whose subtraction no longer cancels.
    let square = x * x;
    let tail = polynomial(
        simd,
        square,
        [-0.333_332_84, 0.133_314_91, -0.053_743_497, 0.020_650_585, -0.005_717_043_3],
    );
    let near = (tail * square).mul_add(size, size);
    let far = one - simd.splat(2.0) / (exp(simd, size + size) + one);
    S::F32::select(size.less(simd.splat(SMALL)), near, far).with_sign_of(x)
}

/// The error function within 3 ulp.
#[inline(always)]
pub(crate) fn erf<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    const SMALL: f32 = 0.9375;
    const ONE_FROM: f32 = 4.0;
    let size = x.abs();
    // Around 0 x·P(x²); elsewhere 1 − erfc x, with −ln erfc x = x·Q(x).
    let near = size
        * polynomial(
            simd,
            x * x,
            [
                std::f32::consts::FRAC_2_SQRT_PI,
                -0.376_126_32,
                0.112_836_66,
                -0.026_857_791,
                0.005_197_155,
                -0.000_809_987_6,
                8.193_774_5e-5,
            ],
        );
    let bounded = size.min(simd.splat(ONE_FROM));
    let logarithm = bounded
        * polynomial(
            simd,
            bounded,
            [
                1.128_641,
                0.635_181_4,
                0.106_187_71,
                -0.023_720_272,
                0.003_622_960_6,
                -0.000_318_070_2,
                1.076_424_4e-5,
            ],
        );
    let far = simd.splat(1.0) - exp(simd, simd.splat(0.0) - logarithm);
    S::F32::select(size.less(simd.splat(SMALL)), near, far).with_sign_of(x)
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let one = simd.splat(1.0);
    one / (one + exp(simd, simd.splat(0.0) - x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::erf::erf as erf64;
    use crate::cpu::Isa;
    use crate::cpu::simd::{Token, kernel};

    kernel! {
        fn all<S>(simd, x: &[f32], y: [&mut [f32]; 3]) {
            let [of_exp, of_tanh, of_erf] = y;
            for at in (0..x.len()).step_by(S::LANES) {
                let x = simd.load(&x[at..]);
                exp(simd, x).store(&mut of_exp[at..]);
                tanh(simd, x).store(&mut of_tanh[at..]);
                erf(simd, x).store(&mut of_erf[at..]);
            }
        }
    }

    fn error_in_ulp(value: f32, exact: f64) -> f64 {
        let unit = (exact.abs() as f32).next_up() as f64 - (exact.abs() as f32) as f64;
        (value as f64 - exact).abs() / unit
    }

    #[test]
    fn errors_are_within_the_stated_units() {
        // Every 1000th float between −87.3 and 88.3, both signs, all magnitudes.
        let x: Vec<f32> = (0..0x42b0_0000u32)
            .step_by(1009)
            .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
            .filter(|x| (-87.32..88.3).contains(x) && (*x == 0.0 || x.abs() > 1e-30))
            .collect();
        for token in Isa::available().filter_map(Token::new) {
            let mut y = [vec![f32::NAN; x.len()], vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]];
            all(token, &x, y.each_mut().map(Vec::as_mut_slice));
            let exact: [fn(f64) -> f64; 3] = [f64::exp, f64::tanh, erf64];
            for (((name, bound), exact), y) in
                [("exp", 2.0), ("tanh", 3.0), ("erf", 3.0)].into_iter().zip(exact).zip(&y)
            {
                let (worst, at) = x
                    .iter()
                    .zip(y)
                    .map(|(&x, &y)| (error_in_ulp(y, exact(f64::from(x))), x))
                    .max_by(|a, b| a.0.total_cmp(&b.0))
                    .expect("many");
                assert!(worst <= bound, "{token:?}: {name}({at}) is off by {worst:.2} ulp");
            }
        }
    }

    #[test]
    fn limits_and_nan() {
        for token in Isa::available().filter_map(Token::new) {
            let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -200.0, 200.0, -0.0];
            let mut y = [[7.0; 6]; 3];
            all(token, &x, y.each_mut().map(|y| y.as_mut_slice()));
            assert_eq!(
                [y[0][0], y[0][1], y[0][3], y[0][4], y[0][5]],
                [f32::INFINITY, 0.0, 0.0, f32::INFINITY, 1.0]
            );
            for y in &y[1..] {
                assert_eq!([y[0], y[1], y[3], y[4], y[5]], [1.0, -1.0, -1.0, 1.0, 0.0]);
            }
            assert!(y.iter().all(|y| y[2].is_nan()), "{token:?}");
        }
    }
}
