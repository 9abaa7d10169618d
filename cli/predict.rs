//! `albert-train predict`: what a fine-tuned model answers, to texts or to the examples of a task.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use model::Origin;
use serde_json::{Map, Value, json};
use train::exit::ExitCode;
use train::finetuning::squad::{Squad, SquadHead, Version};
use train::finetuning::tasks::{Columns, Table, Wanted};
use train::finetuning::{Answer, Examined, Example, Input, Kind, Limits, Predictor, Purpose, Task, features};
use train::inference::SEPARATOR;
use train::run::directory::model_in;
use train::visible::shown;

use crate::arguments::{CpuArguments, TextArguments, warn};
use crate::exit::refuse;
use crate::output::{json_line, tell};
use crate::task::{Answered, OnTask, predict_task, softmax};

/// Let a fine-tuned model answer: texts one by one, or a task's examples with the official prediction files.
///
/// Needs no training data: the model says what its classes are called. The word text may be left out before options.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Text(OnTexts),
    #[command(flatten)]
    Task(Box<OnTask>),
}

/// Answer texts, one JSON object a line: their class or value, the tags of their words, or the answer to a question.
///
/// Words are what stands between spaces. A SEP in square brackets stands between two texts, and between a question and the
/// passage that answers it; above 0, its null_score says that no answer is likelier than the one given.
#[derive(Args)]
struct OnTexts {
    /// Model directory, or a run of finetune, whose model/ is meant
    #[arg(short, long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    cpu: CpuArguments,
    #[command(flatten)]
    texts: TextArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    answer(arguments).map(|_| ExitCode::Done)
}

/// Prints or writes the answers, and gives back those to a task's examples.
pub fn answer(arguments: &Arguments) -> Result<Option<Answered>> {
    match &arguments.what {
        What::Task(task) => predict_task(task).map(Some),
        What::Text(texts) => on_texts(texts).map(|()| None),
    }
}

fn on_texts(arguments: &OnTexts) -> Result<()> {
    let _origin = Origin::of(&model_in(&arguments.model)?)?; // an archive stays unpacked for all of the following
    let purpose = Purpose::of(&arguments.model)?;
    let Some(kind) = purpose.kind else {
        refuse!(
            "{} answers no texts: it has no head for classes, values, tags or questions (`finetune` gives it one; models for \
             choices answer with `albert-train predict race`)",
            shown(&arguments.model)
        );
    };
    if purpose.is_guessed {
        tell(format_args!(
            "warning: no file of {} says what its classifier with one output tells: it is taken for a value of a text; if it chooses \
             between options, as of RACE, convert it with --head choice and ask `albert-train predict race`",
            shown(&arguments.model)
        ));
    }
    let task = task(kind, &purpose.labels)?;
    let mut model = Predictor::load(&arguments.model, kind, arguments.cpu.device()?)?;
    warn(model.warnings());
    arguments.texts.for_each(|text| {
        let example = Example { id: String::new(), group: "", input: input(kind, text)?, target: None };
        let limits = Limits::new(model.positions());
        let examples = vec![example];
        let features = features::build(&*task, &examples, model.tokenizer(), &limits, &|| false);
        let split = Examined { examples, features: features.expect("nobody stops it") };
        let answer = model.answers(kind, &split)?.swap_remove(0);
        let mut object = Map::new();
        object.insert("text".into(), json!(text));
        object.extend(in_words(&answer, kind, &purpose, &split.examples[0].input));
        json_line(&Value::Object(object))
    })
}

/// The task that makes features of texts for such a model.
fn task(kind: Kind, labels: &[String]) -> Result<Box<dyn Task>> {
    let wanted = match kind {
        Kind::Value => Wanted::Value,
        Kind::TokenClasses(_) => Wanted::WordClasses,
        Kind::Span => return Ok(Box::new(Squad::new(Version::One, SquadHead::Span))),
        Kind::AnswerableSpan => return Ok(Box::new(Squad::new(Version::Two, SquadHead::Answerable))),
        _ => Wanted::Classes,
    };
    let columns = Columns::from(["text", "", "label"]);
    Ok(Box::new(Table::own(columns, wanted, Some(labels.to_vec()), Path::new(""))?))
}

/// A text as what the model is shown.
fn input(kind: Kind, text: &str) -> Result<Input> {
    let parts = text.split_once(SEPARATOR).map(|(first, second)| (first.trim(), second.trim()));
    Ok(match (kind, parts) {
        (Kind::TokenClasses(_), _) => Input::Words(text.split_whitespace().map(str::to_owned).collect()),
        (Kind::Span | Kind::AnswerableSpan, Some((question, passage))) => {
            Input::Question { question: question.into(), passage: passage.into() }
        }
        (Kind::Span | Kind::AnswerableSpan, None) => {
            refuse!("this model answers questions about passages: write `QUESTION {SEPARATOR} PASSAGE`")
        }
        (_, Some((first, second))) => Input::Texts { first: first.into(), second: Some(second.into()) },
        (_, None) => Input::Texts { first: text.into(), second: None },
    })
}

/// An answer by names.
fn in_words(answer: &Answer, kind: Kind, purpose: &Purpose, input: &Input) -> Vec<(String, Value)> {
    let labels = &purpose.labels;
    let entry = |name: &str, value: Value| (name.to_owned(), value);
    match answer {
        Answer::Value(value) => vec![entry("value", json!(value))],
        Answer::Scores(scores) if purpose.is_multi_label => {
            let each = scores.iter().map(|&score| 1.0 / (1.0 + f64::from(-score).exp()));
            let named: Vec<(String, f64)> = labels.iter().cloned().zip(each).collect();
            let likely = named.iter().filter(|(_, probability)| *probability > 0.5);
            let likely: Vec<&String> = likely.map(|(name, _)| name).collect();
            let said = entry("labels", json!(likely));
            let named = named.into_iter().map(|(name, probability)| (name, json!(probability)));
            vec![said, entry("probabilities", Value::Object(named.collect()))]
        }
        Answer::Scores(scores) => {
            let named = labels.iter().cloned().zip(softmax(scores).into_iter().map(Value::from));
            let best = answer.class().and_then(|class| labels.get(class as usize));
            vec![entry("label", json!(best)), entry("probabilities", Value::Object(named.collect()))]
        }
        Answer::Words(classes) => {
            let words: &[String] = if let Input::Words(words) = input { words } else { &[] };
            let tags: Vec<_> = (classes.iter().map(|&class| labels.get(class as usize)).map(Some))
                .chain(std::iter::repeat(None)) // words beyond the longest sequence
                .take(words.len())
                .map(Option::flatten)
                .collect();
            vec![entry("tokens", json!(words)), entry("tags", json!(tags))]
        }
        Answer::Spans { best, null } => {
            let score = best.first().map_or(f32::NEG_INFINITY, |best| best.score());
            let null_score = if kind == Kind::Span { null - score } else { *null };
            let answer = best.first().map(|best| &best.text);
            vec![entry("answer", json!(answer)), entry("null_score", json!(null_score))]
        }
    }
}
