//! `albert-train predict`: what a fine-tuned model answers, to texts or to the examples of a task.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use train::exit::ExitCode;
use train::finetuning::{Answer, Examined, Example, Feature, Input, Kind, Predictor, Purpose, Sequence};
use train::inference::SEPARATOR;
use train::run::directory::model_in;

use crate::arguments::{CpuArguments, TextArguments};
use crate::output::json_line;
use crate::task::{OnTask, predict_task};

/// Let a fine-tuned model answer: texts with their classes or values, or a task's examples with the official prediction files.
///
/// Needs no training data: the model says what its classes are called. Where options follow at once, text is meant.
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

/// A text with its class or value, one JSON object a line; a SEP in square brackets stands between two texts.
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
    match &arguments.what {
        What::Task(task) => predict_task(task),
        What::Text(texts) => on_texts(texts),
    }
}

fn on_texts(arguments: &OnTexts) -> Result<ExitCode> {
    let purpose = Purpose::of(&model_in(&arguments.model)?)?;
    let kind = match (purpose.labels.len(), purpose.is_regression) {
        (_, true) => Kind::Value,
        (0, _) => bail!(
            "{} has no classes and no value to tell texts by: models for questions and choices answer with \
             `albert-train predict squad` and `race`",
            arguments.model.display()
        ),
        (classes, _) => Kind::Classes(classes),
    };
    let mut model = Predictor::load(&arguments.model, kind, arguments.cpu.device()?)?;
    arguments.texts.for_each(|text| {
        let answer = one(&mut model, kind, text)?;
        let mut object = Map::new();
        object.insert("text".into(), json!(text));
        match &answer {
            Answer::Value(value) => drop(object.insert("value".into(), json!(value))),
            Answer::Scores(scores) => {
                let likelihoods = softmax(scores);
                let best = answer.class().unwrap_or(0) as usize;
                object.insert("label".into(), json!(purpose.labels[best]));
                let named = purpose.labels.iter().cloned().zip(likelihoods.into_iter().map(Value::from));
                object.insert("probabilities".into(), Value::Object(named.collect()));
            }
            _ => {}
        }
        json_line(&Value::Object(object))
    })?;
    Ok(ExitCode::Done)
}

/// What the model says to one text, or to the two on both sides of a separator.
fn one(model: &mut Predictor, kind: Kind, text: &str) -> Result<Answer> {
    let (first, second) = match text.split_once(SEPARATOR) {
        Some((first, second)) => (first.trim(), Some(second.trim())),
        None => (text, None),
    };
    let tokenizer = model.tokenizer();
    let pair = second.map(|second| tokenizer.encode(second));
    let sequence = Sequence::pair(tokenizer.encode(first), pair, model.positions());
    let input = Input::Texts { first: first.into(), second: second.map(str::to_owned) };
    let example = Example { id: String::new(), group: "", input, target: None };
    let split = Examined { examples: vec![example], features: vec![Feature::of(0, sequence, None)] };
    Ok(model.answers(kind, &split)?.swap_remove(0))
}

/// Probabilities from logits.
fn softmax(scores: &[f32]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let raised: Vec<f64> = scores.iter().map(|score| f64::from(score - largest).exp()).collect();
    let sum: f64 = raised.iter().sum();
    raised.into_iter().map(|value| value / sum).collect()
}
