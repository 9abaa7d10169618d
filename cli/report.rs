//! `albert-train report`: runs as a page to look at.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use train::exit::ExitCode;
use train::report::{FILE, RunRecord, find_runs, page, tell_apart, write_to};
use train::run::directory::DirectoryError;
use train::visible::shown;

use crate::arguments::place;
use crate::output::{say, tell};

/// Show a run, or several side by side, as a page for a browser.
///
/// One HTML file that needs nothing else: what became of each run in words, its curves, evaluations, settings, machine, and how
/// to do it again. Runs of one task are summed up by mean and standard deviation. A run keeps its own page up to date while it
/// works, as report.html in its directory.
#[derive(Args)]
pub struct Arguments {
    /// Runs, and folders of them
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// File to write; not given: report.html in the run's directory, or of several runs in the current one
    #[arg(short, long, value_name = "FILE", value_parser = place())]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let records = read(&arguments.runs)?;
    let out = arguments.out.clone().unwrap_or_else(|| match records.as_slice() {
        [run] => run.folder.join(FILE),
        _ => FILE.into(),
    });
    if out == Path::new("/dev/stdout") {
        say!("{}", page(&records).trim_end());
        return Ok(ExitCode::Done);
    }
    write_to(&out, &records).with_context(|| format!("cannot write {}", shown(&out)))?;
    tell(format_args!("written: the report of {}", count(records.len())));
    say!("{}", shown(&out));
    Ok(ExitCode::Done)
}

/// The runs in and below `paths`. Of several, those that cannot be read are warned of and left out.
pub fn read(paths: &[PathBuf]) -> Result<Vec<RunRecord>> {
    let found = find_runs(paths);
    if found.is_empty() {
        let places: Vec<_> = paths.iter().map(|path| shown(path)).collect();
        return Err(DirectoryError::NoRun { places: places.join(", ") }.into());
    }
    let read = |folder: &PathBuf| {
        RunRecord::read(folder).with_context(|| format!("cannot read the run in {}", shown(folder)))
    };
    let (mut records, mut first_error) = (Vec::new(), None);
    for folder in &found {
        match read(folder) {
            Ok(record) => records.push(record),
            Err(error) => {
                if found.len() > 1 {
                    tell(format_args!("warning: left out: {error:#}"));
                }
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if records.is_empty() => Err(error),
        _ => {
            tell_apart(&mut records);
            Ok(records)
        }
    }
}

fn count(runs: usize) -> String {
    if runs == 1 { "one run".into() } else { format!("{runs} runs") }
}
