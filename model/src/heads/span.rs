//! First and last token of an answer, each by itself (`AlbertForQuestionAnswering`, SQuAD 1.1): two logits of each token,
//! softmax over the tokens of a sequence. Where the answer is not in a sequence its first token stands for it.
//!
//! Inputs with labels: `start_labels`, `end_labels` (rows of the batch, within their sequences) and `weights` of the
//! sequences. Outputs: `loss`, the mean of the start's and the end's; `start_logits` and `end_logits` `[tokens, 1]`;
//! `start_row_losses`, `end_row_losses`, `start_predictions` and `end_predictions` (rows of the batch) of the sequences.

use engine::{Activation, Classified, Indices, Tensor};

use super::{Outputs, Recording};

pub(super) fn record<'g>(on: &Recording<'_, 'g>) -> Outputs<'g> {
    let span = on.albert.on_top.span.expect("the model has a span head");
    let last = on.last_state();
    on.graph.scope("span", || {
        let logits = on.dense(last, span, Activation::Identity);
        let logits = [logits.slice_columns(0, 1), logits.slice_columns(1, 1)];
        if !on.has_labels() {
            return logits_alone(logits);
        }
        let labels = ["start_labels", "end_labels"].map(|name| rows(on, name));
        let weights = on.numbers("weights", on.batch.axes.sequences);
        let [start, end] =
            [0, 1].map(|i| logits[i].sequence_cross_entropy(on.batch.offsets, labels[i], weights));
        both(start.loss.weighted_add(0.5, end.loss, 0.5), logits, [start, end])
    })
}

/// An input that names a row of each sequence.
pub(super) fn rows<'g>(on: &Recording<'_, 'g>, name: &str) -> Indices<'g> {
    on.graph.rows_of_sequences(name, on.batch.offsets)
}

/// What is predicted without labels.
pub(super) fn logits_alone<'g>([start, end]: [Tensor<'g>; 2]) -> Outputs<'g> {
    vec![("start_logits", start), ("end_logits", end)]
}

/// What is found about starts and ends.
pub(super) fn both<'g>(
    loss: Tensor<'g>,
    logits: [Tensor<'g>; 2],
    [start, end]: [Classified<'g>; 2],
) -> Outputs<'g> {
    let mut outputs = vec![("loss", loss)];
    outputs.extend(logits_alone(logits));
    outputs.extend([
        ("start_row_losses", start.row_losses),
        ("end_row_losses", end.row_losses),
        ("start_predictions", start.predictions),
        ("end_predictions", end.predictions),
    ]);
    outputs
}
