//! The mathematics of the activation functions.

use crate::memory::Host;
use crate::precision::F64;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::Activation;
use super::erf::erf;

/// √(2/π), the slope inside GELU's tanh form.
const SLOPE: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// The cubic coefficient inside GELU's tanh form.
const CUBIC: f64 = 0.044715;

impl Activation {
    /// f(x)
    pub fn value(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Gelu => x * normal_distribution(x),
            Self::GeluNew => 0.5 * x * (1.0 + (SLOPE * (x + CUBIC * x.powi(3))).tanh()),
            // Not `max`, which would make 0 of NaN.
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::Tanh => x.tanh(),
        }
    }

    /// f'(u), computed from u if [`Activation::keeps_preactivation`], otherwise from f(u).
    pub fn derivative(self, saved: f64) -> f64 {
        match self {
            Self::Identity => 1.0,
            Self::Gelu => normal_distribution(saved) + saved * normal_density(saved),
            Self::GeluNew => {
                let t = (SLOPE * (saved + CUBIC * saved.powi(3))).tanh();
                0.5 * (1.0 + t) + 0.5 * saved * (1.0 - t * t) * SLOPE * (1.0 + 3.0 * CUBIC * saved.powi(2))
            }
            Self::Relu => f64::from(saved > 0.0),
            Self::Tanh => 1.0 - saved * saved,
        }
    }
}

/// Φ(x) = ½(1 + erf(x/√2))
fn normal_distribution(x: f64) -> f64 {
    0.5 * (1.0 + erf(x * FRAC_1_SQRT_2))
}

/// φ(x) = exp(−x²/2) / √(2π)
fn normal_density(x: f64) -> f64 {
    0.5 * SLOPE * (-0.5 * x * x).exp()
}

/// `y = f(x)`
pub fn forward(activation: &Activation, operands: super::Forward<'_, Host, F64>) {
    for (y, &x) in operands.y.iter_mut().zip(operands.x) {
        *y = activation.value(x);
    }
}

/// `du = dy · f'(u)`
pub fn backward(activation: &Activation, operands: super::Backward<'_, Host, F64>) {
    let super::Backward { saved, dy, du } = operands;
    for i in 0..du.len() {
        du[i] = dy.map_or(du[i], |dy| dy[i]) * activation.derivative(saved[i]);
    }
}
