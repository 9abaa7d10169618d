//! Arithmetic in `f32` and `f64`.
//!
//! [`super::approximate`] has the `.approx` functions. NaN payloads are the host's.

use super::super::PtxError;
use super::super::decode::{Decoding, lanes};
use super::super::operation::Operation;
use super::super::registers::{LANES, Value};
use super::super::types::Type;
use super::exact::{Exact, Rounding};

pub fn decode(d: &mut Decoding, kind: Type) -> Result<Operation, PtxError> {
    match kind {
        Type::F32 => single(d),
        Type::F64 => double(d),
        _ => Err(d.unknown()),
    }
}

/// A subnormal number becomes zero of its sign.
#[inline(always)]
pub fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0_f32.copysign(value) } else { value }
}

/// Clamped to 0..=1; NaN becomes 0.
#[inline(always)]
pub fn saturate(value: f32) -> f32 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

/// What modifiers do to operands and results.
#[derive(Clone, Copy)]
pub struct Modes {
    rounding: Rounding,
    flush: bool,
    saturate: bool,
}

impl Modes {
    fn take(d: &mut Decoding) -> Modes {
        Modes { rounding: rounding(d), flush: d.take("ftz"), saturate: d.take("sat") }
    }

    fn plain(self) -> bool {
        self.rounding == Rounding::Nearest && !self.flush && !self.saturate
    }

    /// What the instruction sees of an operand.
    #[inline(always)]
    pub fn operand(self, value: f32) -> f32 {
        if self.flush { flush(value) } else { value }
    }

    /// What it makes of a result.
    #[inline(always)]
    pub fn result(self, value: f32) -> f32 {
        let value = self.operand(value);
        if self.saturate { saturate(value) } else { value }
    }

    fn round(self, exact: Exact) -> f32 {
        self.result(exact.round(self.rounding))
    }

    fn unary(
        self,
        d: &mut Decoding,
        f: impl Fn(f32) -> f32 + Copy + Send + Sync + 'static,
    ) -> Result<Operation, PtxError> {
        if self.rounding != Rounding::Nearest {
            return Err(d.unknown());
        }
        if self.plain() { d.unary(f) } else { d.unary(move |a| self.result(f(self.operand(a)))) }
    }
}

/// The rounding mode among the modifiers; to nearest without one.
pub fn rounding(d: &mut Decoding) -> Rounding {
    d.choose(&[
        ("rn", Rounding::Nearest),
        ("rz", Rounding::Zero),
        ("rm", Rounding::Down),
        ("rp", Rounding::Up),
    ])
    .unwrap_or(Rounding::Nearest)
}

/// The lesser number; -0 is below +0, and a NaN loses unless `propagate`.
macro_rules! least {
    ($a:expr, $b:expr, $propagate:expr) => {{
        let (a, b) = ($a, $b);
        if a.is_nan() {
            if $propagate { a } else { b }
        } else if b.is_nan() {
            if $propagate { b } else { a }
        } else if a < b || (a == b && a.is_sign_negative()) {
            a
        } else {
            b
        }
    }};
}

/// The lesser of two `f32`.
#[inline(always)]
pub fn minimum(a: f32, b: f32, propagate: bool) -> f32 {
    canonical(least!(a, b, propagate))
}

/// The greater of two `f32`.
#[inline(always)]
pub fn maximum(a: f32, b: f32, propagate: bool) -> f32 {
    canonical(-least!(-a, -b, propagate))
}

/// The NaN that hardware gives, for any.
#[inline(always)]
fn canonical(value: f32) -> f32 {
    if value.is_nan() { f32::from_bits(0x7fff_ffff) } else { value }
}

