//! Sentences whose words have a class each.

use crate::finetuning::answers::Answer;
use crate::finetuning::features::{Feature, FeatureTarget, Limits, Sequence};
use crate::finetuning::task::{Example, Input, Target};
use crate::tokenizer::Encoder;

/// The words of a sentence, each encoded by itself; the class of a word stands at its first piece.
pub(super) fn feature(
    number: usize,
    words: &[String],
    example: &Example,
    encoder: &mut Encoder<'_>,
    limits: &Limits,
) -> Feature {
    let unknown = encoder.tokenizer().special().unknown;
    let room = limits.length.saturating_sub(2);
    let (mut ids, mut rows) = (Vec::new(), Vec::new());
    for word in words {
        if ids.len() >= room {
            break;
        }
        rows.push(ids.len() as u32 + 1);
        let before = ids.len();
        encoder.encode(word, &mut ids);
        if ids.len() == before {
            ids.push(unknown); // a word of nothing that the tokenizer keeps is a word all the same
        }
    }
    let target = match &example.target {
        Some(Target::Classes(classes)) => Some(FeatureTarget::Classes(classes[..rows.len()].to_vec())),
        _ => None,
    };
    let is_cut = rows.len() < words.len() || ids.len() > room;
    Feature { rows, is_cut, ..Feature::of(number, Sequence::pair(ids, None, limits.length), target) }
}

/// The words of an example with the classes found for them, as a JSON line; words beyond the end of the sequence have the class
/// `null`.
pub(super) fn line(labels: &[String], example: &Example, answer: &Answer) -> String {
    let words: &[String] = if let Input::Words(words) = &example.input { words } else { &[] };
    let found: &[u32] = if let Answer::Words(found) = answer { found } else { &[] };
    let class = |at: usize| found.get(at).and_then(|&class| labels.get(class as usize));
    let tags: Vec<Option<&String>> = (0..words.len()).map(class).collect();
    format!("{}\n", serde_json::json!({ "tokens": words, "tags": tags }))
}
