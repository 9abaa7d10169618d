//! What `evaluate` and `predict` do with a task: its data through a fine-tuned model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use model::{MULTI_LABEL, Origin};
use serde_json::{Map, Value, json};
use train::config::{AnswerHead, Finetune, MOST_OPTIONS, RaceLevel, TableKind, TaskSettings};
use train::finetuning::squad::official::{self, Evaluation, Figures, OFFICIAL_THRESHOLD};
use train::finetuning::squad::{NULL_THRESHOLD, Version};
use train::finetuning::tasks::GLUE;
use train::finetuning::{
    Answer, Examined, Kind, Limits, Predictor, Purpose, Split, Task, baseline, classes_in_table, doubts,
    look_at, read_split, the_task,
};
use train::run::directory::model_in;
use train::visible::{shown, visible};

use crate::arguments::{CpuArguments, place, warn};
use crate::evaluate::Found;
use crate::exit::{misuse, refuse};
use crate::output::{json_line, say, tell};
use crate::shell::quoted;

/// The tasks.
#[derive(Subcommand)]
pub enum OnTask {
    /// One of GLUE's tasks: cola, sst-2, mrpc, sts-b, qqp, mnli, qnli, rte, wnli, ax
    Glue {
        /// The task
        task: String,
        #[command(flatten)]
        model: OnData,
    },
    /// SQuAD: an answer's place in a passage
    Squad {
        /// 1.1, where every question has an answer, or 2.0; not given: as the questions of --predictions are, else 1.1
        #[arg(long, value_parser = ["1.1", "2.0"])]
        version: Option<String>,
        /// For 2.0: answerable, as ALBERT does it, or span, as in 1.1; not given: the one that the model has
        #[arg(long, value_parser = ["answerable", "span"])]
        head: Option<String>,
        /// For 2.0: the largest null score of an answered question; not given: the best one where answers are known, else 0
        #[arg(long, value_name = "X", allow_negative_numbers = true)]
        null_threshold: Option<f64>,
        /// Largest number of tokens in a question; the rest is cut off
        #[arg(long, value_name = "N", value_parser = at_least_one())]
        max_question_length: Option<usize>,
        /// Tokens from one window of a long passage to the next
        #[arg(long, value_name = "N", value_parser = at_least_one())]
        doc_stride: Option<usize>,
        /// Score this file of predictions, {question: answer}, as the official programs do; no model is needed
        #[arg(long, value_name = "FILE")]
        predictions: Option<PathBuf>,
        /// With --predictions: how likely each question has no answer, {question: number}
        #[arg(long, value_name = "FILE", requires = "predictions")]
        null_odds: Option<PathBuf>,
        /// With --null-odds: questions above it count as not answered
        #[arg(long, value_name = "X", default_value_t = OFFICIAL_THRESHOLD)]
        na_prob_thresh: f64,
        #[command(flatten)]
        model: OnData,
    },
    /// RACE: the right one of several answers
    Race {
        /// middle, high or both
        #[arg(long, default_value = "both", value_parser = ["middle", "high", "both"])]
        level: String,
        /// Most tokens of a question with one of its options, of which the beginning is cut off
        #[arg(long, value_name = "N", value_parser = at_least_one())]
        max_question_length: Option<usize>,
        /// Options of each question
        #[arg(long, default_value_t = 4, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_OPTIONS as u64))]
        options: usize,
        #[command(flatten)]
        model: OnData,
    },
    /// A table of your own
    Table {
        /// The column of the text, or of the list of words; not given: text, or tokens with --kind tags
        #[arg(long, value_name = "COLUMN")]
        text: Option<String>,
        /// The column of a second text
        #[arg(long, value_name = "COLUMN")]
        pair: Option<String>,
        /// The column of the label; not given: label, or tags with --kind tags
        #[arg(long, value_name = "COLUMN")]
        label: Option<String>,
        /// What the label is: class, value or tags
        #[arg(long, default_value = "class", value_parser = ["class", "value", "tags"])]
        kind: String,
        #[command(flatten)]
        model: OnData,
    },
}

/// A model and the data that it is shown.
#[derive(Args)]
pub struct OnData {
    /// Model directory, or a run of finetune, whose model/ is meant
    #[arg(short, long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The task's files: the folder with the official ones, or a file
    #[arg(short, long, value_name = "PATH")]
    data: PathBuf,
    /// train, dev or test; not given: dev to evaluate, test to predict
    #[arg(long, value_parser = ["train", "dev", "test"])]
    split: Option<String>,
    /// Use only the first N examples; not given: all
    #[arg(long, value_name = "N")]
    examples: Option<usize>,
    /// Largest number of tokens in a sequence; not given: as the task's recipe has it, or as many as the model takes
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(8..))]
    max_seq_length: Option<usize>,
    #[command(flatten)]
    cpu: CpuArguments,
    /// Write the prediction files into this folder
    #[arg(short, long, value_name = "DIR", value_parser = place())]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

