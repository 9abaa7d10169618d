//! What the model says about a feature, shrunk to what scores and prediction files need.

use std::collections::HashSet;

use super::features::Feature;
use super::task::{Example, Kind, Target};

/// What a head gave for one feature.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// A logit for each class, or for each option.
    Scores(&'a [f32]),
    /// The number.
    Value(f32),
    /// `[rows, classes]` logits at [`Feature::rows`].
    Words(&'a [f32]),
    /// A logit for each row of the sequence, to be the first and to be the last of the answer.
    Span {
        /// For the first row.
        start: &'a [f32],
        /// For the last row.
        end: &'a [f32],
    },
    /// The beam of the answerable head.
    Beam {
        /// Its candidates, in any order.
        beam: &'a [BeamEntry],
        /// The logit of there being no answer.
        null: f32,
    },
}

/// A candidate of the answerable head: rows of the sequence with their log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamEntry {
    /// The first row.
    pub start_row: usize,
    /// The last row.
    pub end_row: usize,
    /// The log-probability of the first row.
    pub start: f32,
    /// The log-probability of the last row, given the first.
    pub end: f32,
}

/// Which spans are taken for answers, as in the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// How many candidates are kept, and how many first and last rows are combined.
    pub candidates: usize,
    /// The longest answer, in pieces.
    pub length: usize,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self { candidates: 20, length: 30 }
    }
}

/// A text that may be the answer, and how well its first and its last row suit (logits of the span head, log-probabilities of
/// the answerable one).
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The text, as it stands in the passage.
    pub text: String,
    /// How well the first row suits.
    pub start: f32,
    /// How well the last row suits.
    pub end: f32,
}

impl Candidate {
    /// By this candidates are compared.
    pub fn score(&self) -> f32 {
        self.start + self.end
    }
}

/// What the model says about an example.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A score for each class or option: the largest wins.
    Scores(Vec<f32>),
    /// The number.
    Value(f32),
    /// The class of each word; of words beyond the end of the sequence nothing is said.
    Words(Vec<u32>),
    /// Candidates, the best first, no text twice.
    Spans {
        /// The candidates.
        best: Vec<Candidate>,
        /// How well no answer suits: the smallest over all windows, since one window with the answer is enough.
        null: f32,
    },
}

impl Answer {
    /// What `output` says about the example of `feature`.
    pub fn of(output: Output<'_>, feature: &Feature, limits: &AnswerLimits) -> Self {
        match output {
            Output::Scores(scores) => Self::Scores(scores.to_vec()),
            Output::Value(value) => Self::Value(value),
            Output::Words(logits) => {
                let classes = logits.len().checked_div(feature.rows.len()).unwrap_or(1).max(1);
                Self::Words(logits.chunks_exact(classes).map(largest).collect())
            }
            Output::Span { start, end } => {
                let ends = best_rows(end, limits.candidates);
                let pairs = best_rows(start, limits.candidates).into_iter().flat_map(|start_row| {
                    ends.iter().map(move |&end_row| (start_row, end_row, start[start_row], end[end_row]))
                });
                let null = start[0] + end[0];
                Self::Spans { best: candidates(pairs, feature, limits), null }
            }
            Output::Beam { beam, null } => {
                let pairs = beam.iter().map(|entry| (entry.start_row, entry.end_row, entry.start, entry.end));
                Self::Spans { best: candidates(pairs, feature, limits), null }
            }
        }
    }

    /// Adds what another window of the same passage says; of other kinds an example has one feature only, and the first
    /// answer stands.
    pub fn merge(&mut self, other: Self, limits: &AnswerLimits) {
        if let (Self::Spans { best, null }, Self::Spans { best: more, null: other }) = (self, other) {
            best.extend(more);
            *null = null.min(other);
            keep_best(best, limits);
        }
    }

