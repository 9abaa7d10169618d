//! `albert-train tokenizer`: train a vocabulary, try one, look at one.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use train::data::with_sentences;
use train::exit::ExitCode;
use train::tokenizer::{LoadOptions, Tokenizer, TrainOptions};
use train::visible::visible;

use crate::arguments::{ReadingArguments, TextArguments};
use crate::output::{say, tell};

/// Train a vocabulary, turn text into pieces with one, or look at one.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Train(Train),
    Encode(Encode),
    Inspect(Inspect),
}

/// Train a Unigram vocabulary on text, with ALBERT's special pieces.
#[derive(Args)]
struct Train {
    /// Text: files, packed with gzip or not, folders of them, - for standard input
    #[arg(short, long, required = true, num_args = 1.., value_name = "PATH")]
    input: Vec<PathBuf>,
    /// Folder to write tokenizer.json and what goes with it into
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Pieces in all; fewer where the text has not enough different words
    #[arg(long, default_value_t = 30_000, value_name = "N")]
    vocab_size: usize,
    /// Keep upper case
    #[arg(long)]
    keep_case: bool,
    /// Keep accents
    #[arg(long)]
    keep_accents: bool,
    #[command(flatten)]
    reading: ReadingArguments,
}

/// Turn text into pieces.
#[derive(Args)]
struct Encode {
    /// Tokenizer file or folder
    #[arg(short, long, value_name = "PATH")]
    tokenizer: PathBuf,
    #[command(flatten)]
    texts: TextArguments,
    /// Print ids in place of pieces
    #[arg(long)]
    ids: bool,
    /// Print one JSON object for each text
    #[arg(long, conflicts_with = "ids")]
    json: bool,
}

/// Say what a tokenizer is.
#[derive(Args)]
struct Inspect {
    /// Tokenizer file or folder
    #[arg(short, long, value_name = "PATH")]
    tokenizer: PathBuf,
    /// Print all pieces, one a line with its id
    #[arg(long)]
    pieces: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Train(arguments) => train(arguments)?,
        What::Encode(arguments) => encode(arguments)?,
        What::Inspect(arguments) => inspect(arguments)?,
    }
    Ok(ExitCode::Done)
}

fn train(arguments: &Train) -> Result<()> {
    let Train { input, out, vocab_size, keep_case, keep_accents, reading } = arguments;
    Tokenizer::expect_none(out)?; // said now, not after the training
    let options = TrainOptions {
        vocabulary_size: *vocab_size,
        lower_case: !keep_case,
        keep_accents: *keep_accents,
        ..TrainOptions::default()
    };
    let tokenizer =
        with_sentences(input, reading.reading(), |sentences| Tokenizer::train(sentences, &options))??;
    tokenizer.save(out)?;
    let pieces = tokenizer.vocabulary_size();
    if pieces < *vocab_size {
        tell(format_args!(
            "warning: {pieces} pieces, not {vocab_size}: the text has not enough different words for more"
        ));
    }
    say!("a vocabulary of {pieces} pieces is in {}", out.display());
    Ok(())
}

fn encode(arguments: &Encode) -> Result<()> {
    let tokenizer = Tokenizer::load(&arguments.tokenizer, &LoadOptions::default())?;
    arguments.texts.for_each(|text| {
        let ids = tokenizer.encode(text);
        let pieces = || ids.iter().map(|&id| tokenizer.piece(id).unwrap_or_default());
        if arguments.json {
            let pieces: Vec<_> = pieces().collect();
            say!("{}", json!({ "text": text, "pieces": pieces, "ids": ids }));
        } else if arguments.ids {
            say!("{}", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
        } else {
            say!("{}", visible(&pieces().collect::<Vec<_>>().join(" ")));
        }
        Ok(())
    })
}

fn inspect(arguments: &Inspect) -> Result<()> {
    let tokenizer = Tokenizer::load(&arguments.tokenizer, &LoadOptions::default())?;
    let size = tokenizer.vocabulary_size();
    let piece = |id: u32| visible(tokenizer.piece(id).unwrap_or_default());
    if arguments.pieces {
        for id in 0..size as u32 {
            say!("{id}\t{}", piece(id));
        }
        return Ok(());
    }
    let special = tokenizer.special();
    let starts = (0..size as u32).filter(|&id| tokenizer.starts_word(id)).count();
    let fingerprint: String = tokenizer.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    say!("pieces          {size}, of which {starts} begin a word");
    for (name, id) in [
        ("padding", special.pad),
        ("unknown", special.unknown),
        ("classification", special.classification),
        ("separator", special.separator),
        ("mask", special.mask),
    ] {
        say!("{name:15} {id} {}", piece(id));
    }
    say!("fingerprint     {fingerprint}");
    Ok(())
}