impl OnTask {
    /// The limits of its sequences: the reference's, but for what is given.
    fn limits(&self, length: usize) -> Result<Limits> {
        let usual = Limits::new(length);
        let (max_question_length, doc_stride) = match self {
            Self::Squad { max_question_length, doc_stride, .. } => (max_question_length, *doc_stride),
            Self::Race { max_question_length, .. } => (max_question_length, None),
            Self::Glue { .. } | Self::Table { .. } => return Ok(usual),
        };
        let question = max_question_length.unwrap_or(usual.question);
        if max_question_length.is_some() && question.saturating_add(3) >= length {
            refuse!(
                "--max-question-length {question} leaves no place for a passage in sequences of {length} tokens: at most {}",
                length.saturating_sub(4)
            );
        }
        let option = max_question_length.unwrap_or(usual.option);
        Ok(Limits { question, option, stride: doc_stride.unwrap_or(usual.stride), ..usual })
    }

    fn parts(&self) -> (TaskSettings, &OnData) {
        let named = |task: String| TaskSettings { task, ..TaskSettings::default() };
        match self {
            Self::Glue { task, model } => (named(task.to_lowercase()), model),
            Self::Squad { version, head, null_threshold, model, .. } => {
                let is_span = head.as_deref() == Some("span");
                let head = if is_span { AnswerHead::Span } else { AnswerHead::Answerable };
                let null_threshold = *null_threshold;
                let version = version.as_deref().unwrap_or("1.1");
                (TaskSettings { head, null_threshold, ..named(format!("squad-{version}")) }, model)
            }
            Self::Race { level, options, model, .. } => {
                let level = match level.as_str() {
                    "middle" => RaceLevel::Middle,
                    "high" => RaceLevel::High,
                    _ => RaceLevel::Both,
                };
                (TaskSettings { level, options: *options, ..named("race".into()) }, model)
            }
            Self::Table { text, pair, label, kind, model } => {
                let kind = match kind.as_str() {
                    "value" => TableKind::Value,
                    "tags" => TableKind::Tags,
                    _ => TableKind::Class,
                };
                let [usual_text, usual_label] = kind.columns().map(str::to_owned);
                let text = text.clone().unwrap_or(usual_text);
                let label = label.clone().unwrap_or(usual_label);
                (TaskSettings { text, pair: pair.clone(), label, kind, ..named("table".into()) }, model)
            }
        }
    }
}

/// A task as the commands name it, with the options that say which task it is: the opposite of [`OnTask::parts`].
pub fn named(settings: &TaskSettings) -> String {
    let TaskSettings { task, text, pair, label, kind, head, null_threshold, level, options, .. } = settings;
    let mut words = match task.strip_prefix("squad-") {
        Some(version) => vec![format!("squad --version {version}")],
        None if GLUE.iter().any(|row| row.name == task) => vec![format!("glue {task}")],
        None => vec![task.clone()],
    };
    let usual = TaskSettings::default();
    match task.as_str() {
        "squad-2.0" => {
            words.extend((*head != usual.head).then(|| "--head span".to_owned()));
            words.extend(null_threshold.map(|threshold| format!("--null-threshold {threshold}")));
        }
        "race" => {
            words.extend(match level {
                RaceLevel::Both => None,
                RaceLevel::Middle => Some("--level middle".to_owned()),
                RaceLevel::High => Some("--level high".to_owned()),
            });
            words.extend((*options != usual.options).then(|| format!("--options {options}")));
        }
        "table" => {
            let column = |flag: &str, name: &str| format!("--{flag}={}", quoted(name));
            let [usual_text, usual_label] = kind.columns();
            words.extend((text != usual_text).then(|| column("text", text)));
            words.extend(pair.as_deref().map(|pair| column("pair", pair)));
            words.extend((label != usual_label).then(|| column("label", label)));
            words.extend(match kind {
                TableKind::Class => None,
                TableKind::Value => Some("--kind value".to_owned()),
                TableKind::Tags => Some("--kind tags".to_owned()),
            });
        }
        _ => {}
    }
    words.join(" ")
}

