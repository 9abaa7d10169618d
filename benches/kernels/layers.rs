//! The kernels of the embeddings and the encoder.

use kernels::precision::{F32, Precision};
use kernels::*;

use crate::bench::Bench;
use crate::*;

/// The three products of each matrix, in one precision.
pub fn linear<P: Precision>(bench: &mut Bench<'_>, precision: &str)
where
    Cpu: Kernels<P>,
{
    fn activations<P: Precision>(length: usize) -> Vec<P::Activation> {
        values(length).into_iter().map(|value| Real::from_f64(value.into())).collect()
    }
    fn masters<P: Precision>(length: usize) -> Vec<P::Master> {
        values(length).into_iter().map(|value| Real::from_f64(value.into())).collect()
    }
    for (name, rows, inputs, outputs, activation) in [
        ("mapping_in", ROWS, EMBEDDING, HIDDEN, Activation::Identity),
        ("qkv", ROWS, HIDDEN, 3 * HIDDEN, Activation::Identity),
        ("context", ROWS, HIDDEN, HIDDEN, Activation::Identity),
        ("ffn_in", ROWS, HIDDEN, INTERMEDIATE, Activation::GeluNew),
        ("ffn_out", ROWS, INTERMEDIATE, HIDDEN, Activation::Identity),
        ("decoder", MASKED, EMBEDDING, VOCABULARY, Activation::Identity),
    ] {
        let linear = linear::Linear { inputs, outputs, activation };
        let cost = linear.cost(rows, size_of::<P::Activation>());
        let (x, weight) = (activations::<P>(rows * inputs), activations::<P>(outputs * inputs));
        let (mut y, mut u) = (activations::<P>(rows * outputs), activations::<P>(rows * outputs));
        let bias = masters::<P>(outputs);
        bench.kernel(&format!("linear_forward/{name}{precision}"), cost, |cpu| {
            cpu.linear_forward(
                &linear,
                linear::Forward {
                    x: &x,
                    weight: &weight,
                    bias: Some(&bias),
                    preactivation: activation.keeps_preactivation().then_some(&mut u),
                    y: &mut y,
                },
            );
        });
        let (mut dx, store) = (activations::<P>(rows * inputs), Store::Assign);
        bench.kernel(&format!("linear_input_gradient/{name}{precision}"), cost, |cpu| {
            cpu.linear_input_gradient(
                &linear,
                linear::InputGradient { du: &u, weight: &weight, dx: &mut dx, store },
            );
        });
        let (mut d_weight, mut d_bias) = (masters::<P>(outputs * inputs), masters::<P>(outputs));
        bench.kernel(&format!("linear_weight_gradient/{name}{precision}"), cost, |cpu| {
            cpu.linear_weight_gradient(
                &linear,
                linear::WeightGradient { x: &x, du: &u, d_weight: &mut d_weight, d_bias: Some(&mut d_bias) },
            );
        });
    }
}

/// Activation functions and their derivatives.
pub fn activations(bench: &mut Bench<'_>) {
    let elements = ROWS * INTERMEDIATE;
    let (x, dy, mut y) = (values(elements), values(elements), values(elements));
    for function in [Activation::GeluNew, Activation::Gelu, Activation::Tanh] {
        bench.kernel(&format!("activation_forward/{function:?}"), function.cost(elements, 2, SIZE), |cpu| {
            Kernels::<F32>::activation_forward(cpu, &function, activation::Forward { x: &x, y: &mut y });
        });
        bench.kernel(&format!("activation_backward/{function:?}"), function.cost(elements, 3, SIZE), |cpu| {
            Kernels::<F32>::activation_backward(
                cpu,
                &function,
                activation::Backward { saved: &x, dy: Some(&dy), du: &mut y },
            );
        });
    }
}

pub fn attention(bench: &mut Bench<'_>) {
    let (offsets, randomness) = (&offsets(), randomness());
    let (qkv, d_context) = (&values(ROWS * 3 * HIDDEN), &values(ROWS * HIDDEN));
    let (mut context, mut log_sum_exp) = (values(ROWS * HIDDEN), values(ROWS * HEADS));
    let mut d_qkv = values(ROWS * 3 * HIDDEN);
    for (name, dropout) in [("", None), ("/dropout", Some(dropout()))] {
        let attention = attention::Attention { heads: HEADS, head_width: HIDDEN / HEADS, dropout };
        bench.kernel(
            &format!("attention_forward{name}"),
            attention.forward_cost(ROWS, LENGTH, SIZE),
            |cpu| {
                let (context, log_sum_exp) = (&mut context, &mut log_sum_exp);
                Kernels::<F32>::attention_forward(
                    cpu,
                    &attention,
                    attention::Forward { qkv, offsets, randomness, context, log_sum_exp },
                );
            },
        );
        bench.kernel(
            &format!("attention_backward{name}"),
            attention.backward_cost(ROWS, LENGTH, SIZE),
            |cpu| {
                Kernels::<F32>::attention_backward(
                    cpu,
                    &attention,
                    attention::Backward {
                        qkv,
                        offsets,
                        randomness,
                        context: &context,
                        log_sum_exp: &log_sum_exp,
                        d_context,
                        d_qkv: &mut d_qkv,
                    },
                );
            },
        );
    }
}

pub fn normalisation(bench: &mut Bench<'_>) {
    let elements = ROWS * HIDDEN;
    let [x, residual, dy] = [1, 2, 3].map(|_| values(elements));
    let [mut sum, mut y, mut d_sum, mut d_x] = [1, 2, 3, 4].map(|_| values(elements));
    let [gamma, beta, mut d_gamma, mut d_beta] = [1, 2, 3, 4].map(|_| values(HIDDEN));
    let (mut mean, mut rstd) = (values(ROWS), values(ROWS));
    for (name, dropout) in [("", None), ("/dropout", Some(dropout()))] {
        let layer_norm = layer_norm::LayerNorm { width: HIDDEN, epsilon: 1e-12, dropout };
        bench.kernel(&format!("layer_norm_forward{name}"), layer_norm.cost(ROWS, 4, SIZE), |cpu| {
            Kernels::<F32>::layer_norm_forward(
                cpu,
                &layer_norm,
                layer_norm::Forward {
                    x: &x,
                    residual: Some(&residual),
                    gamma: &gamma,
                    beta: &beta,
                    randomness: randomness(),
                    logical_rows: None,
                    sum: Some(&mut sum),
                    mean: &mut mean,
                    rstd: &mut rstd,
                    y: &mut y,
                },
            );
        });
        let operands = if dropout.is_some() { 4 } else { 3 };
        bench.kernel(&format!("layer_norm_backward{name}"), layer_norm.cost(ROWS, operands, SIZE), |cpu| {
            Kernels::<F32>::layer_norm_backward(
                cpu,
                &layer_norm,
                layer_norm::Backward {
                    sum: &sum,
                    mean: &mean,
                    rstd: &rstd,
                    gamma: &gamma,
                    dy: &dy,
                    randomness: randomness(),
                    logical_rows: None,
                    d_sum: &mut d_sum,
                    store: Store::Assign,
                    d_x: dropout.is_some().then_some(&mut d_x),
                    d_gamma: &mut d_gamma,
                    d_beta: &mut d_beta,
                },
            );
        });
    }
    let (dropout, width, randomness) = (dropout(), HIDDEN, randomness());
    let cost = Cost::new(elements, 2 * elements, SIZE);
    bench.kernel("dropout_forward", cost, |cpu| {
        Kernels::<F32>::dropout_forward(
            cpu,
            &dropout,
            dropout::Forward { width, randomness, logical_rows: None, x: &x, y: &mut y },
        );
    });
    bench.kernel("dropout_backward", cost, |cpu| {
        let store = Store::Assign;
        Kernels::<F32>::dropout_backward(
            cpu,
            &dropout,
            dropout::Backward { width, randomness, logical_rows: None, dy: &dy, dx: &mut d_x, store },
        );
    });
}

pub fn embeddings(bench: &mut Bench<'_>) {
    let embedding = embedding::Embedding { width: EMBEDDING };
    let (token_ids, position_ids, segment_ids) =
        (indices(ROWS, VOCABULARY), indices(ROWS, 512), indices(ROWS, 2));
    let mut token_order: Vec<i32> = (0..ROWS as i32).collect();
    token_order.sort_by_key(|&row| token_ids[row as usize]);
    let tables = || [VOCABULARY, 512, 2].map(|height| values(height * EMBEDDING));
    let ([words, positions, segments], mut y) = (tables(), values(ROWS * EMBEDDING));
    bench.kernel("embedding_forward", embedding.cost(ROWS, SIZE), |cpu| {
        let (words, positions, segments) = (&words, &positions, &segments);
        Kernels::<F32>::embedding_forward(
            cpu,
            &embedding,
            embedding::Forward {
                indices: embedding::Indices {
                    tokens: &token_ids,
                    positions: &position_ids,
                    segments: &segment_ids,
                },
                words,
                positions,
                segments,
                y: &mut y,
            },
        );
    });
    let [mut d_words, mut d_positions, mut d_segments] = tables();
    bench.kernel("embedding_backward", embedding.cost(ROWS, SIZE), |cpu| {
        Kernels::<F32>::embedding_backward(
            cpu,
            &embedding,
            embedding::Backward {
                indices: embedding::Indices {
                    tokens: &token_ids,
                    positions: &position_ids,
                    segments: &segment_ids,
                },
                token_order: &token_order,
                dy: &y,
                d_words: &mut d_words,
                d_positions: &mut d_positions,
                d_segments: &mut d_segments,
            },
        );
    });
}
