//! Questions about passages: SQuAD 1.1 and 2.0.
//!
//! | file | what a reader finds there |
//! |---|---|
//! | `file` | files of questions |
//! | `align` | which characters of a passage each piece stands for |
//! | `passage` | a passage encoded once, and its windows |
//! | `recovery` | whether answers can be told from the rows that the model is taught |
//! | `predictions` | the official prediction files |
//! | `official` | what the official evaluation programs print |
//!
//! What differs from the reference (`run_squad_v1`, `run_squad_v2`), and why:
//!
//! * A passage is aligned once, not once a question, and every passage can be aligned: no question is left out.
//! * Where no span of the best ones can be an answer, the answer is the empty text (the reference writes `empty` in version 1.1); it
//!   is the one entry of the n-best list, with the reference's scores.
//! * A question of version 2.0 is answered if its null score is *at most* the threshold. The search counts the question at the
//!   threshold as answered; the reference asks for less than it and loses this question.
//! * Null scores are compared with that threshold and nothing else. The reference compares the raw logit with 1.0 as well, which
//!   its evaluation program means for probabilities; `evaluate` does so where it is given null scores, as that program.
//! * The threshold is searched on the set that is judged, as the reference does, unless one is given; figures that were
//!   reached so are a little too good. A test set needs one that was found elsewhere.

mod align;
pub mod file;
pub mod official;
mod passage;
mod predictions;
mod recovery;

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use passage::Passage;
pub use recovery::Recovery;

use super::answers::Answer;
use super::features::{Feature, FeatureTarget, Limits, Sequence, Window};
use super::task::{Example, Examples, Figures, FileReport, Input, Kind, Split, Target, Task};
use crate::scores::answers::{Scored, best_threshold, version1, version2, with_threshold};
use crate::tables::InputError;
use crate::tokenizer::Encoder;

/// The name among the figures of version 2.0 of the largest null score at which a question was answered, as in the reference.
pub const NULL_THRESHOLD: &str = "null_score_diff_threshold";

/// The score of the answer where there is no text for one, as in the reference.
const NO_TEXT: f64 = -1e6;

/// Which SQuAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.1: every question has an answer.
    One,
    /// 2.0: some have none.
    Two,
}

/// How a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SquadHead {
    /// By the first and the last row, each by itself; the first token stands for no answer.
    Span,
    /// By a first row, a last row that depends on it, and a logit of there being no answer.
    Answerable,
}

/// SQuAD as a task.
#[derive(Clone, Debug)]
pub struct Squad {
    version: Version,
    head: SquadHead,
    /// The largest null score at which a question is answered; searched where it is not given.
    threshold: Option<f64>,
}

impl Squad {
    /// SQuAD with one of the heads; version 1.1 has the span head only.
    pub fn new(version: Version, head: SquadHead) -> Self {
        let head = if version == Version::One { SquadHead::Span } else { head };
        Self { version, head, threshold: None }
    }

    /// The same with a threshold that is not searched.
    pub fn with_threshold(self, threshold: f64) -> Self {
        Self { threshold: Some(threshold), ..self }
    }

    /// The name of the file of a split in the official distribution, and its number of questions.
    fn official(&self, split: Split) -> (&'static str, Option<usize>) {
        match (self.version, split) {
            (Version::One, Split::Train) => ("train-v1.1.json", Some(87_599)),
            (Version::One, Split::Dev) => ("dev-v1.1.json", Some(10_570)),
            (Version::One, Split::Test) => ("test-v1.1.json", None),
            (Version::Two, Split::Train) => ("train-v2.0.json", Some(130_319)),
            (Version::Two, Split::Dev) => ("dev-v2.0.json", Some(11_873)),
            (Version::Two, Split::Test) => ("test-v2.0.json", None),
        }
    }

    /// How likely a question has no answer: larger is likelier. Of the span head, how much better no answer suits than the best
    /// one; of the answerable head its logit.
    pub fn null_score(&self, answer: &Answer) -> f64 {
        let Answer::Spans { best, null } = answer else { return 0.0 };
        let best = best.first().map_or(NO_TEXT, |best| f64::from(best.score()));
        let score = match self.head {
            SquadHead::Span => f64::from(*null) - best,
            SquadHead::Answerable => f64::from(*null),
        };
        if score.is_finite() { score.clamp(NO_TEXT, -NO_TEXT) } else { -NO_TEXT }
    }

    /// The largest null score at which one of these questions is answered: the given one, else the one with the best F1 where all answers are known, else
    /// 0.
    pub fn threshold(&self, examples: &[Example], answers: &[Answer]) -> f64 {
        match self.threshold {
            Some(value) => value,
            None if examples.iter().all(|example| example.target.is_some()) => {
                best_threshold(&self.scored(examples, answers), |fit| fit.f1).1
            }
            None => 0.0,
        }
    }

    /// Every question whose right answers are known, answered with the best text whatever its null score.
    fn scored(&self, examples: &[Example], answers: &[Answer]) -> Vec<Scored> {
        (examples.iter().zip(answers))
            .filter_map(|(example, answer)| {
                let Some(Target::Answers(gold)) = &example.target else { return None };
                let gold = gold.iter().map(|gold| gold.text.clone()).collect();
                Some(official::score(self.version, gold, best_text(answer), self.null_score(answer)))
            })
            .collect()
    }
}

/// The best text, or none.
fn best_text(answer: &Answer) -> &str {
    match answer {
        Answer::Spans { best, .. } => best.first().map_or("", |best| &best.text),
        _ => "",
    }
}

impl Task for Squad {
    fn name(&self) -> &str {
        match self.version {
            Version::One => "squad-1.1",
            Version::Two => "squad-2.0",
        }
    }