/// A task's data, and what the model answers.
pub struct Answered {
    pub task: Arc<dyn Task>,
    pub split: Split,
    pub examined: Examined,
    pub answers: Vec<Answer>,
}

fn answer(of: &OnTask, usual: Split) -> Result<Answered> {
    let (mut settings, on) = of.parts();
    settings.data = Some(on.data.clone());
    let on_model =
        on.model.as_ref().ok_or_else(|| misuse("by which model? --model names its directory, or a run"))?;
    let _origin = Origin::of(&model_in(on_model)?)?; // an archive stays unpacked for all of the following
    let purpose = Purpose::of(on_model)?;
    if let (OnTask::Squad { head: None, .. }, Some(Kind::Span)) = (of, purpose.kind) {
        settings.head = AnswerHead::Span;
    }
    let split = match on.split.as_deref() {
        Some("train") => Split::Train,
        Some("dev") => Split::Dev,
        Some("test") => Split::Test,
        _ => usual,
    };
    // Rows that have labels: the classes have to be called as they are.
    let is_labelled = usual == Split::Dev || split != Split::Test;
    let labels = match is_labelled && purpose.is_nameless() && matches!(of, OnTask::Table { .. }) {
        true => classes_in_table(&settings, &on.data, split, &purpose.labels)?,
        false => purpose.labels.clone(),
    };
    let mut all = Finetune { task: settings, ..Finetune::default() };
    let task = the_task(&all, Some(labels))?;
    if purpose.is_multi_label && matches!(task.kind(), Kind::Classes(_)) {
        refuse!(
            "{}: a text has any number of this model's classes (problem_type {MULTI_LABEL} in its config.json), and one in this task: \
             `predict text` tells the probability of each",
            shown(on_model)
        );
    }
    all.start.size = Some(look_at(on_model)?.0);
    let mut model = Predictor::load(on_model, task.kind(), on.cpu.device()?)?;
    warn(model.warnings());
    let longest = all.recipe().max_seq_length.min(model.positions());
    let length = on.max_seq_length.unwrap_or(longest);
    if length > model.positions() {
        refuse!(
            "--max-seq-length: sequences of {length} tokens are longer than the model's {} positions",
            model.positions()
        );
    }
    let limits = of.limits(length)?;
    if matches!(of, OnTask::Table { .. }) && on.data.is_file() && split == Split::Dev {
        tell(
            "all rows of the file are measured: if the model was learnt from it, nine of ten of them are no test",
        );
    }
    let mut say = |report: String| tell(report);
    let examined = read_split(&*task, &on.data, split, on.examples, model.tokenizer(), &limits, &mut say)?;
    let mut answers = model.answers(task.kind(), &examined)?;
    match Order::of(&purpose.labels, task.labels()) {
        Order::Same => {}
        Order::Other(places) => answers.iter_mut().for_each(|answer| {
            if let Answer::Scores(scores) = answer {
                *scores = places.iter().map(|&place| scores[place]).collect();
            }
        }),
        Order::Unknown => tell(format_args!(
            "warning: the model calls its classes {}: they are taken for {}, in this order",
            visible(&purpose.labels.join(", ")),
            task.labels().join(", ")
        )),
    }
    Ok(Answered { task, split, examined, answers })
}

/// How the classes of a model stand to those of a task.
#[derive(Debug, PartialEq)]
enum Order {
    /// In the same order.
    Same,
    /// The same names in another order: where each of the task's is among the model's.
    Other(Vec<usize>),
    /// Other names.
    Unknown,
}

impl Order {
    fn of(model: &[String], task: &[String]) -> Self {
        if task.is_empty() || model.len() != task.len() {
            return Self::Same; // the number of classes is the predictor's to check
        }
        // The place of each, if no two have the same.
        let places = |is_same: fn(&str, &str) -> bool| {
            let place = |name: &String| model.iter().position(|known| is_same(known, name));
            let places: Vec<usize> = task.iter().map(place).collect::<Option<_>>()?;
            (0..task.len()).all(|class| places.contains(&class)).then_some(places)
        };
        match places(|known, name| known == name).or_else(|| places(str::eq_ignore_ascii_case)) {
            Some(places) if places.iter().copied().eq(0..task.len()) => Self::Same,
            Some(places) => Self::Other(places),
            None => Self::Unknown,
        }
    }
}

impl Answered {
    fn write(&self, out: &PathBuf) -> Result<()> {
        std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", shown(out)))?;
        for path in self.task.write(&self.examined.examples, &self.answers, self.split, out)? {
            tell(format_args!("written: {}", shown(&path)));
        }
        Ok(())
    }
}

