//! What stands on the encoder in pre-training (`ALBERT.md`, Pre-training heads), and the plans made of both.

use engine::{
    Activation, Axis, Content, Graph, Indices, Plan, PlanError, PlanOptions, Precision, Rows, Shape, Tensor,
};

use crate::albert::Albert;
use crate::encoder::{Mode, Packed};

/// The most that a plan's batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Real tokens.
    pub tokens: usize,
    /// Sequences.
    pub sequences: usize,
    /// Masked tokens.
    pub masked: usize,
}

/// Names of the scalars that a pre-training plan computes.
pub const LOSSES: [&str; 3] = ["loss", "masked_lm_loss", "sentence_order_loss"];

impl Albert {
    /// `tanh(dense(first token))`, `[sequences, hidden_size]`.
    ///
    /// # Panics
    /// If the model has no pooler.
    pub fn pooled<'g>(&self, graph: &'g Graph, states: Tensor<'g>, first_rows: Indices<'g>) -> Tensor<'g> {
        let pooler = self.pooler.expect("the model has a pooler");
        graph.scope("pooler", || self.dense(graph, states.gather(first_rows), pooler, Activation::Tanh))
    }

    /// Logits over the vocabulary for the rows of `states`, `[rows, vocab_size]`; the decoder is the word table
    /// unless the configuration unties them.
    ///
    /// # Panics
    /// If the model has no masked-word head.
    pub fn masked_lm_logits<'g>(&self, graph: &'g Graph, states: Tensor<'g>) -> Tensor<'g> {
        let head = self.masked_lm.expect("the model has a masked-word head");
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
    pub fn sentence_order_logits<'g>(&self, graph: &'g Graph, pooled: Tensor<'g>) -> Tensor<'g> {
        let head = self.sentence_order.expect("the model has a sentence-order head");
        graph.scope("sentence_order", || self.dense(graph, pooled, head, Activation::Identity))
    }

    /// The plan of a training step: adds the gradient of `masked_lm_loss + sentence_order_loss` to every parameter's.
    ///
    /// Inputs: those of [`Albert::packed`], `first_rows`, `masked_rows`, `masked_labels`, `masked_weights`,
    /// `sentence_order_labels`, `sentence_order_weights`. Axes: tokens, sequences, masked. Outputs: [`LOSSES`],
    /// `masked_lm_row_losses`, `masked_lm_predictions`, `sentence_order_row_losses`, `sentence_order_predictions`.
    /// Losses are weighted sums: the weights carry the normalisation.
    ///
    /// # Errors
    /// If a parameter would receive no gradient.
    pub fn pretraining_plan(&self, capacity: Capacity, options: PlanOptions) -> Result<Plan, PlanError> {
        let graph = Graph::new(self.parameters().clone());
        let outputs = self.pretraining(&graph, capacity, Mode::Training);
        Plan::training(&graph, outputs[0].1, &outputs, options)
    }

    /// The same without dropout and gradients.
    pub fn evaluation_plan(&self, capacity: Capacity, precision: Precision) -> Plan {
        let graph = Graph::new(self.parameters().clone());
        let outputs = self.pretraining(&graph, capacity, Mode::Inference);
        Plan::inference(&graph, &outputs, precision)
    }

    fn pretraining<'g>(
        &self,
        graph: &'g Graph,
        capacity: Capacity,
        mode: Mode,
    ) -> [(&'static str, Tensor<'g>); 7] {
        let batch = self.packed(graph, capacity.tokens, capacity.sequences);
        let masked = graph.axis("masked tokens", capacity.masked);
        let sequences = Rows::Along(batch.axes.sequences);
        let states = self.encode(graph, batch, mode);
        let last = states[states.len() - 1];
        let masked_lm = graph.scope("masked_lm", || {
            let rows = graph.indices("masked_rows", Rows::Along(masked), Content::RowOf(batch.axes.tokens));
            let labels = self.labels(graph, "masked_labels", masked, self.config().vocab_size);
            let weights = graph.statistic("masked_weights", Shape::new(Rows::Along(masked), 1));
            self.masked_lm_logits(graph, last.gather(rows)).cross_entropy(labels, weights)
        });
        let sentence_order = graph.scope("sentence_order", || {
            let labels = self.labels(graph, "sentence_order_labels", batch.axes.sequences, 2);
            let weights = graph.statistic("sentence_order_weights", Shape::new(sequences, 1));
            let pooled = self.pooled(graph, last, self.first_rows(graph, batch));
            self.sentence_order_logits(graph, pooled).cross_entropy(labels, weights)
        });
        [
            (LOSSES[0], masked_lm.loss.weighted_add(1.0, sentence_order.loss, 1.0)),
            (LOSSES[1], masked_lm.loss),
            (LOSSES[2], sentence_order.loss),
            ("masked_lm_row_losses", masked_lm.row_losses),
            ("masked_lm_predictions", masked_lm.predictions),
            ("sentence_order_row_losses", sentence_order.row_losses),
            ("sentence_order_predictions", sentence_order.predictions),
        ]
    }

    /// The plan of an encoder without labels. Inputs: those of [`Albert::packed`], `first_rows` and `masked_rows`. Outputs:
    /// `hidden_states.0 …`, `last_hidden_state`, and as far as the model has the heads and `logits` asks for them
    /// `pooler_output` (always), `prediction_logits` of `masked_rows`, `sop_logits`.
    pub fn encoding_plan(&self, capacity: Capacity, logits: bool, precision: Precision) -> Plan {
        let graph = Graph::new(self.parameters().clone());
        let batch = self.packed(&graph, capacity.tokens, capacity.sequences);
        let masked = graph.axis("masked tokens", capacity.masked);
        let rows = graph.indices("masked_rows", Rows::Along(masked), Content::RowOf(batch.axes.tokens));
        let first_rows = self.first_rows(&graph, batch);
        let states = self.encode(&graph, batch, Mode::Inference);
        let last = states[states.len() - 1];
        let mut outputs: Vec<(String, Tensor<'_>)> = states
            .iter()
            .enumerate()
            .map(|(index, &state)| (format!("hidden_states.{index}"), state))
            .collect();
        outputs.push(("last_hidden_state".into(), last));
        if self.heads().pooler {
            let pooled = self.pooled(&graph, last, first_rows);
            outputs.push(("pooler_output".into(), pooled));
            if logits && self.heads().sentence_order {
                outputs.push(("sop_logits".into(), self.sentence_order_logits(&graph, pooled)));
            }
        }
        if logits && self.heads().masked_lm {
            outputs.push(("prediction_logits".into(), self.masked_lm_logits(&graph, last.gather(rows))));
        }
        let outputs: Vec<_> = outputs.iter().map(|(name, tensor)| (name.as_str(), *tensor)).collect();
        Plan::inference(&graph, &outputs, precision)
    }

    fn first_rows<'g>(&self, graph: &'g Graph, batch: Packed<'g>) -> Indices<'g> {
        graph.indices("first_rows", Rows::Along(batch.axes.sequences), Content::RowOf(batch.axes.tokens))
    }

    fn labels<'g>(&self, graph: &'g Graph, name: &str, axis: Axis, classes: usize) -> Indices<'g> {
        graph.indices(name, Rows::Along(axis), Content::Below(classes))
    }
}