    fn kind(&self) -> Kind {
        match self.head {
            SquadHead::Span => Kind::Span,
            SquadHead::Answerable => Kind::AnswerableSpan,
        }
    }

    fn labels(&self) -> &[String] {
        &[]
    }

    fn read(&self, source: &Path, split: Split) -> Result<Examples, InputError> {
        let (name, official) = self.official(split);
        let path = if source.is_dir() { source.join(name) } else { source.to_path_buf() };
        if source.is_dir() && !path.is_file() {
            return Err(InputError::missing(
                source,
                format!("the {} set is not there (no {name})", split.name()),
                format!("name the file itself, or a folder that holds {name}"),
            ));
        }
        let mut questions = file::read(&path, split)?;
        if split != Split::Train
            && let Some(error) = questions.repeated.take()
        {
            return Err(error);
        }
        if self.version == Version::Two && split == Split::Dev {
            questions.take_missing_answers_for_none();
        }
        let without =
            |example: &&Example| matches!(&example.target, Some(Target::Answers(gold)) if gold.is_empty());
        let without = questions.examples.iter().filter(without).count();
        if self.version == Version::One && without > 0 {
            return Err(InputError::content(
                &path,
                None,
                format!("{without} of {} questions have no answer", questions.examples.len()),
                "that is SQuAD 2.0: `squad --version 2.0` is its task",
            ));
        }
        let mut remarks = questions.remarks;
        if self.version == Version::Two {
            remarks.push(format!("{without} of them without an answer"));
        }
        // Files of other names may be anything.
        let official = official.filter(|_| path.file_name().is_some_and(|file| file == name));
        let files = vec![FileReport { path, rows: questions.examples.len(), official, remarks }];
        Ok(Examples { examples: questions.examples, files })
    }

    fn features(
        &self,
        examples: &[Example],
        first: usize,
        encoder: &mut Encoder<'_>,
        limits: &Limits,
        into: &mut Vec<Feature>,
    ) {
        let mut passage: Option<Arc<Passage>> = None;
        for (number, example) in (first..).zip(examples) {
            let Input::Question { question, passage: text } = &example.input else { continue };
            let encoded = match passage.take().filter(|passage| Arc::ptr_eq(passage.text(), text)) {
                Some(passage) => passage,
                None => Arc::new(Passage::new(Arc::clone(text), encoder)),
            };
            let mut ids = Vec::new();
            encoder.encode(question, &mut ids);
            let longest = limits.question.min(limits.length.saturating_sub(4));
            let is_cut = ids.len() > longest;
            ids.truncate(longest);
            let question = super::features::Ids::from(ids);
            let room = limits.length.saturating_sub(question.as_slice().len() + 3);
            let answer = example.target.as_ref().and_then(|target| answer_pieces(target, &encoded));
            for window in encoded.windows(room, limits.stride) {
                into.push(Feature {
                    is_cut,
                    ..window_feature(number, question.clone(), window, answer.clone())
                });
            }
            passage = Some(encoded);
        }
    }

    fn score(&self, examples: &[Example], answers: &[Answer]) -> Figures {
        let scored = self.scored(examples, answers);
        if scored.is_empty() {
            return Figures::new();
        }
        let name = |name: &'static str| Cow::Borrowed(name);
        if self.version == Version::One {
            let figures = version1(&scored);
            return vec![(name("f1"), figures.f1), (name("exact_match"), figures.exact_match)];
        }
        let threshold = self.threshold(examples, answers);
        let figures = version2(&with_threshold(&scored, threshold));
        let mut list = vec![(name("f1"), figures.f1), (name("exact"), figures.exact)];
        list.push((name(NULL_THRESHOLD), threshold));
        if let Some(part) = figures.answerable {
            list.extend([(name("HasAns_f1"), part.f1), (name("HasAns_exact"), part.exact)]);
        }
        if let Some(part) = figures.unanswerable {
            list.extend([(name("NoAns_f1"), part.f1), (name("NoAns_exact"), part.exact)]);
        }
        list
    }

    fn selection(&self) -> &str {
        "f1"
    }

    fn write(
        &self,
        examples: &[Example],
        answers: &[Answer],
        _split: Split,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, InputError> {
        predictions::write(self, examples, answers, folder)
    }
}

/// The pieces of a passage that hold the answer to learn, or `Some(None)` if there is no answer; `None` where its place is not known.
fn answer_pieces(target: &Target, passage: &Passage) -> Option<Option<Range<usize>>> {
    let Target::Answers(gold) = target else { return None };
    let Some(gold) = gold.first() else { return Some(None) };
    let start = gold.start?;
    Some(passage.pieces_of(start..start + gold.text.len()))
}

/// One window as a feature. `answer` is what [`answer_pieces`] says.
fn window_feature(
    number: usize,
    question: super::features::Ids,
    window: Window,
    answer: Option<Option<Range<usize>>>,
) -> Feature {
    let ids = window.passage.ids(window.pieces.clone());
    let sequence = Sequence { first: question, second: Some(ids) };
    let rows = sequence.second_rows();
    let target = answer.map(|answer| {
        let inside = answer
            .filter(|answer| window.pieces.start <= answer.start && answer.end <= window.pieces.end)
            .map(|answer| (answer.start - window.pieces.start, answer.end - 1 - window.pieces.start));
        match inside {
            Some((first, last)) => FeatureTarget::Span { start: rows.start + first, end: rows.start + last },
            None => FeatureTarget::Span { start: 0, end: 0 },
        }
    });
    Feature { window: Some(window), ..Feature::of(number, sequence, target) }
}
