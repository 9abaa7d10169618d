//! The kernels of embeddings and encoder but its matrix products.

use anyhow::Result;
use kernels::attention::{self, Attention};
use kernels::dropout::{self, Dropout};
use kernels::embedding::{self, Embedding};
use kernels::layer_norm::{self, LayerNorm};
use kernels::{Activation, Cost, Kernels, Precision, Store, activation};

use super::operands::token;
use super::{Sizes, Timer, Unit, size};

/// All of them, with dropout where the model has it.
pub fn all<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    embeddings(timer, sizes)?;
    attentions(timer, sizes)?;
    norms(timer, sizes)?;
    activations(timer, sizes)?;
    dropouts(timer, sizes)
}

fn coins(probability: f64) -> Option<Dropout> {
    (probability > 0.0).then_some(Dropout { probability: probability as f32, stream: 1 })
}

fn embeddings<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let (rows, length, config) = (sizes.rows(), sizes.length, &sizes.config);
    let (width, vocabulary) = (config.embedding_size, config.vocab_size);
    let heights = [vocabulary, config.max_position_embeddings, config.type_vocab_size];
    let (constants, second) = (Embedding { width }, config.type_vocab_size - 1);
    let cost = constants.cost(rows, size::<P>());
    let segment = |row: usize| if row % length > length / 2 { second } else { 0 };
    timer.kernel("embedding_forward", Unit::Single, cost, |on| {
        let tokens = on.indices(rows, |row| token(row, vocabulary))?;
        let (positions, segments) = (on.indices(rows, |row| row % length)?, on.indices(rows, segment)?);
        let [words, places, sentences] = heights.map(|height| on.masters(height * width));
        let (words, places, sentences, mut y) = (words?, places?, sentences?, on.activations(rows * width)?);
        Ok(move |backend: &B| {
            let (tokens, positions, segments) = (tokens.read(), positions.read(), segments.read());
            let operands = embedding::Forward {
                indices: embedding::Indices { tokens, positions, segments },
                words: words.read(),
                positions: places.read(),
                segments: sentences.read(),
                y: y.write(),
            };
            backend.embedding_forward(&constants, operands);
        })
    })?;
    timer.kernel("embedding_backward", Unit::Single, cost, |on| {
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_by_key(|&row| token(row, vocabulary));
        let tokens = on.indices(rows, |row| token(row, vocabulary))?;
        let (positions, segments) = (on.indices(rows, |row| row % length)?, on.indices(rows, segment)?);
        let token_order = on.indices(rows, |index| order[index])?;
        let [words, places, sentences] = heights.map(|height| on.masters(height * width));
        let (mut words, mut places, mut sentences) = (words?, places?, sentences?);
        let dy = on.activations(rows * width)?;
        Ok(move |backend: &B| {
            let (tokens, positions, segments) = (tokens.read(), positions.read(), segments.read());
            let operands = embedding::Backward {
                indices: embedding::Indices { tokens, positions, segments },
                token_order: token_order.read(),
                dy: dy.read(),
                d_words: words.write(),
                d_positions: places.write(),
                d_segments: sentences.write(),
            };
            backend.embedding_backward(&constants, operands);
        })
    })
}

fn attentions<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let (rows, sequences, length, config) = (sizes.rows(), sizes.sequences, sizes.length, &sizes.config);
    let (heads, width) = (config.num_attention_heads, config.hidden_size);
    let dropout = coins(config.attention_probs_dropout_prob);
    let constants = Attention { heads, head_width: width / heads, dropout };
    let cost = constants.forward_cost(rows, length, size::<P>());
    timer.kernel("attention_forward", Unit::Products, cost, |on| {
        let qkv = on.activations(3 * rows * width)?;
        let offsets = on.indices(sequences + 1, |sequence| sequence * length)?;
        let (mut context, mut log_sum_exp) = (on.activations(rows * width)?, on.masters(rows * heads)?);
        let mut coins = on.coins()?;
        Ok(move |backend: &B| {
            let operands = attention::Forward {
                qkv: qkv.read(),
                offsets: offsets.read(),
                randomness: coins.toss(),
                context: context.write(),
                log_sum_exp: log_sum_exp.write(),
            };
            backend.attention_forward(&constants, operands);
        })
    })?;
    let cost = constants.backward_cost(rows, length, size::<P>());
    timer.kernel("attention_backward", Unit::Products, cost, |on| {
        let qkv = on.activations(3 * rows * width)?;
        let offsets = on.indices(sequences + 1, |sequence| sequence * length)?;
        // Weights are exp(score - this), which must not grow beyond all bounds.
        let log_sum_exp = on.constants(rows * heads, 8.0)?;
        let (context, d_context) = (on.activations(rows * width)?, on.activations(rows * width)?);
        let (mut d_qkv, mut coins) = (on.activations(3 * rows * width)?, on.coins()?);
        Ok(move |backend: &B| {
            let operands = attention::Backward {
                qkv: qkv.read(),
                offsets: offsets.read(),
                randomness: coins.toss(),
                context: context.read(),
                log_sum_exp: log_sum_exp.read(),
                d_context: d_context.read(),
                d_qkv: d_qkv.write(),
            };
            backend.attention_backward(&constants, operands);
        })
    })
}

