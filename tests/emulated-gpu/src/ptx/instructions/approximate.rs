//! The `.approx` functions, which hardware computes with some error: results are moved within the documented bounds.
//!
//! Bounds are those of the PTX ISA (relative, absolute, or in units of the last place). How hardware errs within them is
//! not known here; an operand's error is a fixed function of its bits, so that results repeat.

use std::env;
use std::sync::LazyLock;

use super::super::PtxError;
use super::super::decode::Decoding;
use super::super::operation::Operation;
use super::float::Modes;

/// Says how far approximations are off: `off`, `typical` (default) or `worst`.
pub const APPROXIMATIONS: &str = "EMULATED_GPU_APPROXIMATIONS";

/// How far the results of `.approx` functions are from the exact ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Approximations {
    /// Not at all, beyond rounding.
    Off,
    /// Somewhere within the bounds, each operand for itself.
    #[default]
    Typical,
    /// As far as the bounds allow, neighbouring operands in the same direction.
    Worst,
}

impl Approximations {
    /// What the environment asks for; a mistaken setting stops the process, for nobody wants the default instead.
    pub fn from_environment() -> Approximations {
        static SETTING: LazyLock<Approximations> =
            LazyLock::new(|| match env::var(APPROXIMATIONS).as_deref() {
                Err(_) | Ok("" | "typical") => Approximations::Typical,
                Ok("off") => Approximations::Off,
                Ok("worst") => Approximations::Worst,
                Ok(other) => {
                    eprintln!("emulated GPU: {APPROXIMATIONS}={other}: expected `off`, `typical` or `worst`");
                    std::process::abort()
                }
            });
        *SETTING
    }

    /// Where between the bounds, from -1 to 1, the result for an operand is.
    #[inline(always)]
    fn direction(self, operand: u32) -> f64 {
        let mixed = |bits: u32| {
            let bits = (bits ^ bits >> 16).wrapping_mul(0x7feb_352d);
            (bits ^ bits >> 15).wrapping_mul(0x846c_a68b)
        };
        match self {
            Approximations::Off => 0.0,
            Approximations::Typical => f64::from(mixed(operand) as i32) * 2_f64.powi(-31),
            // Operands of the same eighth of an octave err in the same direction: errors add up.
            Approximations::Worst => f64::from(1 - 2 * (mixed(operand >> 20) & 1) as i32),
        }
    }
}

/// How far a result may be off.
#[derive(Clone, Copy)]
enum Bound {
    /// In units of the last place of an `f32`.
    Ulps(f64),
    Relative(f64),
    Absolute(f64),
}

/// One unit of the last place of an `f32` near `value`.
#[inline(always)]
fn ulp(value: f64) -> f64 {
    let exponent = (value.to_bits() >> 52 & 2047) as i32 - 1023;
    f64::from_bits(((1023 + exponent.max(-126) - 23) as u64) << 52)
}

/// `exact`, known to within `known` units of the last place, moved within a bound and rounded.
#[inline(always)]
fn moved(exact: f64, known: f64, operand: u32, bound: Bound, approximations: Approximations) -> f32 {
    if exact == 0.0 || !exact.is_finite() {
        return exact as f32;
    }
    let allowed = match bound {
        Bound::Ulps(ulps) => ulps * ulp(exact),
        Bound::Relative(error) => error * exact.abs(),
        Bound::Absolute(error) => error,
    };
    // Rounding to `f32` and what is not known of the exact result take their part.
    let left = (allowed - (0.5 + known) * ulp(exact)).max(0.0);
    (exact + left * approximations.direction(operand)) as f32
}

/// The functions whose exact result `f32` gives to within half a unit of the last place, or a little more.
const NEARLY: f64 = 0.51;

