//! The kernels of the embeddings and the encoder.

use kernels::*;

use crate::bench::Bench;
use crate::*;

pub fn linear(bench: &mut Bench<'_>) {
    for (name, rows, inputs, outputs, activation) in [
        ("mapping_in", ROWS, EMBEDDING, HIDDEN, Activation::Identity),
        ("qkv", ROWS, HIDDEN, 3 * HIDDEN, Activation::Identity),
        ("context", ROWS, HIDDEN, HIDDEN, Activation::Identity),
        ("ffn_in", ROWS, HIDDEN, INTERMEDIATE, Activation::GeluNew),
        ("ffn_out", ROWS, INTERMEDIATE, HIDDEN, Activation::Identity),
        ("decoder", MASKED, EMBEDDING, VOCABULARY, Activation::Identity),
    ] {
        let linear = linear::Linear { inputs, outputs, activation };
        let cost = linear.cost(rows, F32);
        let (x, weight, bias) = (values(rows * inputs), values(outputs * inputs), values(outputs));
        let (mut y, mut u) = (values(rows * outputs), values(rows * outputs));
        bench.kernel(&format!("linear_forward/{name}"), cost, |cpu| {
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
        let (mut dx, store) = (values(rows * inputs), Store::Assign);
        bench.kernel(&format!("linear_input_gradient/{name}"), cost, |cpu| {
            cpu.linear_input_gradient(
                &linear,
                linear::InputGradient { du: &u, weight: &weight, dx: &mut dx, store },
            );
        });
        let (mut d_weight, mut d_bias) = (values(outputs * inputs), values(outputs));
        bench.kernel(&format!("linear_weight_gradient/{name}"), cost, |cpu| {
            cpu.linear_weight_gradient(
                &linear,
                linear::WeightGradient { x: &x, du: &u, d_weight: &mut d_weight, d_bias: Some(&mut d_bias) },
            );
        });
    }
    let elements = ROWS * INTERMEDIATE;
    let (x, dy, mut y) = (values(elements), values(elements), values(elements));
    for function in [Activation::GeluNew, Activation::Gelu, Activation::Tanh] {
        bench.kernel(&format!("activation_forward/{function:?}"), function.cost(elements, 2, F32), |cpu| {
            cpu.activation_forward(&function, activation::Forward { x: &x, y: &mut y });
        });
        bench.kernel(&format!("activation_backward/{function:?}"), function.cost(elements, 3, F32), |cpu| {
            cpu.activation_backward(&function, activation::Backward { saved: &x, dy: &dy, du: &mut y });
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
        bench.kernel(&format!("attention_forward{name}"), attention.forward_cost(ROWS, LENGTH, F32), |cpu| {
            let (context, log_sum_exp) = (&mut context, &mut log_sum_exp);
            cpu.attention_forward(
                &attention,
                attention::Forward { qkv, offsets, randomness, context, log_sum_exp },
            );
        });
        bench.kernel(
            &format!("attention_backward{name}"),
            attention.backward_cost(ROWS, LENGTH, F32),
            |cpu| {
                cpu.attention_backward(
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
    let (mut mean, mut reciprocal_deviation) = (values(ROWS), values(ROWS));
    for (name, dropout) in [("", None), ("/dropout", Some(dropout()))] {
        let layer_norm = layer_norm::LayerNorm { width: HIDDEN, epsilon: 1e-12, dropout };
        bench.kernel(&format!("layer_norm_forward{name}"), layer_norm.cost(ROWS, 4, F32), |cpu| {
            cpu.layer_norm_forward(
                &layer_norm,
                layer_norm::Forward {
                    x: &x,
                    residual: Some(&residual),
                    gamma: &gamma,
                    beta: &beta,
                    randomness: randomness(),
                    sum: Some(&mut sum),
                    mean: &mut mean,
                    reciprocal_deviation: &mut reciprocal_deviation,
                    y: &mut y,
                },
            );
        });
        let operands = if dropout.is_some() { 4 } else { 3 };
        bench.kernel(&format!("layer_norm_backward{name}"), layer_norm.cost(ROWS, operands, F32), |cpu| {
            cpu.layer_norm_backward(
                &layer_norm,
                layer_norm::Backward {
                    sum: &sum,
                    mean: &mean,
                    reciprocal_deviation: &reciprocal_deviation,
                    gamma: &gamma,
                    dy: &dy,
                    randomness: randomness(),
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
    let cost = Cost::new(elements, 2 * elements, F32);
    bench.kernel("dropout_forward", cost, |cpu| {
        cpu.dropout_forward(&dropout, dropout::Forward { width, randomness, x: &x, y: &mut y });
    });
    bench.kernel("dropout_backward", cost, |cpu| {
        let store = Store::Assign;
        cpu.dropout_backward(&dropout, dropout::Backward { width, randomness, dy: &dy, dx: &mut d_x, store });
    });
}

pub fn embeddings(bench: &mut Bench<'_>) {
    let embedding = embedding::Embedding { width: EMBEDDING };
    let (tokens, positions, segments) = (indices(ROWS, VOCABULARY), indices(ROWS, 512), indices(ROWS, 2));
    let indices = embedding::Indices { tokens: &tokens, positions: &positions, segments: &segments };
    let mut token_order: Vec<i32> = (0..ROWS as i32).collect();
    token_order.sort_by_key(|&row| tokens[row as usize]);
    let tables = || [VOCABULARY, 512, 2].map(|height| values(height * EMBEDDING));
    let ([words, positions, segments], mut y) = (tables(), values(ROWS * EMBEDDING));
    bench.kernel("embedding_forward", embedding.cost(ROWS, F32), |cpu| {
        let (words, positions, segments) = (&words, &positions, &segments);
        cpu.embedding_forward(
            &embedding,
            embedding::Forward { indices, words, positions, segments, y: &mut y },
        );
    });
    let [mut d_words, mut d_positions, mut d_segments] = tables();
    bench.kernel("embedding_backward", embedding.cost(ROWS, F32), |cpu| {
        cpu.embedding_backward(
            &embedding,
            embedding::Backward {
                indices,
                token_order: &token_order,
                dy: &y,
                d_words: &mut d_words,
                d_positions: &mut d_positions,
                d_segments: &mut d_segments,
            },
        );
    });
}
