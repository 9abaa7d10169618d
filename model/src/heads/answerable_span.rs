//! First and last token of an answer and whether there is one, for questions that may have none (SQuAD 2.0), as the
//! reference does it:
//!
//! - start: one logit of each token;
//! - end: one logit of each token beside the token where the answer starts, `dense₁(LayerNorm(tanh(dense₀([h_t, h_start]))))`;
//!   in training the start is the label, in prediction each of the likeliest ([`Beam`](super::Beam));
//! - answerability, high where there is no answer: `dense₁(dropout(tanh(dense₀([Σ_t softmax(start)_t · h_t, h_first]))))`.
//!
//! The loss is ½ (start + end) + ½ answerability. The names of the parameters are those that transformers has for the same
//! head on XLNet.
//!
//! Inputs: `first_rows`; `sequence_of_token` (of each token the sequence it belongs to); `excluded`, reals of the tokens: 1
//! where no answer starts or ends (padding aside, all but the first token and those of the passage), else 0. With labels
//! those of a [span](super::span), and `answerable_labels` of the sequences: 1 where there is no answer. Outputs: with labels
//! those of a span and `answerability_logits` `[sequences, 1]`; in prediction `start_logits` and `answerability_logits`; and but
//! in training `last_hidden_state`, from which the plan of [`Albert::answer_ends_plan`] computes ends.

use engine::{Activation, Content, Graph, Indices, Norm, ParameterId, Plan, Precision, Rows, Shape, Tensor};

use super::span::{both, rows};
use super::{Capacity, Outputs, Recording};
use crate::albert::Albert;
use crate::declare::{Declarer, Dense, NormParameters};
use crate::encoder::{Mode, Packed};

/// ε of the layer norm, whatever the encoder's is.
const EPSILON: f64 = 1e-12;
/// Added to the logits of tokens that are excluded.
const EXCLUDED: f64 = -1e30;

/// The parameters of the head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    start: Dense,
    end: [Dense; 2],
    end_norm: NormParameters,
    answerable: Dense,
    /// It has no bias.
    answerable_logit: ParameterId,
}

impl Parameters {
    pub fn declare(d: &mut Declarer, hidden: usize) -> Self {
        let names = |name: &str| [name.to_owned()];
        Self {
            start: d.dense(&names("start_logits.dense"), hidden, 1),
            end: [
                d.dense(&names("end_logits.dense_0"), 2 * hidden, hidden),
                d.dense(&names("end_logits.dense_1"), hidden, 1),
            ],
            end_norm: d.norm("end_logits.LayerNorm", hidden),
            answerable: d.dense(&names("answer_class.dense_0"), 2 * hidden, hidden),
            answerable_logit: d.matrix(&names("answer_class.dense_1.weight"), 1, hidden),
        }
    }
}

pub(super) fn record<'g>(on: &Recording<'_, 'g>, dropout: f64) -> Outputs<'g> {
    let head = on.albert.on_top.answerable_span.expect("the model has an answerable span head");
    let (offsets, sequences) = (on.batch.offsets, on.batch.axes.sequences);
    let (last, first_rows) = (on.last_state(), on.first_rows());
    let excluded = excluded(on.graph, on.batch);
    let start = on.graph.scope("start", || {
        on.dense(last, head.start, Activation::Identity).weighted_add(1.0, excluded, EXCLUDED)
    });
    let answerability = on.graph.scope("answerability", || {
        let passage = last.sequence_sum(start.sequence_softmax(offsets), offsets);
        let both = on.graph.concatenate(&[passage, last.gather(first_rows)]);
        let hidden = on.dropout(on.dense(both, head.answerable, Activation::Tanh), dropout);
        hidden.linear(on.graph.parameter(head.answerable_logit), None, Activation::Identity)
    });
    if !on.has_labels() {
        return vec![
            ("start_logits", start),
            ("answerability_logits", answerability),
            ("last_hidden_state", last),
        ];
    }
    let [start_labels, end_labels] = ["start_labels", "end_labels"].map(|name| rows(on, name));
    let weights = on.numbers("weights", sequences);
    let end = on.albert.answer_ends(on.graph, on.batch, last, start_labels, excluded);
    let [start_found, end_found] = [(start, start_labels), (end, end_labels)]
        .map(|(logits, labels)| logits.sequence_cross_entropy(offsets, labels, weights));
    let answerable = on.graph.scope("answerability", || {
        // log(1 + exp z) − y·z is the cross-entropy of the logits 0 and z.
        let logits = on.graph.concatenate(&[answerability.scale(0.0), answerability]);
        logits.cross_entropy(on.labels("answerable_labels", sequences, 2), weights).loss
    });
    let span = start_found.loss.weighted_add(0.5, end_found.loss, 0.5);
    let mut outputs = both(span.weighted_add(1.0, answerable, 0.5), [start, end], [start_found, end_found]);
    outputs.push(("answerability_logits", answerability));
    if on.mode == Mode::Evaluation {
        outputs.push(("last_hidden_state", last));
    }
    outputs
}

/// The input `excluded`.
fn excluded<'g>(graph: &'g Graph, batch: Packed<'g>) -> Tensor<'g> {
    graph.input("excluded", Shape::new(Rows::Along(batch.axes.tokens), 1))
}

impl Albert {
    /// Logits of ends, `[tokens, 1]`, given the row of each sequence where the answer starts; declares `sequence_of_token`.
    fn answer_ends<'g>(
        &self,
        graph: &'g Graph,
        batch: Packed<'g>,
        states: Tensor<'g>,
        start_rows: Indices<'g>,
        excluded: Tensor<'g>,
    ) -> Tensor<'g> {
        let head = self.on_top.answerable_span.expect("the model has an answerable span head");
        let content = Content::RowOf(batch.axes.sequences);
        let sequence_of_token = graph.indices("sequence_of_token", Rows::Along(batch.axes.tokens), content);
        graph.scope("end", || {
            let at_start = states.gather(start_rows).gather(sequence_of_token);
            let hidden =
                self.dense(graph, graph.concatenate(&[states, at_start]), head.end[0], Activation::Tanh);
            let norm = Norm { epsilon: EPSILON, ..self.norm(graph, head.end_norm) };
            let logits = self.dense(graph, hidden.layer_norm(norm), head.end[1], Activation::Identity);
            logits.weighted_add(1.0, excluded, EXCLUDED)
        })
    }

    /// The plan of the ends of answers whose starts are known. Inputs: `last_hidden_state` `[tokens, hidden_size]`,
    /// `start_rows` (rows of the batch, within their sequences), `offsets`, `sequence_of_token`, `excluded`. Output:
    /// `end_logits` `[tokens, 1]`.
    ///
    /// # Panics
    /// If the model has no [`Head::AnswerableSpan`](super::Head::AnswerableSpan).
    pub(crate) fn answer_ends_plan(&self, capacity: Capacity, precision: Precision) -> Plan {
        let graph = Graph::new(self.parameters().clone());
        let batch = self.packed(&graph, capacity.tokens, capacity.sequences);
        let rows = Rows::Along(batch.axes.tokens);
        let states = graph.input("last_hidden_state", Shape::new(rows, self.config().hidden_size));
        let start_rows = graph.rows_of_sequences("start_rows", batch.offsets);
        let excluded = excluded(&graph, batch);
        let ends = self.answer_ends(&graph, batch, states, start_rows, excluded);
        Plan::inference(&graph, &[("end_logits", ends)], precision)
    }
}
