//! `albert-train runs`: what the runs of a folder came to.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use train::exit::ExitCode;
use train::finetuning::{find_results, tables};

use crate::output::{json_line, say, tell};

/// Look at runs.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Table(Table),
}

/// Tables of what fine-tuning runs came to: GLUE; SQuAD and RACE.
///
/// A row for each model that runs began with, in the layout of the published tables: MRPC and QQP by accuracy, STS by Pearson's
/// correlation, CoLA by Matthews'. Of several seeds the mean.
#[derive(Args)]
struct Table {
    /// Runs, and folders of them
    #[arg(default_value = "runs", value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Show the published figures too, of other systems and of the released models of the same sizes
    #[arg(long)]
    published: bool,
    /// Print one JSON object, with every run
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let What::Table(Table { folders, published, json }) = &arguments.what;
    let results = find_results(folders);
    if results.is_empty() {
        tell("there is no finished fine-tuning run; `albert-train finetune` makes one, or name its folder");
    }
    let [glue, reading] = tables(&results, *published);
    if *json {
        json_line(&json!({ "glue": glue, "reading": reading, "runs": results }))?;
        return Ok(ExitCode::Done);
    }
    for table in [glue, reading].iter().filter(|table| !table.rows.is_empty()) {
        say!("{}", table.markdown());
    }
    Ok(ExitCode::Done)
}
