//! What stands on the encoder in pre-training (`ALBERT.md`, Pre-training heads): masked words and the order of sentences.
//!
//! Third axis: masked tokens. Inputs: `first_rows`, `masked_rows`; with labels `masked_labels`, `masked_weights`,
//! `sentence_order_labels`, `sentence_order_weights`. Outputs with labels: [`LOSSES`], the first of which is the sum of the
//! others, `masked_lm_row_losses`, `masked_lm_predictions`, `sentence_order_row_losses`, `sentence_order_predictions`, and in
//! evaluation `masked_states`, the last layer's rows of the masked tokens `[masked, hidden_size]`; in prediction `prediction_logits` `[masked, vocab_size]` and `sop_logits` `[sequences, 2]`.

use engine::{Activation, Graph, Indices, Initializer, ParameterId, Tensor};

use super::{Outputs, Recording};
use crate::Mode;
use crate::albert::Albert;
use crate::config::AlbertConfig;
use crate::declare::{Declarer, Dense, NormParameters};
use crate::names::{DECODER_BIAS, DECODER_WEIGHT};

/// Names of the scalars that a pre-training plan computes.
pub const LOSSES: [&str; 3] = ["loss", "masked_lm_loss", "sentence_order_loss"];

/// The masked-word head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaskedWords {
    dense: Dense,
    norm: NormParameters,
    /// The word table, unless the configuration says that they are not tied.
    decoder: Dense,
}

impl MaskedWords {
    pub fn declare(d: &mut Declarer, config: &AlbertConfig, words: ParameterId) -> Self {
        let (width, words_of) = (config.embedding_size, config.vocab_size);
        Self {
            dense: d.dense(&["predictions.dense".into()], config.hidden_size, width),
            norm: d.norm("predictions.LayerNorm", width),
            decoder: Dense {
                weight: if config.tie_word_embeddings {
                    words
                } else {
                    d.matrix(&[DECODER_WEIGHT.into()], words_of, width)
                },
                bias: d.vector(&[DECODER_BIAS.into()], words_of, Initializer::Zeros),
            },
        }
    }
}

pub(super) fn record<'g>(on: &Recording<'_, 'g>, most_masked: usize) -> Outputs<'g> {
    let (graph, albert, axes) = (on.graph, on.albert, on.batch.axes);
    let masked = graph.axis("masked tokens", most_masked);
    let lists = [on.masked_rows(masked), on.first_rows()];
    let (last, [masked_rows, first_rows]) = albert.encode_rows(graph, on.batch, on.mode, lists);
    if !on.has_labels() {
        let pooled = albert.pooled(graph, last, first_rows);
        return vec![
            ("prediction_logits", albert.masked_lm_logits(graph, last.gather(masked_rows))),
            ("sop_logits", albert.sentence_order_logits(graph, pooled)),
        ];
    }
    let (masked_states, masked_lm) = graph.scope("masked_lm", || {
        let labels = on.labels("masked_labels", masked, albert.config().vocab_size);
        let weights = on.numbers("masked_weights", masked);
        let states = last.gather(masked_rows);
        (states, albert.masked_lm_logits(graph, states).cross_entropy(labels, weights))
    });
    let sentence_order = graph.scope("sentence_order", || {
        let labels = on.labels("sentence_order_labels", axes.sequences, 2);
        let weights = on.numbers("sentence_order_weights", axes.sequences);
        let pooled = albert.pooled(graph, last, first_rows);
        albert.sentence_order_logits(graph, pooled).cross_entropy(labels, weights)
    });
    let mut outputs = vec![
        (LOSSES[0], masked_lm.loss.weighted_add(1.0, sentence_order.loss, 1.0)),
        (LOSSES[1], masked_lm.loss),
        (LOSSES[2], sentence_order.loss),
        ("masked_lm_row_losses", masked_lm.row_losses),
        ("masked_lm_predictions", masked_lm.predictions),
        ("sentence_order_row_losses", sentence_order.row_losses),
        ("sentence_order_predictions", sentence_order.predictions),
    ];
    if on.mode == Mode::Evaluation {
        outputs.push(("masked_states", masked_states));
    }
    outputs
}

impl Albert {
    /// `tanh(dense(first token))`, `[sequences, hidden_size]`.
    ///
    /// # Panics
    /// If the model has no pooler.
    pub(super) fn pooled<'g>(
        &self,
        graph: &'g Graph,
        states: Tensor<'g>,
        first_rows: Indices<'g>,
    ) -> Tensor<'g> {
        let pooler = self.on_top.pooler.expect("the model has a pooler");
        graph.scope("pooler", || self.dense(graph, states.gather(first_rows), pooler, Activation::Tanh))
    }

    /// Logits over the vocabulary for the rows of `states`, `[rows, vocab_size]`; the decoder is the word table
    /// unless the configuration unties them.
    ///
    /// # Panics
    /// If the model has no masked-word head.
    pub(super) fn masked_lm_logits<'g>(&self, graph: &'g Graph, states: Tensor<'g>) -> Tensor<'g> {
        let head = self.on_top.masked_words.expect("the model has a masked-word head");
        graph.scope("masked_lm", || {
            let transformed = self.dense(graph, states, head.dense, self.activation);
            let normed = transformed.layer_norm(self.norm(graph, head.norm));
            self.dense(graph, normed, head.decoder, Activation::Identity)
        })
    }

    /// Logits of "in order" and "swapped", `[sequences, 2]`; no dropout (`ALBERT.md`, Pre-training heads).
    ///
    /// # Panics
    /// If the model has no sentence-order head.
    pub(super) fn sentence_order_logits<'g>(&self, graph: &'g Graph, pooled: Tensor<'g>) -> Tensor<'g> {
        let head = self.on_top.sentence_order.expect("the model has a sentence-order head");
        graph.scope("sentence_order", || self.dense(graph, pooled, head, Activation::Identity))
    }
}