    /// The class or option with the largest score; of equal ones the first.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Scores(scores) if !scores.is_empty() => Some(largest(scores)),
            _ => None,
        }
    }

    /// The best answer that does not look at the example: the class that is most frequent in `training`, the mean value, no
    /// text. Of words it is one class, which stands for every word.
    pub fn constant(kind: Kind, training: &[Example]) -> Self {
        let targets = || training.iter().filter_map(|example| example.target.as_ref());
        let majority = |classes: usize, labels: &mut dyn Iterator<Item = u32>| {
            let mut counts = vec![0u64; classes.max(1)];
            for label in labels {
                if let Some(count) = counts.get_mut(label as usize) {
                    *count += 1;
                }
            }
            let most = counts.iter().copied().max().unwrap_or(0);
            counts.iter().position(|&count| count == most).unwrap_or(0) as u32
        };
        match kind {
            Kind::Classes(classes) | Kind::Choice(classes) => {
                let class = majority(
                    classes,
                    &mut targets().filter_map(|target| {
                        if let Target::Class(class) = target { Some(*class) } else { None }
                    }),
                );
                Self::Scores((0..classes as u32).map(|other| f32::from(u8::from(other == class))).collect())
            }
            Kind::Value => {
                let values: Vec<f64> = targets()
                    .filter_map(|target| {
                        if let Target::Value(value) = target { Some(f64::from(*value)) } else { None }
                    })
                    .collect();
                Self::Value((values.iter().sum::<f64>() / values.len().max(1) as f64) as f32)
            }
            Kind::TokenClasses(classes) => {
                let lists = targets().filter_map(|target| match target {
                    Target::Classes(list) => Some(list),
                    _ => None,
                });
                Self::Words(vec![majority(classes, &mut lists.flatten().copied())])
            }
            Kind::Span | Kind::AnswerableSpan => Self::Spans { best: Vec::new(), null: f32::MAX },
        }
    }
}

/// The place of the largest number, of equal ones the first.
fn largest(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (place, score) in scores.iter().enumerate() {
        if score > &scores[best] {
            best = place;
        }
    }
    best as u32
}

/// The rows with the largest logits, in that order; of equal ones the first.
fn best_rows(logits: &[f32], count: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..logits.len()).collect();
    let by_logit = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
    if rows.len() > count && count > 0 {
        rows.select_nth_unstable_by(count - 1, by_logit);
    }
    rows.truncate(count);
    rows.sort_unstable_by(by_logit);
    rows
}

/// Those pairs of rows (with their two scores) that can be an answer: both in the passage, the first where this window shows
/// the most context, the last not before the first, not too long.
fn candidates(
    pairs: impl Iterator<Item = (usize, usize, f32, f32)>,
    feature: &Feature,
    limits: &AnswerLimits,
) -> Vec<Candidate> {
    let Some(window) = &feature.window else { return Vec::new() };
    let rows = feature.sequences.first().map_or(0..0, super::features::Sequence::second_rows);
    let mut found: Vec<(usize, usize, f32, f32)> = pairs
        .filter(|&(start, end, _, _)| {
            rows.contains(&start)
                && rows.contains(&end)
                && start <= end
                && end - start < limits.length
                && window.fullest.contains(&(window.pieces.start + start - rows.start))
        })
        .collect();
    found.sort_by(|a, b| (b.2 + b.3).total_cmp(&(a.2 + a.3)));
    let mut best = Vec::new();
    let mut seen = HashSet::new();
    for (start_row, end_row, start, end) in found {
        let piece = |row: usize| window.pieces.start + row - rows.start;
        let text = window.passage.text_of(piece(start_row)..piece(end_row) + 1);
        if seen.insert(text) {
            best.push(Candidate { text: text.to_owned(), start, end });
        }
        if best.len() == limits.candidates {
            break;
        }
    }
    best
}

/// Puts the best first, leaves out what is there already, and keeps as many as are wanted.
fn keep_best(candidates: &mut Vec<Candidate>, limits: &AnswerLimits) {
    candidates.sort_by(|a, b| b.score().total_cmp(&a.score()));
    let mut seen = HashSet::new();
    candidates.retain(|candidate| seen.insert(candidate.text.clone()));
    candidates.truncate(limits.candidates);
}