fn norms<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let (rows, width) = (sizes.rows(), sizes.config.hidden_size);
    let dropout = coins(sizes.config.hidden_dropout_prob);
    let constants = LayerNorm { width, epsilon: sizes.config.layer_norm_eps, dropout };
    let cost = constants.cost(rows, 4, size::<P>());
    timer.kernel("layer_norm_forward", Unit::Single, cost, |on| {
        let matrix = || on.activations(rows * width);
        let (x, residual, mut sum, mut y) = (matrix()?, matrix()?, matrix()?, matrix()?);
        let (gamma, beta) = (on.masters(width)?, on.masters(width)?);
        let (mut mean, mut rstd, mut coins) = (on.masters(rows)?, on.masters(rows)?, on.coins()?);
        Ok(move |backend: &B| {
            let operands = layer_norm::Forward {
                x: x.read(),
                residual: Some(residual.read()),
                gamma: gamma.read(),
                beta: beta.read(),
                randomness: coins.toss(),
                logical_rows: None,
                sum: Some(sum.write()),
                mean: mean.write(),
                rstd: rstd.write(),
                y: y.write(),
            };
            backend.layer_norm_forward(&constants, operands);
        })
    })?;
    let operands = if dropout.is_some() { 4 } else { 3 };
    let cost = constants.cost(rows, operands, size::<P>());
    timer.kernel("layer_norm_backward", Unit::Single, cost, |on| {
        let matrix = || on.activations(rows * width);
        let (sum, dy, mut d_sum) = (matrix()?, matrix()?, matrix()?);
        let mut d_x = dropout.map(|_| matrix()).transpose()?;
        let (gamma, mut d_gamma, mut d_beta) = (on.masters(width)?, on.masters(width)?, on.masters(width)?);
        let (mean, rstd, mut coins) = (on.masters(rows)?, on.masters(rows)?, on.coins()?);
        Ok(move |backend: &B| {
            let operands = layer_norm::Backward {
                sum: sum.read(),
                mean: mean.read(),
                rstd: rstd.read(),
                gamma: gamma.read(),
                dy: dy.read(),
                randomness: coins.toss(),
                logical_rows: None,
                d_sum: d_sum.write(),
                store: Store::Assign,
                d_x: d_x.as_mut().map(|d_x| d_x.write()),
                d_gamma: d_gamma.write(),
                d_beta: d_beta.write(),
            };
            backend.layer_norm_backward(&constants, operands);
        })
    })
}

fn activations<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let inner = sizes.rows() * sizes.config.intermediate_size;
    let pooled = sizes.sequences * sizes.config.hidden_size;
    for (function, elements) in [(sizes.activation, inner), (Activation::Tanh, pooled)] {
        let cost = function.cost(elements, 2, size::<P>());
        timer.kernel(&format!("activation_forward/{function:?}"), Unit::Single, cost, |on| {
            let (x, mut y) = (on.activations(elements)?, on.activations(elements)?);
            Ok(move |backend: &B| {
                backend.activation_forward(&function, activation::Forward { x: x.read(), y: y.write() });
            })
        })?;
        let cost = function.cost(elements, 3, size::<P>());
        timer.kernel(&format!("activation_backward/{function:?}"), Unit::Single, cost, |on| {
            let (saved, dy) = (on.activations(elements)?, on.activations(elements)?);
            let mut du = on.activations(elements)?;
            Ok(move |backend: &B| {
                let (saved, dy, du) = (saved.read(), Some(dy.read()), du.write());
                backend.activation_backward(&function, activation::Backward { saved, dy, du });
            })
        })?;
    }
    Ok(())
}

fn dropouts<B: Kernels<P>, P: Precision>(timer: &mut impl Timer<B, P>, sizes: &Sizes) -> Result<()> {
    let Some(constants) = coins(sizes.config.hidden_dropout_prob) else { return Ok(()) };
    let (rows, width) = (sizes.rows(), sizes.config.embedding_size);
    let cost = Cost::new(rows * width, 2 * rows * width, size::<P>());
    timer.kernel("dropout_forward", Unit::Single, cost, |on| {
        let (x, mut y, mut coins) =
            (on.activations(rows * width)?, on.activations(rows * width)?, on.coins()?);
        Ok(move |backend: &B| {
            let (randomness, logical_rows, x, y) = (coins.toss(), None, x.read(), y.write());
            backend.dropout_forward(&constants, dropout::Forward { width, randomness, logical_rows, x, y });
        })
    })?;
    timer.kernel("dropout_backward", Unit::Single, cost, |on| {
        let (dy, mut dx, mut coins) =
            (on.activations(rows * width)?, on.activations(rows * width)?, on.coins()?);
        Ok(move |backend: &B| {
            let (randomness, logical_rows, dy, dx) = (coins.toss(), None, dy.read(), dx.write());
            let store = Store::Assign;
            let operands = dropout::Backward { width, randomness, logical_rows, dy, dx, store };
            backend.dropout_backward(&constants, operands);
        })
    })
}
