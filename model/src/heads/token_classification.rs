//! Classes of tokens (`AlbertForTokenClassification`): dropout and one dense layer on the last hidden state.
//!
//! Inputs with labels: `labels` and `weights` of the tokens; a token that is not asked about, such as all but the first
//! piece of a word, has weight 0. Outputs: `loss`, `logits` `[tokens, outputs]`, `row_losses` and `predictions`.

use engine::Activation;

use super::{Outputs, Recording};

pub(super) fn record<'g>(on: &Recording<'_, 'g>, outputs: usize, dropout: f64) -> Outputs<'g> {
    let classifier = on.albert.on_top.classifier.expect("the model has a classifier");
    let tokens = on.batch.axes.tokens;
    let last = on.last_state();
    on.graph.scope("classifier", || {
        let logits = on.dense(on.dropout(last, dropout), classifier, Activation::Identity);
        if !on.has_labels() {
            return vec![("logits", logits)];
        }
        let labels = on.labels("labels", tokens, outputs);
        let found = logits.cross_entropy(labels, on.numbers("weights", tokens));
        vec![
            ("loss", found.loss),
            ("logits", logits),
            ("row_losses", found.row_losses),
            ("predictions", found.predictions),
        ]
    })
}
