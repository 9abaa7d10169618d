//! `albert-train prepare`: text to memory-mapped shards of token ids.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use train::data::{Format, Manifest, Preparation, Prepared, text_size, tokenizer_in, with_sentences};
use train::exit::ExitCode;
use train::tokenizer::{LoadOptions, Tokenizer, TrainOptions};

use crate::arguments::{FormatArgument, threads};
use crate::meter::Meter;
use crate::output::{say, tell};

/// Prepare text: make shards of token ids that training maps into memory.
///
/// Streams text of any size in memory that depends on the number of cores alone. When it is stopped, finished shards are
/// kept, and the same command goes on from there.
#[derive(Args, Clone)]
pub struct Arguments {
    /// Text files
    #[arg(short, long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Folder to write: a new one, an empty one, or one to continue
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Tokenizer file or folder: sentencepiece .model, tokenizer.json or vocab.txt; not given: one is trained on the text
    #[arg(long, value_name = "PATH", conflicts_with = "vocab_size")]
    tokenizer: Option<PathBuf>,
    /// Pieces of the vocabulary that is trained; not given: as many as suit the text, at most 30000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    vocab_size: Option<u32>,
    /// Layout of the text; not given: by the first file's name
    #[arg(long, value_enum)]
    format: Option<FormatArgument>,
    /// Processor threads; not given: all cores. The shards do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let threads = arguments.threads.unwrap_or(0); // 0 for all cores
    let pool = train::threads::pool(threads)?;
    let stop = crate::stop::requests("ending; shards that are finished are kept")?;
    let meter = Arc::new(Meter::new("prepare"));
    let work = {
        let (arguments, meter) = (arguments.clone(), meter.clone());
        move || pool.install(|| prepare(&arguments, &meter))
    };
    let result = stop.unless_stopped(work)?;
    let time = meter.finish();
    match result {
        Err(reason) => {
            tell(format_args!(
                "stopped: {reason}; what is finished is kept, and the same command goes on from there"
            ));
            Ok(ExitCode::Interrupted)
        }
        Ok(prepared) => {
            report(&prepared?, arguments, time)?;
            Ok(ExitCode::Done)
        }
    }
}

fn prepare(arguments: &Arguments, meter: &Meter) -> Result<Prepared> {
    let Arguments { input: sources, out: folder, .. } = arguments;
    let format = FormatArgument::or_guess(arguments.format, sources);
    let tokenizer = match &arguments.tokenizer {
        Some(path) => Tokenizer::load(path, &LoadOptions::default())?,
        None => trained_tokenizer(arguments, format)?,
    };
    let (stop, progress) = (AtomicBool::new(false), |done| meter.show(done));
    let preparation =
        Preparation { sources, format, tokenizer: &tokenizer, folder, stop: &stop, progress: &progress };
    Ok(preparation.run()?)
}

/// A vocabulary of this text: the one of the folder if it was begun with one, else one that is trained now.
fn trained_tokenizer(arguments: &Arguments, format: Format) -> Result<Tokenizer> {
    let Arguments { input: sources, out: folder, .. } = arguments;
    let vocabulary_size = match arguments.vocab_size {
        Some(size) => size as usize,
        None => TrainOptions::suitable_size(text_size(sources)?),
    };
    if let Some(tokenizer) = tokenizer_in(folder, sources)?
        // One of another size is of another command, or of a text with too few words: training it again tells.
        && tokenizer.vocabulary_size() == vocabulary_size
    {
        return Ok(tokenizer);
    }
    tell(format_args!("training a vocabulary of {vocabulary_size} pieces on the text"));
    let options = TrainOptions { vocabulary_size, ..TrainOptions::default() };
    Ok(with_sentences(sources, format, |sentences| Tokenizer::train(sentences, &options))??)
}

fn report(prepared: &Prepared, arguments: &Arguments, time: Duration) -> Result<()> {
    let Prepared { manifest, kept } = prepared;
    let (input, output) = sizes(manifest);
    say!("{}", manifest.summary());
    say!("{:.3} of the input's {:.1} MB", output as f64 / input as f64, input as f64 / 1e6);
    if *kept == manifest.shards.len() {
        say!("everything was there already, and is as it should be");
    } else if *kept > 0 {
        say!("{kept} shards were there already");
    } else {
        say!("{:.2} MB/s", input as f64 / 1e6 / time.as_secs_f64());
    }
    say!("next: albert-train pretrain --train {}", arguments.out.display());
    Ok(())
}

/// Bytes of text, and of shards.
fn sizes(manifest: &Manifest) -> (u64, u64) {
    (
        manifest.sources.iter().map(|source| source.bytes).sum(),
        manifest.shards.iter().map(|shard| shard.bytes).sum(),
    )
}
