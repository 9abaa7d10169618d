//! See the parent module.

use super::{Activation, Backward, Forward};
use crate::Cpu;
use crate::cpu::CpuPrecision;
use crate::cpu::math;
use crate::cpu::simd::{Floats, Simd, kernel};
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;

/// √(2/π), and the cube's factor inside the tanh form of GELU.
const ROOT_2_OVER_PI: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// See [`super`].
pub fn forward<P: CpuPrecision>(cpu: &Cpu, activation: &Activation, operands: Forward<'_, Host, P>) {
    let (x, y) = (operands.x, Pieces::new(operands.y));
    cpu.for_each_range(Grid::of_elements(x.len(), 1), |_, range| {
        // SAFETY: every range belongs to one task.
        values(cpu.token(), *activation, &x[range.clone()], unsafe { y.piece(range) });
    });
}

/// See [`super`].
pub fn backward<P: CpuPrecision>(cpu: &Cpu, activation: &Activation, operands: Backward<'_, Host, P>) {
    let (saved, dy, du) = (operands.saved, operands.dy, Pieces::new(operands.du));
    cpu.for_each_range(Grid::of_elements(saved.len(), 1), |_, range| {
        // SAFETY: every range belongs to one task.
        let du = unsafe { du.piece(range.clone()) };
        derivatives(cpu.token(), *activation, &saved[range.clone()], dy.map(|dy| &dy[range]), du);
    });
}

kernel! {
    fn values<S, A>(simd, activation: Activation, x: &[A], y: &mut [A]) {
        for at in (0..x.len()).step_by(S::LANES) {
            value(simd, activation, simd.load(&x[at..])).store(&mut y[at..]);
        }
    }
}

kernel! {
    /// `u += bias`, then `f(u)` to `y` or, if there is no `y`, in place.
    pub(crate) fn add_bias_and_activate<S, A>(
        simd, activation: Activation, bias: Option<&[f32]>, u: &mut [f32], y: Option<&mut [A]>,
    ) {
        if let Some(bias) = bias {
            for at in (0..u.len()).step_by(S::LANES) {
                (simd.load(&u[at..]) + simd.load(&bias[at..])).store(&mut u[at..]);
            }
        }
        match y {
            Some(y) => {
                for at in (0..u.len()).step_by(S::LANES) {
                    value(simd, activation, simd.load(&u[at..])).store(&mut y[at..]);
                }
            }
            None if activation == Activation::Identity => {}
            None => {
                for at in (0..u.len()).step_by(S::LANES) {
                    value(simd, activation, simd.load(&u[at..])).store(&mut u[at..]);
                }
            }
        }
    }
}

kernel! {
    /// `du = dy · f'(u)`; du takes the place of dy where there is none.
    fn derivatives<S, A>(simd, activation: Activation, saved: &[A], dy: Option<&[A]>, du: &mut [A]) {
        for at in (0..du.len()).step_by(S::LANES) {
            let slope = derivative(simd, activation, simd.load(&saved[at..]));
            (simd.load(&dy.unwrap_or(&*du)[at..]) * slope).store(&mut du[at..]);
        }
    }
}

/// f(x)
#[inline(always)]
fn value<S: Simd>(simd: S, activation: Activation, x: S::F32) -> S::F32 {
    match activation {
        Activation::Identity => x,
        Activation::Gelu => x * normal_distribution(simd, x),
        // ½(1 + tanh u) = 1 / (1 + e⁻²ᵘ), which needs no tanh and keeps its digits where it is small.
        Activation::GeluNew => {
            let inner = (x * x).mul_add(simd.splat(CUBE), simd.splat(1.0)) * x;
            x * math::sigmoid(simd, inner * simd.splat(2.0 * ROOT_2_OVER_PI))
        }
        Activation::Relu => x.max(simd.splat(0.0)),
        Activation::Tanh => math::tanh(simd, x),
    }
}

/// f' from x or f(x): see [`Activation::keeps_preactivation`].
#[inline(always)]
fn derivative<S: Simd>(simd: S, activation: Activation, saved: S::F32) -> S::F32 {
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    match activation {
        Activation::Identity => one,
        Activation::Gelu => {
            const DENSITY_AT_0: f32 = 0.398_942_3; // 1 / √(2π)
            let density = math::exp(simd, saved * saved * simd.splat(-0.5)) * simd.splat(DENSITY_AT_0);
            saved.mul_add(density, normal_distribution(simd, saved))
        }
        // s + x · s(1 − s) · 2u' with s = 1 / (1 + e⁻²ᵘ); with the small one of e²ᵘ and e⁻²ᵘ, 1 − s keeps its digits.
        // Beyond 16 the derivative is 0 or 1 to the last digit; its factors would become 0 · ∞.
        Activation::GeluNew => {
            let saved = saved.max(simd.splat(-16.0)).min(simd.splat(16.0));
            let square = saved * saved;
            let two_u = square.mul_add(simd.splat(CUBE), one) * saved * simd.splat(2.0 * ROOT_2_OVER_PI);
            let two_u_slope = square.mul_add(simd.splat(3.0 * CUBE), one) * simd.splat(2.0 * ROOT_2_OVER_PI);
            let small = math::exp(simd, zero - two_u.abs());
            let t = one / (one + small);
            let s = S::F32::select(two_u.less(zero), small * t, t);
            (saved * two_u_slope * small * t).mul_add(t, s)
        }
        Activation::Relu => S::F32::select(zero.less(saved), one, zero),
        Activation::Tanh => one - saved * saved,
    }
}

/// Φ(x) = ½(1 + erf(x / √2))
#[inline(always)]
fn normal_distribution<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let half = simd.splat(0.5);
    math::erf(simd, x * simd.splat(std::f32::consts::FRAC_1_SQRT_2)).mul_add(half, half)
}
