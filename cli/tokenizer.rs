//! `albert-train tokenizer`: train a vocabulary, try one, look at one.

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use serde_json::json;
use train::data::{left_out, with_sentences};
use train::exit::ExitCode;
use train::run::directory::tokenizer_of;
use train::tokenizer::{LoadOptions, Tokenizer, TrainOptions};
use train::visible::{shown, visible};

use crate::arguments::{ReadingArguments, TextArguments, place};
use crate::output::{json_line, say, tell};

/// More MiB are more places of pieces than are counted in 32 bits.
const MOST_MEMORY: u64 = 32 << 10;

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
    /// Folder for tokenizer.json and the files that go with it
    #[arg(short, long, value_name = "DIR", value_parser = place())]
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
    /// Memory to use, in MiB; of text that is too much for it a random share is used
    #[arg(
        long,
        default_value_t = 1024,
        value_name = "MIB",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MOST_MEMORY),
    )]
    memory: usize,
    #[command(flatten)]
    reading: ReadingArguments,
}

/// Turn text into pieces: a line of them for each text, an empty one for a blank line.
///
/// A line of standard input ends with LF or CR LF. CR alone, U+0085 and U+2028 are white space within a line. Names of
/// special pieces, the mask among them, are text, as in the reference; a tokenizer.json of another program does as it says.
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

/// Say what a tokenizer is, and how it fares on a text.
#[derive(Args)]
struct Inspect {
    /// Tokenizer file or folder
    #[arg(short, long, value_name = "PATH")]
    tokenizer: PathBuf,
    /// Print all pieces, one a line with its id
    #[arg(long)]
    pieces: bool,
    /// Text files: how many pieces their words become, and what no piece covers
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "pieces")]
    text: Vec<PathBuf>,
    /// Another tokenizer to try on the same text, such as ALBERT's own
    #[arg(long, value_name = "PATH", requires = "text")]
    beside: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArguments,
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
    let Train { input, out, vocab_size, keep_case, keep_accents, memory, reading } = arguments;
    Tokenizer::expect_none(out)?; // said now, not after the training
    left_out(input)?.iter().for_each(tell);
    let options = TrainOptions {
        vocabulary_size: *vocab_size,
        lower_case: !keep_case,
        keep_accents: *keep_accents,
        memory: memory.saturating_mul(1 << 20),
        ..TrainOptions::default()
    };
    let tokenizer =
        with_sentences(input, reading.reading(), |sentences| Tokenizer::train(sentences, &options))??;
    tokenizer.save(out)?;
    let pieces = tokenizer.vocabulary_size();
    if let Some(warning) = options.shortfall(pieces) {
        tell(warning);
    }
    say!("a vocabulary of {pieces} pieces is in {}", shown(out));
    Ok(())
}

fn encode(arguments: &Encode) -> Result<()> {
    let tokenizer = Tokenizer::load(&tokenizer_of(&arguments.tokenizer)?, &LoadOptions::default())?;
    arguments.texts.for_each_line(|text| {
        let ids = tokenizer.encode(text);
        let pieces = || ids.iter().map(|&id| tokenizer.piece(id).unwrap_or_default());
        if arguments.json {
            let pieces: Vec<_> = pieces().collect();
            json_line(&json!({ "text": text, "pieces": pieces, "ids": ids }))?;
        } else if arguments.ids {
            say!("{}", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
        } else {
            say!("{}", visible(&pieces().collect::<Vec<_>>().join(" ")));
        }
        Ok(())
    })
}

fn inspect(arguments: &Inspect) -> Result<()> {
    let tokenizer = Tokenizer::load(&tokenizer_of(&arguments.tokenizer)?, &LoadOptions::default())?;
    let size = tokenizer.vocabulary_size();
    let piece = |id: u32| visible(tokenizer.piece(id).unwrap_or_default());
    if arguments.pieces {
        for id in 0..size as u32 {
            say!("{id}\t{}", piece(id));
        }
        return Ok(());
    }
    if !arguments.text.is_empty() {
        return inspect_text(arguments, &tokenizer);
    }
    let special = tokenizer.special();
    let starts = (0..size as u32).filter(|&id| tokenizer.starts_word(id)).count();
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
    let scripts = tokenizer.scripts();
    let scripts: Vec<_> = scripts.iter().map(|(script, count)| format!("{script} {count}")).collect();
    say!("scripts         {}", scripts.join(", "));
    say!("fingerprint     {}", tokenizer.fingerprint_text());
    Ok(())
}

/// Prints how a text is covered by one vocabulary or two.
fn inspect_text(arguments: &Inspect, tokenizer: &Tokenizer) -> Result<()> {
    let beside = arguments.beside.as_deref().map(tokenizer_of).transpose()?;
    let beside = beside.map(|path| Tokenizer::load(&path, &LoadOptions::default())).transpose()?;
    let named = [(Some(&arguments.tokenizer), Some(tokenizer)), (arguments.beside.as_ref(), beside.as_ref())];
    for (path, tokenizer) in named {
        let (Some(path), Some(tokenizer)) = (path, tokenizer) else { continue };
        let coverage = with_sentences(&arguments.text, arguments.reading.reading(), |sentences| {
            tokenizer.coverage(sentences)
        })?;
        say!("{}", shown(path));
        say!("  words         {}, of {:.2} pieces each", coverage.words, coverage.pieces_per_word());
        say!(
            "  characters    {}, of {:.3} pieces each",
            coverage.characters,
            coverage.pieces_per_character()
        );
        say!("  unknown       {:.3}% of {} pieces", 100.0 * coverage.unknown_share(), coverage.pieces);
        let missing: u64 = coverage.missing.iter().map(|(_, count)| count).sum();
        if missing > 0 {
            let share = 100.0 * missing as f64 / coverage.characters as f64;
            let most: Vec<_> = (coverage.missing.iter().take(8))
                .map(|&(c, count)| format!("{} U+{:04X} ({count})", visible(&c.to_string()), u32::from(c)))
                .collect();
            let kinds = coverage.missing.len();
            say!("  not covered   {share:.3}% of the characters, {kinds} different: {}", most.join(", "));
        }
    }
    say!("for comparison: ALBERT's own vocabulary makes 1.32 pieces of a word of English Wikipedia");
    Ok(())
}
