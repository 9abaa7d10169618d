//! `albert-train inspect batches`: what the trainer would see.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use train::config::{Layers, Pretrain};
use train::data::DataError;
use train::exit::ExitCode;
use train::pretraining::{DataPreparation, Reader, Shown, Statistics, is_of_same_text, write_examples};
use train::training::Position;

use crate::arguments::place;
use crate::output::{say, tell};
use crate::pretrain::DEFAULT_DIRECTORY;
use crate::settings::SettingsArguments;

/// Look at what training is given.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Batches(Batches),
}

/// Show the sequences of a training step with their masks, and statistics of the data.
///
/// Takes the settings of pretrain. With the folder of a run, its settings and its data are used; nothing in it is changed.
#[derive(Args)]
struct Batches {
    /// Run directory; where there is none, the data are prepared in a temporary folder
    #[arg(long, default_value = DEFAULT_DIRECTORY, value_name = "DIR")]
    out: PathBuf,
    /// The step whose batch is shown, from 0
    #[arg(long, default_value_t = 0, value_name = "N")]
    step: u64,
    /// Sequences shown
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100_000))]
    count: u32,
    /// Sequences to collect statistics from
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    samples: u64,
    /// Write the sequences as safetensors: input_ids, attention_mask, token_type_ids, labels, sentence_order_label
    #[arg(long, value_name = "FILE.safetensors", value_parser = place())]
    output: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArguments<Pretrain>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let What::Batches(arguments) = arguments.what;
    let temporary = tempfile::tempdir().context("cannot make a temporary folder (in TMPDIR)")?;
    let folder = temporary.path().join("data");
    crate::stop::or_leave(move || show(&arguments, folder))
}

/// Shows batches of data that are prepared in `temporary` where there are none yet.
fn show(arguments: &Batches, temporary: PathBuf) -> Result<ExitCode> {
    let begun_with = arguments.out.join("config.toml");
    let settings = arguments.settings.resolve(begun_with.is_file().then_some(begun_with.as_path()))?.settings;
    if arguments.step >= settings.training.steps {
        let reason = "the settings have no such step: they are numbered from 0 to training.steps, exclusive";
        return Err(DataError::Option { option: "step", value: arguments.step.to_string(), reason }.into());
    }
    let of_run = arguments.out.join("data");
    let there = match begun_with.is_file() && of_run.is_dir() {
        true => {
            let mut run = Layers::<Pretrain>::new();
            run.saved(&begun_with);
            is_of_same_text(&run.resolve()?.settings, &settings).then_some(of_run.as_path())
        }
        false => None,
    };
    let has_begun = there.is_some();
    let data = DataPreparation { folder: &temporary, has_begun, there, announce: &|what| tell(what) };
    let data = data.run(&settings)?;
    let dataset = data.training;
    let mut reader = Reader::new(dataset.clone(), Position::default());
    reader.skip(arguments.step.saturating_mul(settings.training.batch as u64));
    let Position { epoch, index } = reader.position();
    let examples = reader.examples(arguments.count as usize);
    match &arguments.output {
        Some(path) => write_examples(&examples, data.tokenizer.special().pad, path)?,
        None => {
            say!("step {}, epoch {epoch}, from sequence {index}; masked pieces in braces\n", arguments.step);
            for example in &examples {
                say!("{}", Shown { example, tokenizer: &data.tokenizer });
            }
        }
    }
    say!("{}", Statistics::collect(&dataset, &dataset.epoch(epoch), arguments.samples));
    Ok(ExitCode::Done)
}
