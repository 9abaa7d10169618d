//! Whether the answers that are to be learned can be told from the rows that the model is taught.

use super::super::features::{Feature, FeatureTarget};
use super::super::task::{Example, Target};
use crate::scores::answers::normalized;

/// What became of the answers of a training set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The text of the rows is the answer.
    pub exact: usize,
    /// It is, but for case, punctuation and articles: no score is lost.
    pub equivalent: usize,
    /// The answer begins or ends within a piece, so that the rows hold more than the answer.
    pub wider: Vec<String>,
    /// No window holds the whole answer: it is longer than windows overlap.
    pub nowhere: Vec<String>,
    /// The question has no answer.
    pub none: usize,
}

impl Recovery {
    /// Compares the answers of `examples` with the rows in their `features`.
    pub fn of(examples: &[Example], features: &[Feature]) -> Self {
        let mut recovery = Self::default();
        for windows in features.chunk_by(|a, b| a.example == b.example) {
            let example = windows.first().and_then(|feature| examples.get(feature.example));
            let Some(Target::Answers(gold)) = example.and_then(|example| example.target.as_ref()) else {
                continue;
            };
            let Some(gold) = gold.first() else {
                recovery.none += 1;
                continue;
            };
            let id = || example.map_or_else(String::new, |example| example.id.clone());
            match windows.iter().find_map(text_of_target) {
                None => recovery.nowhere.push(id()),
                Some(text) if text == gold.text.trim() => recovery.exact += 1,
                Some(text) if normalized(text) == normalized(&gold.text) => recovery.equivalent += 1,
                Some(_) => recovery.wider.push(id()),
            }
        }
        recovery
    }

    /// All answers that were looked at.
    pub fn total(&self) -> usize {
        self.exact + self.equivalent + self.wider.len() + self.nowhere.len() + self.none
    }
}

/// The text that a window teaches as the answer, if it holds it.
fn text_of_target(feature: &Feature) -> Option<&str> {
    let (window, rows) = (feature.window.as_ref()?, feature.sequences.first()?.second_rows());
    match feature.target {
        Some(FeatureTarget::Span { start, end }) if rows.contains(&start) && rows.contains(&end) => {
            let piece = |row: usize| window.pieces.start + row - rows.start;
            Some(window.passage.text_of(piece(start)..piece(end) + 1))
        }
        _ => None,
    }
}