fn single(d: &mut Decoding) -> Result<Operation, PtxError> {
    let (approximate, full_range) = (d.take("approx"), d.take("full"));
    let modes = Modes::take(d);
    if approximate || full_range {
        return if modes.rounding == Rounding::Nearest {
            super::approximate::decode(d, modes, full_range)
        } else {
            Err(d.unknown())
        };
    }
    let exact = move |value: f32| f64::from(modes.operand(value));
    match (d.instruction.opcode, modes.plain()) {
        ("add", true) => d.binary(|a: f32, b: f32| a + b),
        ("sub", true) => d.binary(|a: f32, b: f32| a - b),
        ("mul", true) => d.binary(|a: f32, b: f32| a * b),
        ("div", true) => d.binary(|a: f32, b: f32| a / b),
        ("fma" | "mad", true) => {
            d.operands(4)?;
            let target = d.target::<f32>(0)?;
            let [a, b, c] = [d.source::<f32>(1)?, d.source::<f32>(2)?, d.source::<f32>(3)?];
            Ok(lanes(move |machine, mask| {
                let registers = &mut *machine.registers;
                let column = |slot| f32::column(registers, slot);
                let new = multiply_add(column(a), column(b), column(c));
                f32::merge(f32::column_mut(registers, target), new, mask);
            }))
        }
        ("add", _) => d.binary(move |a, b| modes.round(Exact::sum(exact(a), exact(b)))),
        ("sub", _) => d.binary(move |a, b| modes.round(Exact::sum(exact(a), -exact(b)))),
        ("mul", _) => d.binary(move |a, b| modes.round(Exact::new(exact(a) * exact(b)))),
        ("div", _) => d.binary(move |a, b| modes.round(Exact::quotient(exact(a), exact(b)))),
        ("fma" | "mad", _) => {
            d.ternary(move |a, b, c| modes.round(Exact::product_sum(exact(a), exact(b), exact(c))))
        }
        ("sqrt", false) if modes.rounding != Rounding::Nearest => {
            d.unary(move |a| modes.round(Exact::root(exact(a))))
        }
        ("rcp", false) if modes.rounding != Rounding::Nearest => {
            d.unary(move |a| modes.round(Exact::quotient(1.0, exact(a))))
        }
        ("min", _) => {
            let propagate = d.take("NaN");
            d.binary(move |a, b| modes.result(minimum(modes.operand(a), modes.operand(b), propagate)))
        }
        ("max", _) => {
            let propagate = d.take("NaN");
            d.binary(move |a, b| modes.result(maximum(modes.operand(a), modes.operand(b), propagate)))
        }
        // PTX: the sign comes from the first operand.
        ("copysign", _) => d.binary(|a: f32, b: f32| b.copysign(a)),
        ("abs", _) => modes.unary(d, f32::abs),
        ("neg", _) => modes.unary(d, |a| -a),
        ("sqrt", _) => modes.unary(d, f32::sqrt),
        ("rcp", _) => modes.unary(d, |a| 1.0 / a),
        _ => Err(d.unknown()),
    }
}

/// `a * b + c` in every lane, rounded once.
fn multiply_add(a: &[u32; LANES], b: &[u32; LANES], c: &[u32; LANES]) -> [u32; LANES] {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has both, as it has just said.
        return unsafe { multiply_add_fma(a, b, c) };
    }
    multiply_add_anywhere(a, b, c)
}

/// With the processor's own instruction, where every lane would call a library otherwise: this is what kernels do most.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_add_fma(a: &[u32; LANES], b: &[u32; LANES], c: &[u32; LANES]) -> [u32; LANES] {
    multiply_add_anywhere(a, b, c)
}

#[inline(always)]
fn multiply_add_anywhere(a: &[u32; LANES], b: &[u32; LANES], c: &[u32; LANES]) -> [u32; LANES] {
    std::array::from_fn(|lane| {
        let [a, b, c] = [a[lane], b[lane], c[lane]].map(f32::from_bits);
        a.mul_add(b, c).to_bits()
    })
}

fn double(d: &mut Decoding) -> Result<Operation, PtxError> {
    // `rcp.approx.ftz.f64` and `rsqrt.approx.ftz.f64` give some twenty bits; the value here has all.
    if d.take("approx") {
        d.ignore(&["ftz"]);
    }
    if rounding(d) != Rounding::Nearest {
        return Err(d.unknown());
    }
    match d.instruction.opcode {
        "add" => d.binary(|a: f64, b: f64| a + b),
        "sub" => d.binary(|a: f64, b: f64| a - b),
        "mul" => d.binary(|a: f64, b: f64| a * b),
        "div" => d.binary(|a: f64, b: f64| a / b),
        "fma" | "mad" => d.ternary(f64::mul_add),
        "min" => d.binary(|a: f64, b: f64| least!(a, b, false)),
        "max" => d.binary(|a: f64, b: f64| -least!(-a, -b, false)),
        "abs" => d.unary(f64::abs),
        "neg" => d.unary(|a: f64| -a),
        "sqrt" => d.unary(f64::sqrt),
        "rcp" => d.unary(|a: f64| 1.0 / a),
        "rsqrt" => d.unary(|a: f64| 1.0 / a.sqrt()),
        "copysign" => d.binary(|a: f64, b: f64| b.copysign(a)),
        _ => Err(d.unknown()),
    }
}
