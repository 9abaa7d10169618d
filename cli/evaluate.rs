//! `albert-train evaluate`: the figures of a finished model, on held-out text or at a task.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use train::config::{Layers, Pretrain};
use train::data::{Selection, left_out};
use train::exit::ExitCode;
use train::finetuning::squad::official::Figures;
use train::inference::Inference;
use train::pretraining::{
    self, Division, Pretraining, beats_frequency, is_recorded, read_corpus, read_recorded,
};
use train::training::Metrics;
use train::visible::shown;

use crate::arguments::{ModelArguments, ReadingArguments, place};
use crate::output::{say, tell};
use crate::task::{Answered, OnTask, evaluate_task};

/// Sequences are no longer than this unless asked for.
const LONGEST_BY_DEFAULT: usize = 512;

/// Measure a model: on held-out text, as pre-training does, or at a task, as fine-tuning does.
///
/// The word text may be left out before options.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Text(OnText),
    #[command(flatten)]
    Task(OnTask),
}

/// Measure a model on held-out text: masked words and sentence order, as training does.
#[derive(Args)]
struct OnText {
    #[command(flatten)]
    model: ModelArguments,
    /// Text: files, packed with gzip or not, folders of them, - for standard input; or a folder made by prepare; or the reference's TFRecord files
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH")]
    data: Vec<PathBuf>,
    #[command(flatten)]
    reading: ReadingArguments,
    /// Settings of a run (its config.toml): cut and mask the text as it does
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Evaluate only one document in N: those that a run on this data holds out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..))]
    held_out_every: Option<u64>,
    /// Sequences evaluated
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sequences: u64,
    /// Largest number of tokens in a sequence; not given: as in --config, else as many as the model takes, up to 512
    #[arg(long, value_name = "N")]
    max_seq_length: Option<usize>,
    /// Decides where sequences begin and what is masked; not given: as in --config, else 1
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Also write the JSON object to a file
    #[arg(short, long, value_name = "FILE", value_parser = place())]
    output: Option<PathBuf>,
}

/// What an evaluation found.
pub enum Found {
    /// Of text: figures.
    Text(Metrics),
    /// Of a task: answers.
    Answers(Answered),
    /// Of a file of predictions about SQuAD: the official figures.
    Official(Figures),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    measure(arguments).map(|_| ExitCode::Done)
}

/// Prints what was found, and gives it back.
pub fn measure(arguments: &Arguments) -> Result<Found> {
    match &arguments.what {
        What::Task(task) => evaluate_task(task),
        What::Text(text) => on_text(text).map(Found::Text),
    }
}

fn on_text(arguments: &OnText) -> Result<Metrics> {
    let (tokenizer, mut model) = (arguments.model.tokenizer()?, arguments.model.load()?);
    model.expect_tokenizer(&tokenizer)?;
    let settings = settings(arguments, model.albert().config().max_position_embeddings)?;
    let vocabulary_size = model.albert().config().vocab_size;
    let length = settings.sampling.max_seq_length;
    let every = arguments.held_out_every.map(|every| every as usize);
    let dataset = if arguments.data.iter().any(|path| is_recorded(path)) {
        let part = every.map_or(Selection::All, |every| Selection::HeldOut { every });
        read_recorded(&arguments.data, part, &tokenizer, (vocabulary_size, length))?
    } else {
        left_out(&arguments.data)?.iter().for_each(tell);
        let corpus = read_corpus(&arguments.data, arguments.reading.reading(), &tokenizer)?;
        let part = every.map_or(Selection::All, |every| Selection::of_corpus(&corpus, every)[1]);
        pretraining::dataset(&tokenizer, corpus, part, &settings, settings.training.seed)?
    };
    let division = Division::Sequences(Inference::evaluation_batch(length));
    let objective = Pretraining::measure(dataset, arguments.sequences as usize, vocabulary_size, division);
    let evaluation = model.evaluate(&objective)?;
    // Under the reference's names. How many steps the model was trained its files do not say.
    let object = serde_json::to_value(&evaluation)?;
    if arguments.json {
        say!("{object}");
    } else {
        print(&evaluation)?;
    }
    if let Some(path) = &arguments.output {
        std::fs::write(path, format!("{object:#}\n"))
            .with_context(|| format!("cannot write {}", shown(path)))?;
    }
    Ok(evaluation)
}

fn settings(arguments: &OnText, positions: usize) -> Result<Pretrain> {
    let mut layers = Layers::<Pretrain>::new();
    if let Some(path) = &arguments.config {
        layers.file(path);
    }
    layers.flag("model.max_position_embeddings", "the model's configuration", &[&positions.to_string()]);
    let guess = arguments.config.is_none().then_some(positions.min(LONGEST_BY_DEFAULT));
    if let Some(length) = arguments.max_seq_length.or(guess) {
        layers.flag("sampling.max_seq_length", "--max-seq-length", &[&length.to_string()]);
    }
    if let Some(seed) = arguments.seed {
        layers.flag("training.seed", "--seed", &[&seed.to_string()]);
    }
    Ok(layers.resolve()?.settings)
}

fn print(evaluation: &Metrics) -> Result<()> {
    for name in [
        "masked_lm_accuracy",
        "majority_masked_lm_accuracy",
        "masked_lm_loss",
        "sentence_order_accuracy",
        "sentence_order_loss",
        "loss",
    ] {
        if let Some(value) = evaluation.get(name) {
            say!("{name:28} {value:.4}");
        }
    }
    let count = |name| evaluation.value(name);
    say!("over {} sequences, {} masked tokens", count("sequences"), count("masked_tokens"));
    for sentence in in_words(evaluation) {
        say!("{sentence}");
    }
    Ok(())
}

/// What the figures mean to somebody who does not know them.
fn in_words(evaluation: &Metrics) -> [String; 2] {
    let usual = evaluation.value("majority_masked_lm_accuracy");
    let verdict = if beats_frequency(evaluation) {
        ""
    } else {
        ": the model has not learnt to use the words around a mask"
    };
    let words = match evaluation.get("masked_lm_accuracy") {
        Some(found) => format!(
            "Masked pieces: {:.1}% right; always guessing the most common one is right for {:.1}%{verdict}.",
            100.0 * found,
            100.0 * usual
        ),
        None => {
            "Masked pieces: none; words of more pieces than are predicted of a sequence never are.".into()
        }
    };
    let right = evaluation.value("sentence_order_accuracy");
    // Half is what a coin gets; three deviations of as many throws are no more than chance.
    let chance = 1.5 / evaluation.value("sequences").max(1.0).sqrt();
    let verdict = if right > 0.5 + chance { "" } else { ", from which this cannot be told apart" };
    let order = format!("Sentence order: {:.1}% right; chance is 50%{verdict}.", 100.0 * right);
    [words, order]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_said_in_words() {
        let of = |masked_lm_accuracy, sentence_order_accuracy| {
            let metrics = Metrics::default()
                .with("masked_lm_accuracy", masked_lm_accuracy)
                .with("majority_masked_lm_accuracy", 0.06)
                .with("sentence_order_accuracy", sentence_order_accuracy);
            in_words(&metrics.with_count("sequences", 100).with_count("masked_tokens", 1000))
        };
        let [words, order] = of(0.45, 0.9);
        assert_eq!(
            words,
            "Masked pieces: 45.0% right; always guessing the most common one is right for 6.0%."
        );
        assert_eq!(order, "Sentence order: 90.0% right; chance is 50%.");
        let [words, order] = of(0.05, 0.6);
        assert!(words.contains("has not learnt"), "{words}");
        assert!(order.contains("cannot be told apart"), "{order}");
    }
}
