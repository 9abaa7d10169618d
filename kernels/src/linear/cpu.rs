//! See the parent module.

use super::{AfterActivation, Forward, InputGradient, Linear, PreactivationGradient, WeightGradient};
use crate::activation::cpu::add_bias_and_activate;
use crate::cpu::CpuPrecision;
use crate::cpu::gemm::{Matrix, gemm};
use crate::cpu::threads::Pieces;
use crate::memory::Host;
use crate::{Activation, Cpu, Store, activation};

/// See [`super`]. Bias and activation are applied to a block of the product while it is in the cache.
pub fn forward<P: CpuPrecision>(cpu: &Cpu, linear: &Linear, operands: Forward<'_, Host, P>) {
    let Linear { inputs, outputs, activation } = *linear;
    let Forward { x, weight, bias, preactivation, y } = operands;
    let (x, weight) = (Matrix::new(x, inputs), Matrix::new(weight, inputs).transpose());
    let bias_of = |columns: std::ops::Range<usize>| bias.map(|bias| &bias[columns]);
    match preactivation {
        Some(u) => {
            let y = Pieces::new(y);
            gemm(cpu, x, weight, u, Store::Assign, None, |row, columns, u| {
                // SAFETY: where this piece of u is, and as that it belongs to one task.
                let y = unsafe { y.piece(row * outputs + columns.start..row * outputs + columns.end) };
                add_bias_and_activate(cpu.token(), activation, bias_of(columns), u, Some(y));
            });
        }
        None => gemm(cpu, x, weight, y, Store::Assign, None, |_, columns, u: &mut [f32]| {
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
    gemm(cpu, du, weight, dx, store, None, |_, _, _| ());
}

/// See [`super`]. Two passes: within the product the derivative was slower.
pub fn preactivation_gradient<P: CpuPrecision>(
    cpu: &Cpu,
    constants: &AfterActivation,
    operands: PreactivationGradient<'_, Host, P>,
) {
    let PreactivationGradient { dy, weight, saved, du } = operands;
    let dx = &mut du[..];
    input_gradient::<P>(cpu, &constants.linear, InputGradient { du: dy, weight, dx, store: Store::Assign });
    activation::cpu::backward::<P>(cpu, &constants.activation, activation::Backward { saved, dy: None, du });
}

/// See [`super`]. What a bias gets of du is added up while du is packed.
pub fn weight_gradient<P: CpuPrecision>(cpu: &Cpu, linear: &Linear, operands: WeightGradient<'_, Host, P>) {
    let WeightGradient { x, du, d_weight, d_bias } = operands;
    let (x, du) = (Matrix::new(x, linear.inputs), Matrix::new(du, linear.outputs));
    gemm(cpu, du.transpose(), x, d_weight, Store::Add, d_bias, |_, _, _| ());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kernels;
    use crate::cpu::Isa;
    use crate::cpu::simd::Stored;
    use crate::cpu::sums::add_column_sums;
    use crate::precision::{Bf16, F32};
    use crate::random::{Philox, unit};

    /// Rows, inputs and outputs: a number, no whole tiles, many of them, and depths of more than one step.
    const SHAPES: [[usize; 3]; 5] =
        [[1, 1, 1], [7, 33, 20], [23, 205, 71], [130, 321, 1100], [1050, 70, 230]];

    fn numbers<A: Stored>(count: usize, seed: u64) -> Vec<A> {
        let philox = Philox::new(seed, 0);
        (0..count as u64).map(|i| A::narrow((6.0 * unit(philox.word(0, i)) - 3.0) as f32)).collect()
    }

    fn bits<A: Stored>(numbers: &[A]) -> Vec<u64> {
        numbers.iter().map(|number| number.to_f64().to_bits()).collect()
    }

    fn cpus() -> impl Iterator<Item = Cpu> {
        let cpu = |isa, threads| Cpu::new(Some(threads), Some(isa)).expect("available");
        Isa::available().flat_map(move |isa| [1, 3].map(|threads| cpu(isa, threads)))
    }

    fn check_bias<P: CpuPrecision>() {
        for [rows, inputs, outputs] in SHAPES {
            let [x, du] =
                [rows * inputs, rows * outputs].map(|count| numbers::<P::Activation>(count, count as u64));
            let linear = Linear { inputs, outputs, activation: Activation::Identity };
            for cpu in cpus() {
                let before: Vec<f32> = numbers(outputs, 5);
                let mut expected = before.clone();
                add_column_sums(&cpu, &du, outputs, &mut expected);
                let (mut d_bias, mut d_weight) = (before, vec![0.0; outputs * inputs]);
                let (d_weight, d_bias_mut) = (&mut d_weight[..], Some(&mut d_bias[..]));
                let operands = WeightGradient { x: &x[..], du: &du[..], d_weight, d_bias: d_bias_mut };
                Kernels::<P>::linear_weight_gradient(&cpu, &linear, operands);
                assert!(bits(&d_bias) == bits(&expected), "[{rows}, {outputs}] on {}", cpu.isa());
            }
        }
    }

    #[test]
    fn a_bias_gets_the_rows_of_du_in_their_order() {
        check_bias::<F32>();
        check_bias::<Bf16>();
    }
}
