//! `albert-train prepare`: text to memory-mapped shards of token ids.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use train::data::{
    Claim, Corpus, Manifest, Preparation, Prepared, left_out, text_size, tokenizer_in, with_sentences,
};
use train::exit::ExitCode;
use train::pretraining::Report;
use train::run::directory::tokenizer_of;
use train::tokenizer::{LoadOptions, Tokenizer, TrainOptions};
use train::visible::visible;

use crate::arguments::{ReadingArguments, place, threads};
use crate::meter::Meter;
use crate::output::{say, tell};
use crate::shell::quoted_path;

/// Prepare text: make shards of token ids that training maps into memory.
///
/// Streams text of any size in memory that depends on the number of cores alone. When it is stopped, finished shards are
/// kept, and the same command goes on from there.
#[derive(Args, Clone)]
pub struct Arguments {
    /// Text: files, packed with gzip or not, folders of them, - for standard input
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH")]
    input: Vec<PathBuf>,
    /// Folder to write: a new one, an empty one, or one to continue
    #[arg(short, long, value_name = "DIR", value_parser = place())]
    out: PathBuf,
    /// Tokenizer file or folder: sentencepiece .model, tokenizer.json or vocab.txt; not given: one is trained on the text
    #[arg(long, value_name = "PATH", conflicts_with = "vocab_size")]
    tokenizer: Option<PathBuf>,
    /// Pieces of the vocabulary that is trained; not given: as many as suit the text, at most 30000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    vocab_size: Option<u32>,
    #[command(flatten)]
    reading: ReadingArguments,
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
    // Before the work: a vocabulary may take an hour.
    let claim = Arc::new(Claim::of(&arguments.out)?);
    let work = {
        let (arguments, claim, meter) = (arguments.clone(), claim.clone(), meter.clone());
        move || pool.install(|| prepare(&arguments, &claim, &meter))
    };
    let result = stop.unless_stopped(work)?;
    let time = meter.finish();
    match result {
        Err(reason) => {
            claim.give_up();
            tell(format_args!(
                "stopped: {reason}; what is finished is kept, and the same command goes on from there"
            ));
            Ok(ExitCode::Interrupted)
        }
        Ok(prepared) => {
            let (prepared, verdict) = prepared?;
            report(&prepared, &verdict, arguments, time)?;
            Ok(ExitCode::Done)
        }
    }
}

fn prepare(arguments: &Arguments, claim: &Claim, meter: &Meter) -> Result<(Prepared, Report)> {
    let (input, folder) = (&arguments.input, claim.folder());
    let reading = arguments.reading.reading();
    left_out(input)?.iter().for_each(tell);
    let mut sources = input.clone();
    let (tokenizer, trained) = match &arguments.tokenizer {
        Some(path) => (Tokenizer::load(&tokenizer_of(path)?, &LoadOptions::default())?, None),
        None => {
            sources = claim.repeatable(&sources)?; // it is read twice
            let (tokenizer, asked) = trained_tokenizer(&sources, arguments)?;
            (tokenizer, Some(asked))
        }
    };
    let (sources, tokenizer, progress) = (&sources, &tokenizer, &|done| meter.show(done));
    let prepared = Preparation { sources, reading, tokenizer, trained, folder, progress }.run_in(claim)?;
    // What was made anew is looked at anew.
    let there = Report::read(folder).filter(|_| prepared.kept == prepared.manifest.shards.len());
    let report = match there {
        Some(report) => report,
        None => {
            let report = Report::of(&Arc::new(Corpus::open(folder)?), &prepared.manifest, tokenizer);
            report.write(folder)?;
            report
        }
    };
    Ok((prepared, report))
}

/// A vocabulary of this text, and of how many pieces it should be: the one of the folder if it was begun with one, else
/// one that is trained now.
fn trained_tokenizer(sources: &[PathBuf], arguments: &Arguments) -> Result<(Tokenizer, u32)> {
    if let Some(there) = tokenizer_in(&arguments.out, arguments.vocab_size)? {
        return Ok(there);
    }
    let asked = match arguments.vocab_size {
        Some(size) => size,
        None => TrainOptions::suitable_size(text_size(sources)?) as u32,
    };
    tell(format_args!("training a vocabulary of {asked} pieces on the text"));
    let grows = arguments.vocab_size.is_none();
    let options = TrainOptions { vocabulary_size: asked as usize, grows, ..TrainOptions::default() };
    let reading = arguments.reading.reading();
    let tokenizer = with_sentences(sources, reading, |sentences| Tokenizer::train(sentences, &options))??;
    if let Some(warning) = options.shortfall(tokenizer.vocabulary_size()) {
        tell(warning);
    }
    Ok((tokenizer, asked))
}

fn report(prepared: &Prepared, verdict: &Report, arguments: &Arguments, time: Duration) -> Result<()> {
    let Prepared { manifest, kept } = prepared;
    let (input, output) = sizes(manifest);
    say!("{}", manifest.summary());
    if input > 0 {
        say!("{:.3} of the input's {:.1} MB", output as f64 / input as f64, input as f64 / 1e6);
    }
    if *kept == manifest.shards.len() {
        say!("everything was there already, and is as it should be");
    } else if *kept > 0 {
        say!("{kept} shards were there already");
    } else {
        say!("{:.2} MB/s", input as f64 / 1e6 / time.as_secs_f64());
    }
    say!("{verdict}");
    say!("next, a first model: {}", first_run(&arguments.out, manifest.counts.tokens));
    say!("(larger presets learn more and take longer; a run says how long before its first step)");
    Ok(())
}

/// A run of minutes, or of an hour at most, that suits a text of so many tokens: few enough steps for it not to be learnt by
/// heart.
fn first_run(prepared: &Path, tokens: u64) -> String {
    const BATCH: u64 = 16;
    const LENGTH: u64 = 128;
    const EPOCHS: u64 = 50;
    let enough = EPOCHS * tokens / (BATCH * LENGTH);
    let steps = (enough / 500 * 500).clamp(1000, 20_000);
    let shown = prepared.to_string_lossy();
    let name = prepared.file_name().map_or("mine".into(), |name| name.to_string_lossy());
    format!(
        "albert-train pretrain --train {} --preset micro --batch {BATCH} --steps {steps} --out {}",
        visible(&quoted_path(&shown)),
        visible(&quoted_path(&format!("runs/{name}")))
    )
}

/// Bytes of text, and of shards.
fn sizes(manifest: &Manifest) -> (u64, u64) {
    (manifest.source.bytes, manifest.shards.iter().map(|shard| shard.bytes).sum())
}
