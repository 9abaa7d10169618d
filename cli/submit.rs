//! `albert-train submit`: prediction files as a site wants them.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use train::exit::ExitCode;
use train::finetuning::submission;
use train::visible::shown;

use crate::arguments::place;
use crate::output::{say, tell};

/// Pack predictions for a benchmark's site, each checked first.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// GLUE: eleven files of predictions, MNLI's two and AX included, as one zip
    Glue {
        /// Folders with what `predict glue TASK --out` wrote, or folders of such folders
        #[arg(short, long, required = true, num_args = 1.., value_name = "DIR")]
        predictions: Vec<PathBuf>,
        /// The zip to write
        #[arg(short, long, default_value = "submission.zip", value_name = "FILE", value_parser = place())]
        out: PathBuf,
        /// Pack what there is, though the site takes complete submissions only
        #[arg(long)]
        incomplete: bool,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let What::Glue { predictions, out, incomplete } = &arguments.what;
    for part in submission::glue(predictions, *incomplete, out)? {
        match part.path {
            Some(path) => say!("{:12} {:6} rows of {}", part.name, part.rows, shown(&path)),
            None => tell(format_args!("warning: {} is missing", part.name)),
        }
    }
    say!("written: {}", shown(out));
    Ok(ExitCode::Done)
}