/// An instruction with `.approx` or `.full`, or one that has no other form.
pub fn decode(d: &mut Decoding, modes: Modes, full_range: bool) -> Result<Operation, PtxError> {
    let approximations = d.function.decoder.approximations;
    let unary = |d: &mut Decoding, f: fn(f32, Approximations) -> f32| {
        d.unary(move |a: f32| modes.result(f(modes.operand(a), approximations)))
    };
    match d.instruction.opcode {
        "div" => d.binary(move |a: f32, b: f32| {
            let (a, b) = (modes.operand(a), modes.operand(b));
            // `.approx` scales by the reciprocal, which is flushed to zero here.
            if !full_range && b.abs() > 2_f32.powi(126) && b.is_finite() {
                return if a.is_infinite() { f32::NAN } else { 0_f32.copysign(a).copysign(a * b.signum()) };
            }
            let operand = a.to_bits().rotate_left(7) ^ b.to_bits();
            modes.result(moved(f64::from(a) / f64::from(b), 0.0, operand, Bound::Ulps(2.0), approximations))
        }),
        "rcp" => unary(d, |a, how| moved(1.0 / f64::from(a), 0.0, a.to_bits(), Bound::Ulps(1.0), how)),
        "sqrt" => unary(d, |a, how| {
            moved(f64::from(a).sqrt(), 0.0, a.to_bits(), Bound::Relative(2_f64.powi(-23)), how)
        }),
        "rsqrt" => {
            const ERROR: f64 = 1.277e-7; // 2^-22.9
            unary(d, |a, how| moved(1.0 / f64::from(a).sqrt(), 0.0, a.to_bits(), Bound::Relative(ERROR), how))
        }
        "ex2" => unary(d, |a, how| match a {
            0.0 => 1.0,
            _ => moved(a.exp2().into(), NEARLY, a.to_bits(), Bound::Ulps(2.0), how),
        }),
        "lg2" => unary(d, |a, how| {
            let near_one = (0.5..=2.0).contains(&a);
            let error = 2_f64.powi(-22);
            let bound = if near_one { Bound::Absolute(error) } else { Bound::Relative(error) };
            moved(a.log2().into(), NEARLY, a.to_bits(), bound, how)
        }),
        "sin" => unary(d, |a, how| within_one(moved(a.sin().into(), NEARLY, a.to_bits(), angle(a), how))),
        "cos" => unary(d, |a, how| within_one(moved(a.cos().into(), NEARLY, a.to_bits(), angle(a), how))),
        "tanh" => unary(d, |a, how| {
            within_one(moved(f64::from(a).tanh(), 0.0, a.to_bits(), Bound::Relative(2_f64.powi(-11)), how))
        }),
        _ => Err(d.unknown()),
    }
}

/// The bound of a sine or cosine: 2^-20.5 within two turns, 2^-14.7 within a hundred; the ISA says nothing beyond.
fn angle(a: f32) -> Bound {
    const TWO_TURNS: f32 = 2.0 * std::f32::consts::PI;
    Bound::Absolute(if a.abs() <= TWO_TURNS { 6.74e-7 } else { 3.75e-5 })
}

#[inline(always)]
fn within_one(value: f32) -> f32 {
    value.clamp(-1.0, 1.0)
}

/// `ex2.approx` and `tanh.approx` of a 16-bit float, before it is rounded. `mantissa`: bits of its fraction.
pub fn of_half(opcode: &str, mantissa: i32) -> Option<fn(f32, Approximations) -> f32> {
    /// Half a unit of the last place goes to rounding.
    fn power(a: f32, error: f64, rounding: i32, how: Approximations) -> f32 {
        let left = Bound::Relative(error - 2_f64.powi(rounding));
        if a == 0.0 { 1.0 } else { moved(a.exp2().into(), 0.5, a.to_bits(), left, how) }
    }
    Some(match (opcode, mantissa) {
        ("ex2", 10) => |a, how| power(a, 1.046e-3, -11, how), // 2^-9.9
        ("ex2", _) => |a, how| power(a, 7.8e-3, -8, how),     // 2^-7
        // Their bounds, 2^-10.987 and 2^-8, are those of rounding.
        ("tanh", _) => |a, _| a.tanh(),
        _ => return None,
    })
}
