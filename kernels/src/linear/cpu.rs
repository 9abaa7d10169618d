//! See the parent module.

use super::{Forward, InputGradient, Linear, WeightGradient};
use crate::activation::cpu::add_bias_and_activate;
use crate::cpu::CpuPrecision;
use crate::cpu::gemm::{Matrix, gemm};
use crate::cpu::sums::add_column_sums;
use crate::cpu::threads::Pieces;
use crate::memory::Host;
use crate::{Activation, Cpu, Store};

/// See [`super`]. Bias and activation are applied to a block of the product while it is in the cache.
pub fn forward<P: CpuPrecision>(cpu: &Cpu, linear: &Linear, operands: Forward<'_, Host, P>) {
    let Linear { inputs, outputs, activation } = *linear;
    let Forward { x, weight, bias, preactivation, y } = operands;
    let (x, weight) = (Matrix::new(x, inputs), Matrix::new(weight, inputs).transpose());
    let bias_of = |columns: std::ops::Range<usize>| bias.map(|bias| &bias[columns]);
    match preactivation {
        Some(u) => {
            let y = Pieces::new(y);
            gemm(cpu, x, weight, u, Store::Assign, |row, columns, u| {
                // SAFETY: where this piece of u is, and as that it belongs to one task.
                let y = unsafe { y.piece(row * outputs + columns.start..row * outputs + columns.end) };
                add_bias_and_activate(cpu.token(), activation, bias_of(columns), u, Some(y));
            });
        }
        None => gemm(cpu, x, weight, y, Store::Assign, |_, columns, u: &mut [f32]| {
            if bias.is_some() || activation != Activation::Identity {
                add_bias_and_activate(cpu.token(), activation, bias_of(columns), u, None::<&mut [f32]>);
            }
        }),
    }
}

/// See [`super`].
pub fn input_gradient<P: CpuPrecision>(cpu: &Cpu, linear: &Linear, operands: InputGradient<'_, Host, P>) {
    let InputGradient { du, weight, dx, store } = operands;
    let (du, weight) = (Matrix::new(du, linear.outputs), Matrix::new(weight, linear.inputs));
    gemm(cpu, du, weight, dx, store, |_, _, _| ());
}

/// See [`super`].
pub fn weight_gradient<P: CpuPrecision>(cpu: &Cpu, linear: &Linear, operands: WeightGradient<'_, Host, P>) {
    let WeightGradient { x, du, d_weight, d_bias } = operands;
    if let Some(d_bias) = d_bias {
        add_column_sums(cpu, du, linear.outputs, d_bias);
    }
    let (x, du) = (Matrix::new(x, linear.inputs), Matrix::new(du, linear.outputs));
    gemm(cpu, du.transpose(), x, d_weight, Store::Add, |_, _, _| ());
}
