//! `albert-train runs`: what the runs of a folder came to.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use train::exit::ExitCode;
use train::finetuning::{Results, find_results, tables};
use train::report::{CsvTable, Note, RunRecord, first_and_last, sparkline};
use train::run::info::Status;
use train::visible::{shown, visible};

use crate::output::{indented, json_line, say, tell};
use crate::report;

/// Columns of a curve in text.
const CURVE: usize = 32;
/// Warnings that are shown of a run, the first and the last; its report has more.
const MOST_WARNINGS: usize = 10;

/// Look at runs.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List runs: how each stands, its held-out figure, the curve of its loss
    Ls(Runs),
    /// Tell what became of runs, in words
    Show(Runs),
    /// Show the settings in which runs differ, beside what they came to
    Compare(Runs),
    /// Print the figures of a run's journal as CSV
    Export {
        /// The run
        #[arg(value_name = "RUN")]
        run: PathBuf,
    },
    Table(Table),
}

#[derive(Args)]
struct Runs {
    /// Runs, and folders of them
    #[arg(default_value = "runs", value_name = "DIR")]
    runs: Vec<PathBuf>,
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
    match &arguments.what {
        What::Ls(Runs { runs }) => list(&report::read(runs)?)?,
        What::Show(Runs { runs }) => report::read(runs)?.iter().try_for_each(show)?,
        What::Compare(Runs { runs }) => compare(&report::read(runs)?)?,
        What::Export { run } => {
            let mut table =
                CsvTable::open(run).with_context(|| format!("cannot read the journal of {}", shown(run)))?;
            table.write(std::io::stdout().lock()).context("cannot write the table to standard output")?;
        }
        What::Table(table) => print(table)?,
    }
    Ok(ExitCode::Done)
}

fn print(Table { folders, published, json }: &Table) -> Result<()> {
    let Results { runs: results, unread } = find_results(folders);
    for (run, why) in &unread {
        tell(format_args!("warning: the run {} is left out: {why}", shown(run)));
    }
    if results.is_empty() && unread.is_empty() {
        tell("there is no finished fine-tuning run; `albert-train finetune` makes one, or name its folder");
    }
    let [glue, reading] = tables(&results, *published);
    if *json {
        return json_line(&json!({ "glue": glue, "reading": reading, "runs": results }));
    }
    for table in [glue, reading].iter().filter(|table| !table.rows.is_empty()) {
        say!("{}", table.markdown());
    }
    Ok(())
}

fn list(runs: &[RunRecord]) -> Result<()> {
    for run in runs {
        let status = match run.info.status {
            Status::Running if run.at_work == Some(false) => "killed",
            Status::Running => "running",
            Status::Interrupted => "stopped",
            Status::Finished => "finished",
            Status::Failed => "failed",
        };
        let name = visible(&run.name);
        let planned = run.steps_planned().unwrap_or("?");
        let steps = format!("{}/{}", run.steps_done(), visible(planned));
        let curve = sparkline(run.curve("loss"), CURVE);
        say!("{name:24} {status:9} {steps:>15}  {:34} {curve}", figure(run));
    }
    Ok(())
}

/// The figure by which a run is compared with others.
fn figure(run: &RunRecord) -> String {
    let compared = run.came_to().and_then(|figures| figures.compared());
    compared.map_or(String::new(), |(name, value, _)| format!("{} {value:.4}", visible(name)))
}

fn show(run: &RunRecord) -> Result<()> {
    let verdict = run.verdict();
    say!("{}: {}", shown(&run.folder), visible(&verdict.headline));
    if let Some((first, last)) = run.curve("loss").ends() {
        say!("  loss {:.3} {} {:.3}", first.value, sparkline(run.curve("loss"), CURVE), last.value);
    }
    for sentence in &verdict.sentences {
        say!("{}", indented(&visible(sentence), 2));
    }
    let warn = |note: &Note| -> Result<()> {
        say!("{}", indented(&format!("warning: {}", visible(&note.line())), 2));
        Ok(())
    };
    let (first, between, last) = first_and_last(&run.notes, MOST_WARNINGS);
    first.iter().try_for_each(warn)?;
    if between > 0 {
        say!("  ({between} more warnings are in its metrics.jsonl)");
    }
    last.iter().try_for_each(warn)?;
    for next in &verdict.next {
        say!("{}", indented(&format!("next: {}", visible(next)), 2));
    }
    Ok(())
}

fn compare(runs: &[RunRecord]) -> Result<()> {
    let mut keys: Vec<&str> =
        runs.iter().flat_map(|run| &run.settings).map(|setting| setting.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| runs.iter().any(|run| run.setting(key) != runs[0].setting(key)));
    for run in runs {
        say!("{}  {}", visible(&run.name), figure(run));
        for key in &keys {
            say!("  {key:36} {}", visible(run.setting(key).unwrap_or("not set")));
        }
    }
    Ok(())
}
