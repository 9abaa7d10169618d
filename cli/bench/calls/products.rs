//! Matrix products: of each matrix of a model the forward one and the gradients of its input and of its weights.

use anyhow::Result;
use kernels::linear::{Forward, InputGradient, Linear, WeightGradient};
use kernels::{Activation, Kernels, Precision, Store};

use super::{Sizes, Timer, Unit, size};

/// All matrix products.
///
/// # Errors
/// As [`Timer::kernel`].
pub fn products<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let config = &sizes.config;
    let (embedding, hidden, inner) = (config.embedding_size, config.hidden_size, config.intermediate_size);
    let (rows, masked) = (sizes.rows(), sizes.masked);
    let plain = |inputs, outputs| Linear { inputs, outputs, activation: Activation::Identity };
    for (name, rows, linear) in [
        ("embeddings", rows, plain(embedding, hidden)),
        ("qkv", rows, plain(hidden, 3 * hidden)),
        ("context", rows, plain(hidden, hidden)),
        ("ffn_in", rows, Linear { inputs: hidden, outputs: inner, activation: sizes.activation }),
        ("ffn_out", rows, plain(inner, hidden)),
        ("head", masked, plain(hidden, embedding)),
        ("pieces", masked, plain(embedding, config.vocab_size)),
    ] {
        three(timer, name, rows, linear)?;
    }
    Ok(())
}

fn three<B: Kernels<P>, P: Precision>(
    timer: &mut impl Timer<B, P>,
    matrix: &str,
    rows: usize,
    linear: Linear,
) -> Result<()> {
    let Linear { inputs, outputs, activation } = linear;
    let cost = linear.cost(rows, size::<P>());
    let name = |product: &str| format!("{matrix}/{product} {rows} x {inputs} x {outputs}");
    timer.kernel(&name("forward"), Unit::Products, cost, |on| {
        let (x, weight) = (on.activations(rows * inputs)?, on.activations(outputs * inputs)?);
        let (mut y, bias) = (on.activations(rows * outputs)?, on.masters(outputs)?);
        let kept = activation.keeps_preactivation().then(|| on.activations(rows * outputs));
        let mut kept = kept.transpose()?;
        Ok(move |backend: &B| {
            let operands = Forward {
                x: x.read(),
                weight: weight.read(),
                bias: Some(bias.read()),
                preactivation: kept.as_mut().map(|kept| kept.write()),
                y: y.write(),
            };
            backend.linear_forward(&linear, operands);
        })
    })?;
    timer.kernel(&name("input"), Unit::Products, cost, |on| {
        let (du, weight) = (on.activations(rows * outputs)?, on.activations(outputs * inputs)?);
        let mut dx = on.activations(rows * inputs)?;
        Ok(move |backend: &B| {
            let (du, weight, dx) = (du.read(), weight.read(), dx.write());
            backend.linear_input_gradient(&linear, InputGradient { du, weight, dx, store: Store::Assign });
        })
    })?;
    timer.kernel(&name("weights"), Unit::Products, cost, |on| {
        let (x, du) = (on.activations(rows * inputs)?, on.activations(rows * outputs)?);
        let (mut d_weight, mut d_bias) = (on.masters(outputs * inputs)?, on.masters(outputs)?);
        Ok(move |backend: &B| {
            let (x, du, d_weight) = (x.read(), du.read(), d_weight.write());
            let operands = WeightGradient { x, du, d_weight, d_bias: Some(d_bias.write()) };
            backend.linear_weight_gradient(&linear, operands);
        })
    })
}
