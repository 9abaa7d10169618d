//! The right one of several sequences (`AlbertForMultipleChoice`, RACE): dropout and one logit on the pooled first token of
//! each, softmax over the sequences of a question. Questions may have different numbers of options.
//!
//! Third axis: questions. Inputs: `first_rows`; with labels `option_offsets` (where the sequences of each question begin),
//! `labels` (the sequence that is right, numbered through the batch) and `weights` of the questions. Outputs: `loss`,
//! `logits` `[sequences, 1]`, `row_losses` and `predictions` (sequences) of the questions.

use engine::{Activation, Content, Rows};

use super::{Outputs, Recording};

pub(super) fn record<'g>(on: &Recording<'_, 'g>, most_questions: usize, dropout: f64) -> Outputs<'g> {
    let classifier = on.albert.on_top.classifier.expect("the model has a classifier");
    let questions = on.graph.axis("questions", most_questions);
    let pooled = on.pooled();
    on.graph.scope("classifier", || {
        let logits = on.dense(on.dropout(pooled, dropout), classifier, Activation::Identity);
        if !on.has_labels() {
            return vec![("logits", logits)];
        }
        let content = Content::OffsetsOf(on.batch.axes.sequences);
        let offsets = on.graph.indices("option_offsets", Rows::Offsets(questions), content);
        let labels = on.graph.rows_of_sequences("labels", offsets);
        let found = logits.sequence_cross_entropy(offsets, labels, on.numbers("weights", questions));
        vec![
            ("loss", found.loss),
            ("logits", logits),
            ("row_losses", found.row_losses),
            ("predictions", found.predictions),
        ]
    })
}
