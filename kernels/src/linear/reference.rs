//! The mathematics of the linear map.

use super::{AfterActivation, Forward, InputGradient, Linear, PreactivationGradient, WeightGradient};
use crate::memory::Host;
use crate::precision::F64;
use crate::{Store, activation};

/// `u = x · Wᵀ + b`, `y = f(u)`
pub fn forward(linear: &Linear, operands: Forward<'_, Host, F64>) {
    let Forward { x, weight, bias, mut preactivation, y } = operands;
    let &Linear { inputs, outputs, activation } = linear;
    for row in 0..y.len() / outputs {
        for o in 0..outputs {
            let mut u = bias.map_or(0.0, |bias| bias[o]);
            for i in 0..inputs {
                u += x[row * inputs + i] * weight[o * inputs + i];
            }
            if let Some(preactivation) = &mut preactivation {
                preactivation[row * outputs + o] = u;
            }
            y[row * outputs + o] = activation.value(u);
        }
    }
}

/// `dx = du · W`
pub fn input_gradient(linear: &Linear, operands: InputGradient<'_, Host, F64>) {
    let InputGradient { du, weight, dx, store } = operands;
    let &Linear { inputs, outputs, .. } = linear;
    let mut sums = vec![0.0; inputs];
    for row in 0..dx.len() / inputs {
        sums.fill(0.0);
        for o in 0..outputs {
            for i in 0..inputs {
                sums[i] += du[row * outputs + o] * weight[o * inputs + i];
            }
        }
        for i in 0..inputs {
            store.put(&mut dx[row * inputs + i], sums[i]);
        }
    }
}

/// `du = (dy · W) ∘ f'(u)`
pub fn preactivation_gradient(constants: &AfterActivation, operands: PreactivationGradient<'_, Host, F64>) {
    let PreactivationGradient { dy, weight, saved, du } = operands;
    let product = InputGradient { du: dy, weight, dx: &mut *du, store: Store::Assign };
    input_gradient(&constants.linear, product);
    activation::reference::backward(&constants.activation, activation::Backward { saved, dy: None, du });
}

/// `dW += duᵀ · x`, `db += Σ_rows du`
pub fn weight_gradient(linear: &Linear, operands: WeightGradient<'_, Host, F64>) {
    let WeightGradient { x, du, d_weight, mut d_bias } = operands;
    let &Linear { inputs, outputs, .. } = linear;
    for row in 0..du.len() / outputs {
        for o in 0..outputs {
            let gradient = du[row * outputs + o];
            for i in 0..inputs {
                d_weight[o * inputs + i] += gradient * x[row * inputs + i];
            }
            if let Some(d_bias) = &mut d_bias {
                d_bias[o] += gradient;
            }
        }
    }
}
