//! Figures by which tables are judged.

use super::table::Wanted;
use crate::finetuning::answers::Answer;
use crate::finetuning::task::Target;
use crate::scores::classes::Confusion;
use crate::scores::correlation::{pearson, spearman};
use crate::scores::entities;

/// A figure by which a table is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// The share of right classes.
    Accuracy,
    /// F1 of class 1.
    F1,
    /// Matthews' correlation.
    Matthews,
    /// Pearson's correlation.
    Pearson,
    /// Spearman's correlation.
    Spearman,
    /// F1 of entities in words.
    Entities,
}

impl Score {
    /// Its name among the figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 | Self::Entities => "f1",
            Self::Matthews => "matthews",
            Self::Pearson => "pearson",
            Self::Spearman => "spearman",
        }
    }

    /// What it comes to over examples whose targets are known, of a task with these classes.
    pub fn of(self, wanted: Wanted, labels: &[String], pairs: &[(&Target, &Answer)]) -> f64 {
        let classes = || -> (Vec<u32>, Vec<u32>) {
            let none = labels.len() as u32;
            let of = |(target, answer): &(&Target, &Answer)| match target {
                Target::Class(label) => Some((*label, answer.class().unwrap_or(none))),
                _ => None,
            };
            pairs.iter().filter_map(of).unzip()
        };
        let values = || -> (Vec<f64>, Vec<f64>) {
            let of = |(target, answer): &(&Target, &Answer)| match (target, answer) {
                (Target::Value(label), Answer::Value(value)) => Some((f64::from(*label), f64::from(*value))),
                _ => None,
            };
            pairs.iter().filter_map(of).unzip()
        };
        let words = || {
            pairs.iter().filter_map(|(target, answer)| match (target, answer) {
                (Target::Classes(labels), Answer::Words(found)) => {
                    Some((labels.as_slice(), found.as_slice()))
                }
                _ => None,
            })
        };
        let figure = match (self, wanted) {
            (Score::Accuracy, Wanted::WordClasses) => entities::accuracy(words()),
            (Score::Entities, _) => entities::f1(words(), labels),
            (Score::Pearson, _) => pearson(&values().0, &values().1),
            (Score::Spearman, _) => spearman(&values().0, &values().1),
            _ => {
                let (labels, found) = classes();
                let confusion = Confusion::new(&labels, &found);
                match self {
                    Score::F1 => confusion.f1(),
                    Score::Matthews => confusion.matthews(),
                    _ => confusion.accuracy(),
                }
            }
        };
        // Of no examples, and of constants that correlate with nothing, no figure can be made: they show no skill.
        if figure.is_finite() { figure } else { 0.0 }
    }
}
