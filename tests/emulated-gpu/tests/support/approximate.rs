//! The functions of `kernels/approximations.cu`: what they should give, and how far hardware may be off.

use half::{bf16, f16};

/// How many there are.
pub const FUNCTIONS: usize = 12;

/// Their names, in the order of the kernel.
pub const NAMES: [&str; FUNCTIONS] = [
    "ex2.approx.f32",
    "lg2.approx.f32",
    "rcp.approx.f32",
    "rsqrt.approx.f32",
    "sqrt.approx.f32",
    "sin.approx.f32",
    "cos.approx.f32",
    "tanh.approx.f32",
    "div.approx.f32",
    "div.full.f32",
    "ex2.approx.ftz.bf16",
    "ex2.approx.f16",
];

/// Operands of all sizes.
pub fn operands() -> Vec<f32> {
    (0..4000).map(|i| 0.003 * 1.0023_f32.powi(i) + 1e-4 * i as f32).collect()
}

/// The exact result of function `index`, and how far it may be off: the PTX ISA's bounds.
pub fn exact(index: usize, x: f32) -> (f64, f64) {
    let ulp = |value: f64| 2_f64.powi((value.abs().log2().floor() as i32).max(-126) - 23);
    let value = f64::from(x);
    let relative = |value: f64, bits: f64| (value, value.abs() * 2_f64.powf(bits));
    let ulps = |value: f64, count: f64| (value, count * ulp(value));
    let turns = if x.abs() <= 2.0 * std::f32::consts::PI { 2_f64.powf(-20.5) } else { 2_f64.powf(-14.7) };
    match index {
        0 => ulps(value.exp2(), 2.0),
        1 if (0.5..=2.0).contains(&x) => (value.log2(), 2_f64.powi(-22)),
        1 => relative(value.log2(), -22.0),
        2 => ulps(1.0 / value, 1.0),
        3 => relative(1.0 / value.sqrt(), -22.9),
        4 => relative(value.sqrt(), -23.0),
        5 => (value.sin(), turns),
        6 => (value.cos(), turns),
        7 => relative(value.tanh(), -11.0),
        8 => ulps(f64::from(1.7_f32) / value, 2.0),
        9 => ulps(f64::from(-0.3_f32) / value, 2.0),
        10 => relative(bf16::from_f32(x).to_f64().exp2(), -7.0),
        _ => relative(f16::from_f32(x).to_f64().exp2(), -9.9),
    }
}

/// How many results of function `index` are not the exact one rounded, and the largest error in terms of the bound.
pub fn errors(index: usize, x: &[f32], y: &[[f32; FUNCTIONS]]) -> (usize, f64) {
    let (mut moved, mut largest) = (0, 0_f64);
    for (&x, y) in x.iter().zip(y) {
        let (want, bound) = exact(index, x);
        // Results beyond the formats' range, and those that f16 holds with fewer bits.
        if want.abs() > 6e4 || want.abs() < 1e-4 {
            continue;
        }
        let rounded = match index {
            10 => bf16::from_f64(want).to_f64(),
            11 => f16::from_f64(want).to_f64(),
            _ => f64::from(want as f32),
        };
        moved += usize::from(f64::from(y[index]) != rounded);
        largest = largest.max((f64::from(y[index]) - want).abs() / bound);
    }
    (moved, largest)
}
