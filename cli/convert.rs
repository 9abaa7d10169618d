//! `albert-train convert`: anybody's model in transformers' layout.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use model::{Albert, Card, Fresh, Head, LoadedModel, Origin, Report};
use serde_json::json;
use train::exit::ExitCode;
use train::run::directory::{create_model, is_empty, model_in};
use train::tokenizer::{LoadOptions, Tokenizer, TokenizerError};
use train::visible::{shown, visible};

use crate::arguments::place;
use crate::exit::refuse;
use crate::output::{json_line, say, tell};

/// Convert a model to transformers' layout, which this program and others read.
///
/// INPUT is a folder in that layout (f16, bf16, in shards, of older versions), a TensorFlow checkpoint of the reference
/// (its folder, its .tar.gz as released, or the beginning of its files' names such as model.ckpt-best), a TF-Hub folder, a
/// run, or a folder with one of these in it. Its tokenizer is converted with it, where there is one.
///
/// Prints what became of every tensor: mapped to a parameter, unmapped because the model has no place for it, or missing
/// and drawn anew, which is an error unless it is allowed by name.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    /// The model
    input: PathBuf,
    /// Folder to write, new or empty
    #[arg(short, long, value_name = "DIR", value_parser = place())]
    out: PathBuf,
    /// What a classifier with one output tells: a value of a text (regression), or the right one of several options, as of
    /// RACE (choice); not given: what config.json says, else a value
    #[arg(long, value_parser = ["regression", "choice"])]
    head: Option<String>,
    /// Parameters that may be missing, and are then drawn anew: beginnings of their names, such as albert.pooler
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    allow_missing: Vec<String>,
    /// Decides what is drawn in place of what is missing
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    expect_empty(&arguments.out)?;
    let input = model_in(&arguments.input)?;
    let origin = Origin::of(&input)?;
    let fresh = Fresh::Named { seed: arguments.seed, allowed: &arguments.allow_missing };
    let class = match &arguments.head {
        Some(head) => Some(class_of(head, &origin, &arguments.input)?),
        None => None,
    };
    let loaded = model::load_with(origin.path(), class, fresh)?;
    let LoadedModel { albert, values, tokenizer: trained_with, report } = &loaded;
    if albert.heads().iter().any(|head| head.is_guessed(albert.config())) {
        tell(
            "warning: no file of the model says what its classifier with one output tells: it is taken for a value of a text; \
             --head choice takes it for the right one of several options, as of RACE, and --head regression says that it is a value",
        );
    }
    for note in albert.config().notes() {
        tell(format_args!("warning: {note}"));
    }
    let tokenizer = tokenizer(origin.folder(), &loaded)?;
    let fingerprint = tokenizer.as_ref().map(Tokenizer::fingerprint_text).or_else(|| trained_with.clone());
    let name = |path: &Path| visible(&path.file_name().unwrap_or_default().to_string_lossy()).to_string();
    let (title, made) = (format!("ALBERT: {}", name(&arguments.out)), name(&input));
    let made = format!("Converted from `{made}` by `albert-train convert`.");
    let card = Card { title: &title, origin: &made, ..Card::default() };
    let notes: Vec<_> = fingerprint.iter().map(|text| (model::TOKENIZER_HASH, text.as_str())).collect();
    create_model::<anyhow::Error>(&arguments.out, |folder| {
        if let Some(tokenizer) = &tokenizer {
            tokenizer.save_for(folder, Some(albert.config().max_position_embeddings))?;
        }
        model::save_card(folder, albert.heads(), &card)?;
        let mut read = |range: Range<usize>, into: &mut Vec<f32>| into.extend_from_slice(&values[range]);
        Ok(model::save_from(folder, albert, &notes, &mut read)?)
    })?;
    if arguments.json {
        print_json(&arguments.out, albert, report, tokenizer.is_some())?;
    } else {
        print(&arguments.out, albert, report, tokenizer.is_some())?;
    }
    Ok(ExitCode::Done)
}

/// transformers' class for a classifier with one output that tells what `--head` says.
fn class_of(head: &str, origin: &Origin, input: &Path) -> Result<&'static str> {
    let has_one = |head: &Head| matches!(head, Head::Classification { outputs: 1, .. } | Head::Choice { .. });
    if !model::heads_in(origin.path())?.iter().any(has_one) {
        refuse!(
            "--head {head} says what a classifier with one output tells, and {} has none: leave it out",
            shown(input)
        );
    }
    let dropout = 0.0;
    let head = if head == "choice" {
        Head::Choice { dropout }
    } else {
        Head::Classification { outputs: 1, dropout }
    };
    Ok(head.architecture())
}

/// Refuses a folder that holds anything: what it holds would seem to belong to the model.
fn expect_empty(out: &Path) -> Result<()> {
    if !is_empty(out) {
        return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists))
            .with_context(|| format!("{} is not empty: name a new folder", shown(out)));
    }
    Ok(())
}

/// The tokenizer among a model's files; none if there is none.
fn tokenizer(folder: &Path, model: &LoadedModel) -> Result<Option<Tokenizer>> {
    let tokenizer = match Tokenizer::load(folder, &LoadOptions::default()) {
        Ok(tokenizer) => tokenizer,
        Err(TokenizerError::Missing { .. }) => {
            tell(
                "no tokenizer lies beside the model: put spiece.model, tokenizer.json or vocab.txt into the folder",
            );
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    tokenizer.expect_model(model.albert.config().vocab_size, model.tokenizer.as_deref())?;
    Ok(Some(tokenizer))
}

fn print(out: &Path, albert: &Albert, report: &Report, tokenizer: bool) -> Result<()> {
    let Report { mapped, unmapped, missing, bookkeeping, unused_keys } = report;
    let width = mapped.iter().map(|(from, _)| from).chain(unmapped).map(String::len).max().unwrap_or(0);
    for (from, to) in mapped {
        let same = if from == to { "as it is" } else { to };
        say!("mapped    {:width$}  {same}", visible(from));
    }
    for name in unmapped {
        say!("unmapped  {}", visible(name));
    }
    for name in missing {
        say!("missing   {:width$}  {name}, drawn anew", "");
    }
    say!("{} mapped, {} unmapped, {} missing", mapped.len(), unmapped.len(), missing.len());
    if !bookkeeping.is_empty() {
        say!("left out: {} of the optimizer and of the training loop", bookkeeping.len());
    }
    if !unused_keys.is_empty() {
        say!("keys of the configuration without meaning here: {}", visible(&unused_keys.join(", ")));
    }
    let with = if tokenizer { " and its tokenizer" } else { "" };
    say!("{}: {}{with}, {} parameters", shown(out), classes(albert).join(", "), albert.parameters().count());
    Ok(())
}

fn print_json(out: &Path, albert: &Albert, report: &Report, tokenizer: bool) -> Result<()> {
    json_line(&json!({
        "out": out.to_string_lossy(),
        "architectures": classes(albert),
        "tokenizer": tokenizer,
        "mapped": report.mapped.iter().map(|(from, to)| json!({ "tensor": from, "parameter": to })).collect::<Vec<_>>(),
        "unmapped": report.unmapped,
        "missing": report.missing,
        "left_out": report.bookkeeping,
        "unused_keys": report.unused_keys,
    }))
}

/// transformers' classes for the heads.
fn classes(albert: &Albert) -> Vec<&'static str> {
    let classes: Vec<_> = albert.heads().iter().map(Head::architecture).collect();
    if classes.is_empty() { vec!["AlbertModel"] } else { classes }
}
