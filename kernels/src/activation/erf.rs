//! The error function in f64.

use std::f64::consts::FRAC_2_SQRT_PI;

/// erf x = 2/√π ∫₀ˣ exp(−t²) dt, to about 1e-15.
///
/// Below 2 by the series of positive terms (Abramowitz & Stegun 7.1.6), from there on as 1 minus the continued
/// fraction of the complement (7.1.14).
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 2.0 { series(a) } else { 1.0 - complement(a) };
    value.copysign(x)
}

/// 2/√π · exp(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1 · 3 ⋯ (2n + 1))
fn series(x: f64) -> f64 {
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term > sum * f64::EPSILON / 4.0 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// exp(−x²)/√π · 1/(x + ½/(x + 1/(x + ³⁄₂/(x + ⋯)))), converged at this depth for x ≥ 2.
fn complement(x: f64) -> f64 {
    const DEPTH: u32 = 60;
    let tail = (1..=DEPTH).rev().fold(x, |below, n| x + 0.5 * f64::from(n) / below);
    0.5 * FRAC_2_SQRT_PI * (-x * x).exp() / tail
}

#[cfg(test)]
mod tests {
    use super::erf;

    /// Values of a C library's `erf`, on both sides of where the method changes.
    #[test]
    fn known_values() {
        let table = [
            (0.0, 0.0),
            (1e-10, 1.128_379_167_095_512_6e-10),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (1.5, 0.966_105_146_475_310_8),
            (1.999, 0.995_301_556_651_370_5),
            (2.0, 0.995_322_265_018_952_7),
            (2.5, 0.999_593_047_982_555),
            (3.0, 0.999_977_909_503_001_4),
            (4.0, 0.999_999_984_582_742_1),
            (6.0, 1.0),
        ];
        for (x, expected) in table {
            assert!((erf(x) - expected).abs() <= 1e-15 * expected, "erf({x}) = {}, not {expected}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!(erf(f64::INFINITY), 1.0);
        assert!(erf(f64::NAN).is_nan());
    }
}
