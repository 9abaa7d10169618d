//! The official prediction files: `predictions.json`, `nbest_predictions.json` and, of version 2.0, `null_odds.json`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{NO_TEXT, Squad, Version, best_text};
use crate::files::{Disk, replace};
use crate::finetuning::answers::{Answer, Candidate};
use crate::finetuning::task::Example;
use crate::tables::InputError;

/// An entry of `nbest_predictions.json`, under the names of the reference (its `start_log_prob` and `end_log_prob` are logits
/// where the span head made them).
#[derive(Serialize)]
struct Entry<'a> {
    text: &'a str,
    probability: f64,
    start_log_prob: f32,
    end_log_prob: f32,
}

/// A map that is written in the order given.
struct InOrder<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for InOrder<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

/// Writes the files into a folder and says which they are.
pub(super) fn write(
    squad: &Squad,
    examples: &[Example],
    answers: &[Answer],
    folder: &Path,
) -> Result<Vec<PathBuf>, InputError> {
    let pairs = || examples.iter().map(|example| example.id.as_str()).zip(answers);
    let threshold = squad.threshold(examples, answers);
    let text = |answer| match squad.version {
        Version::Two if squad.null_score(answer) > threshold => "",
        _ => best_text(answer),
    };
    let mut written = Vec::new();
    let mut save = |name: &str, content: Vec<u8>| -> Result<(), InputError> {
        let path = folder.join(name);
        replace(&Disk, &path, &content).map_err(InputError::io("write", &path))?;
        written.push(path);
        Ok(())
    };
    save("predictions.json", json(&InOrder(pairs().map(|(id, answer)| (id, text(answer))).collect())))?;
    save(
        "nbest_predictions.json",
        json(&InOrder(pairs().map(|(id, answer)| (id, entries(squad.version, answer))).collect())),
    )?;
    if squad.version == Version::Two {
        let odds = pairs().map(|(id, answer)| (id, squad.null_score(answer))).collect();
        save("null_odds.json", json(&InOrder(odds)))?;
    }
    Ok(written)
}

/// The candidates of a question, with the softmax of their scores as probabilities; where there is none, the empty text: a list
/// has an entry always, as in the reference, and readers take the first.
fn entries(version: Version, answer: &Answer) -> Vec<Entry<'_>> {
    let best: &[Candidate] = if let Answer::Spans { best, .. } = answer { best } else { &[] };
    if best.is_empty() {
        let score = if version == Version::One { 0.0 } else { NO_TEXT as f32 };
        return vec![Entry { text: "", probability: 1.0, start_log_prob: score, end_log_prob: score }];
    }
    let score = |candidate: &Candidate| f64::from(candidate.score());
    let largest = best.first().map_or(0.0, score);
    let total: f64 = best.iter().map(|candidate| (score(candidate) - largest).exp()).sum();
    best.iter()
        .map(|candidate| Entry {
            text: &candidate.text,
            probability: (score(candidate) - largest).exp() / total,
            start_log_prob: candidate.start,
            end_log_prob: candidate.end,
        })
        .collect()
}

/// JSON with the four spaces of the reference.
fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let spaces = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, spaces))
        .expect("texts and numbers by name can be written to memory");
    bytes.push(b'\n');
    bytes
}
