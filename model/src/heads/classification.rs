//! Classes of sequences, or a number for each (`AlbertForSequenceClassification`): dropout and one dense layer on the pooled
//! first token.
//!
//! Inputs: `first_rows`; with labels `labels` and `weights` of the sequences, or, where there is one output, `targets` and
//! `weights`. Outputs: `loss`, `logits` `[sequences, outputs]`, and of classes `row_losses` and `predictions`.

use engine::Activation;

use super::{Outputs, Recording};

pub(super) fn record<'g>(on: &Recording<'_, 'g>, outputs: usize, dropout: f64) -> Outputs<'g> {
    let classifier = on.albert.on_top.classifier.expect("the model has a classifier");
    let sequences = on.batch.axes.sequences;
    let pooled = on.pooled();
    on.graph.scope("classifier", || {
        let logits = on.dense(on.dropout(pooled, dropout), classifier, Activation::Identity);
        if !on.has_labels() {
            return vec![("logits", logits)];
        }
        let weights = on.numbers("weights", sequences);
        if outputs == 1 {
            let loss = logits.squared_error(on.numbers("targets", sequences), weights);
            return vec![("loss", loss), ("logits", logits)];
        }
        let found = logits.cross_entropy(on.labels("labels", sequences, outputs), weights);
        vec![
            ("loss", found.loss),
            ("logits", logits),
            ("row_losses", found.row_losses),
            ("predictions", found.predictions),
        ]
    })
}