/// Prints what a model scores at a task.
pub fn evaluate_task(of: &OnTask) -> Result<Found> {
    if let OnTask::Squad {
        version, predictions: Some(predictions), null_odds, na_prob_thresh, model, ..
    } = of
    {
        return score_predictions(
            version.as_deref().map(|version| if version == "2.0" { Version::Two } else { Version::One }),
            &model.data,
            predictions,
            null_odds.as_deref(),
            *na_prob_thresh,
            model.json,
        )
        .map(Found::Official);
    }
    let answered = answer(of, Split::Dev)?;
    let Answered { task, examined: Examined { examples, .. }, answers, .. } = &answered;
    let figures = task.score(examples, answers);
    if figures.is_empty() {
        refuse!(
            "nothing is known of what is right for these {} examples: `predict` writes the answers to such a set",
            examples.len()
        );
    }
    let usual = baseline(&**task, examples, examples);
    let known = examples.iter().filter(|example| example.target.is_some()).count();
    let on = of.parts().1;
    if on.json {
        let mut object: Map<String, Value> =
            figures.iter().map(|(name, value)| (name.clone().into_owned(), json!(value))).collect();
        object.insert("examples".into(), json!(known));
        json_line(&Value::Object(object))?;
    } else {
        for (name, value) in &figures {
            let of_usual =
                usual.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, value)| *value);
            match name.as_ref() {
                NULL_THRESHOLD => say!("{name:24} {value}"),
                _ => say!("{name:24} {value:.4}  (constant answer: {of_usual:.4})"),
            }
        }
        say!("over {known} examples");
    }
    for doubt in doubts(&**task, examples, answers) {
        tell(format_args!("warning: {doubt}"));
    }
    if let Some(out) = &on.out {
        answered.write(out)?;
    }
    Ok(Found::Answers(answered))
}

/// Prints what the official programs print of a file of predictions.
fn score_predictions(
    version: Option<Version>,
    data: &Path,
    predictions: &Path,
    null_odds: Option<&Path>,
    threshold: f64,
    json: bool,
) -> Result<Figures> {
    let Evaluation { figures, remarks } =
        official::evaluate(version, data, predictions, null_odds, threshold)?;
    remarks.iter().for_each(tell);
    let object = serde_json::to_value(figures)?;
    if json {
        json_line(&object)?;
        return Ok(figures);
    }
    for (name, value) in object.as_object().into_iter().flatten() {
        say!("{name:24} {value}");
    }
    Ok(figures)
}

/// Writes what a model answers as the task's official prediction files.
pub fn predict_task(of: &OnTask) -> Result<Answered> {
    let out = of.parts().1.out.clone();
    let out = out.ok_or_else(|| misuse("where to? --out names a folder for the prediction files"))?;
    let answered = answer(of, Split::Test)?;
    let is_unlabelled = || answered.examined.examples.iter().any(|example| example.target.is_none());
    if let OnTask::Squad { version: Some(version), null_threshold: None, .. } = of
        && version == "2.0"
        && is_unlabelled()
    {
        tell(format_args!(
            "questions with a null score above 0 are left without an answer, for no right answers are known to search a \
             threshold by: --null-threshold takes the one that was best on the development set ({NULL_THRESHOLD})"
        ));
    }
    answered.write(&out)?;
    Ok(answered)
}

/// Probabilities from logits.
pub fn softmax(scores: &[f32]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let raised: Vec<f64> = scores.iter().map(|score| f64::from(score - largest).exp()).collect();
    let sum: f64 = raised.iter().sum();
    raised.into_iter().map(|value| value / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_by_their_names() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let task = names(&["contradiction", "entailment", "neutral"]);
        for (model, order) in [
            (vec![], Order::Same),
            (names(&["LABEL_0", "LABEL_1", "LABEL_2"]), Order::Unknown),
            (names(&["CONTRADICTION", "ENTAILMENT", "NEUTRAL"]), Order::Same),
            (names(&["entailment", "neutral", "contradiction"]), Order::Other(vec![2, 0, 1])),
            (names(&["yes", "no", "maybe"]), Order::Unknown),
        ] {
            assert_eq!(Order::of(&model, &task), order, "{model:?}");
        }
        // Names that differ in nothing but their case are two names.
        let both = names(&["us", "US"]);
        assert_eq!(Order::of(&both, &both), Order::Same);
        assert_eq!(Order::of(&names(&["US", "us"]), &both), Order::Other(vec![1, 0]));
        assert_eq!(Order::of(&names(&["Us", "them"]), &both), Order::Unknown);
    }
}
