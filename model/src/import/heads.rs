//! Which heads a model's files hold.

use super::tensors::Tensors;
use crate::config::{AlbertConfig, LARGEST};
use crate::heads::{ENCODER, Head};

/// transformers' classes for the heads that call their parameters `classifier`.
const CLASSIFIERS: [&str; 3] =
    ["AlbertForSequenceClassification", "AlbertForTokenClassification", "AlbertForMultipleChoice"];

/// What a model with this head is called in a message: transformers' class, and what asks for it where a task has two.
pub(super) fn title(head: &Head) -> &'static str {
    match head {
        Head::Span => "AlbertForQuestionAnswering (squad --head span)",
        Head::AnswerableSpan { .. } => "ALBERT for SQuAD 2.0 (squad --version 2.0 --head answerable)",
        head => head.architecture(),
    }
}

/// What the files hold in place of `head`, by its [title]; `None` if the head is there.
pub(super) fn instead_of(head: &Head, tensors: &Tensors, config: &AlbertConfig) -> Option<&'static str> {
    if head.prefixes().iter().any(|prefix| tensors.have(prefix)) {
        return namesake(config, head);
    }
    let titles = found(tensors, config).iter().map(title).collect::<Vec<_>>();
    Some(titles.into_iter().find(|title| *title != ENCODER).unwrap_or(ENCODER))
}

/// The class of another head, whose parameters have the names of those of `head`, if that is whose the configuration says that
/// they are. Often it says nothing.
fn namesake(config: &AlbertConfig, head: &Head) -> Option<&'static str> {
    let says = |class: &&str| config.architectures.iter().flatten().any(|name| name == class);
    let own = head.architecture();
    if !CLASSIFIERS.contains(&own) || says(&own) {
        return None;
    }
    CLASSIFIERS.into_iter().find(says)
}

/// The heads of which any tensor is there: one of which only some are is refused later, not dropped.
///
/// Classifiers of sequences, of tokens and of options have the same names: `architectures` tells which it is, or else that
/// only those of tokens have no pooler.
pub(super) fn found(tensors: &Tensors, config: &AlbertConfig) -> Vec<Head> {
    let mut heads = Vec::new();
    match (tensors.have("predictions."), tensors.have("sop_classifier.")) {
        (true, true) => heads.push(Head::Pretraining),
        (true, false) => heads.push(Head::MaskedWords),
        (false, true) => heads.push(Head::SentenceOrder),
        (false, false) => (),
    }
    let dropout = config.head_dropout();
    let pooled = tensors.have("albert.pooler.");
    if tensors.have("classifier.") {
        let outputs = ["classifier.weight", "classifier.bias"].map(|name| tensors.shape(name));
        let outputs = outputs
            .into_iter()
            .flatten()
            .find_map(|shape| shape.first().copied())
            .unwrap_or(1)
            .clamp(1, LARGEST);
        let says = |class: &str| {
            config.architectures.iter().flatten().any(|name| name.strip_prefix("Albert") == Some(class))
        };
        heads.push(if says("ForMultipleChoice") {
            Head::Choice { dropout }
        } else if says("ForTokenClassification") || !pooled && !says("ForSequenceClassification") {
            Head::TokenClassification { outputs, dropout }
        } else {
            Head::Classification { outputs, dropout }
        });
    }
    if tensors.have("qa_outputs.") {
        heads.push(Head::Span);
    }
    if ["start_logits.", "end_logits.", "answer_class."].iter().any(|prefix| tensors.have(prefix)) {
        heads.push(Head::AnswerableSpan { dropout });
    }
    if pooled && !heads.iter().any(Head::reads_pooler) {
        heads.push(Head::Pooler);
    }
    heads
}
