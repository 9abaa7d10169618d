//! What the official evaluation programs print for a file of questions and a file of predictions.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Version;
use super::file::{self, read_json};
use crate::finetuning::task::{Example, GoldAnswer, Split, Target};
use crate::scores::answers::{
    Fit, Scored, Version1, Version2, best_threshold, fit_version1, fit_version2, version1, version2,
    with_threshold,
};
use crate::tables::{InputError, excerpt};
use crate::visible::shown;

/// The official program of version 2.0 leaves questions without an answer whose null score is above this, unless told
/// otherwise. It means probabilities; without null scores nothing is above it.
pub const OFFICIAL_THRESHOLD: f64 = 1.0;

/// The figures under their official names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Figures {
    /// Of SQuAD 1.1.
    Version1(Version1),
    /// Of SQuAD 2.0.
    Version2(Version2),
    /// Of SQuAD 2.0, with the best thresholds on the null scores.
    WithThresholds {
        /// The figures.
        #[serde(flatten)]
        figures: Version2,
        /// The best exact match that a threshold reaches.
        best_exact: f64,
        /// That threshold.
        best_exact_thresh: f64,
        /// The best F1 that a threshold reaches.
        best_f1: f64,
        /// That threshold.
        best_f1_thresh: f64,
    },
}

/// An evaluation of a file of predictions.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The figures.
    pub figures: Figures,
    /// What a user should know, in words.
    pub remarks: Vec<String>,
}

/// Scores predictions (`{id: text}`) as the official programs do. In version 1.1 a question without a prediction counts as
/// wrong; in version 2.0, whose official program fails there, that is an error. Where no `version` is
/// given, it is 2.0 if the file says of questions whether they have an answer, else 1.1.
///
/// `null_odds` (`{id: number}`) are how likely each question has no answer, as `null_odds.json`; questions above `threshold`
/// count as not answered ([`OFFICIAL_THRESHOLD`] in the official program), and the best thresholds are searched as it does.
///
/// # Errors
/// If a file cannot be read, or is not about the same questions.
pub fn evaluate(
    version: Option<Version>,
    data: &Path,
    predictions: &Path,
    null_odds: Option<&Path>,
    threshold: f64,
) -> Result<Evaluation, InputError> {
    let mut questions = file::read(data, Split::Test)?;
    let (_, answers): (_, HashMap<String, String>) =
        read_json(predictions, "a file of predictions, {\"question\": \"answer\", …}")?;
    let odds = null_odds.map(|path| Ok((path, read_json::<InOrder>(path, NULL_ODDS)?.1))).transpose()?;
    let version = version.unwrap_or(if questions.is_version2 { Version::Two } else { Version::One });
    if let (Version::One, Some(path)) = (version, null_odds) {
        return Err(InputError::content(
            path,
            None,
            format!(
                "null scores are of version 2.0, and {} is scored as 1.1, where every question has an answer",
                shown(data)
            ),
            "leave --null-odds out, or give --version 2.0 with questions of version 2.0",
        ));
    }
    let (mut scored, mut places) = (Vec::with_capacity(questions.examples.len()), HashMap::new());
    let mut unanswered = 0;
    if version == Version::Two {
        questions.take_missing_answers_for_none();
    }
    for example in &questions.examples {
        let gold: &[GoldAnswer] = match &example.target {
            Some(Target::Answers(gold)) if version == Version::Two || !gold.is_empty() => gold,
            _ => {
                return Err(InputError::content(
                    data,
                    None,
                    format!("question {} has no answers to compare with", excerpt(&example.id)),
                    "score with a file that has them, such as the development set; if that is one where some questions have \
                     none: --version 2.0",
                ));
            }
        };
        let answer = match answers.get(&example.id) {
            Some(answer) => answer.as_str(),
            None if version == Version::Two => {
                return Err(InputError::content(
                    predictions,
                    None,
                    format!("there is no prediction for question {}", excerpt(&example.id)),
                    "predict every question; a question without an answer gets the empty text",
                ));
            }
            None => {
                unanswered += 1;
                scored.push(Scored {
                    fit: Fit::default(),
                    has_answer: true,
                    answered: false,
                    null_score: 0.0,
                });
                continue;
            }
        };
        let found = score(version, gold.iter().map(|gold| gold.text.clone()).collect(), answer, 0.0);
        // Of questions with one id the official program of version 2.0 counts the last; that of 1.1 counts all.
        match places.get(example.id.as_str()).copied().filter(|_| version == Version::Two) {
            Some(place) => scored[place] = found,
            None => {
                places.insert(example.id.as_str(), scored.len());
                scored.push(found);
            }
        }
    }
    let mut remarks = remarks(&questions.examples, &answers, unanswered);
    remarks.extend(questions.remarks);
    remarks.extend(questions.repeated.map(|error| error.to_string()));
    if version == Version::One {
        return Ok(Evaluation { figures: Figures::Version1(version1(&scored)), remarks });
    }
    let Some((path, odds)) = odds else {
        return Ok(Evaluation { figures: Figures::Version2(version2(&scored)), remarks });
    };
    // The search goes through equal scores in the order of the file, as the official program does.
    let mut ordered = Vec::with_capacity(odds.0.len());
    for (id, null_score) in &odds.0 {
        if let Some(&place) = places.get(id.as_str()) {
            scored[place].null_score = *null_score;
            ordered.push(scored[place]);
        }
    }
    if ordered.len() < scored.len() {
        let missing = scored.len() - ordered.len();
        return Err(InputError::content(
            path,
            None,
            format!("{missing} of {} questions have no null score", scored.len()),
            "give the file that was written together with the predictions",
        ));
    }
    let (best_exact, best_exact_thresh) = best_threshold(&ordered, |fit| fit.exact);
    let (best_f1, best_f1_thresh) = best_threshold(&ordered, |fit| fit.f1);
    let figures = version2(&with_threshold(&scored, threshold));
    let figures = Figures::WithThresholds { figures, best_exact, best_exact_thresh, best_f1, best_f1_thresh };
    Ok(Evaluation { figures, remarks })
}

/// Whether a file of questions has answers to compare predictions with.
///
/// # Errors
/// If it cannot be read.
pub fn has_answers(data: &Path) -> Result<bool, InputError> {
    Ok(file::read(data, Split::Test)?.examples.iter().all(|example| example.target.is_some()))
}

const NULL_ODDS: &str = "a file of null scores, {\"question\": number, …}";

/// One question after it was answered.
pub(super) fn score(version: Version, gold: Vec<String>, answer: &str, null_score: f64) -> Scored {
    let fit = match version {
        Version::One => fit_version1(&gold, answer),
        Version::Two => fit_version2(&gold, answer),
    };
    Scored { fit, has_answer: !gold.is_empty(), answered: !answer.is_empty(), null_score }
}

fn remarks(examples: &[Example], answers: &HashMap<String, String>, unanswered: usize) -> Vec<String> {
    let mut remarks = Vec::new();
    if unanswered > 0 {
        remarks.push(format!("{unanswered} questions have no prediction and count as wrong"));
    }
    let others = answers.len() + unanswered - examples.len().min(answers.len() + unanswered);
    if others > 0 {
        remarks.push(format!("{others} predictions are about questions that the data do not have"));
    }
    remarks
}

/// Numbers by name, in the order of the file.
#[derive(Debug)]
struct InOrder(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = InOrder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<InOrder, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
