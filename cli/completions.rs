//! `albert-train completions`: what a shell needs to complete commands and flags.

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::{Shell, generate};
use train::exit::ExitCode;

use crate::output::say;

/// Print a script that completes commands and flags in a shell.
///
/// bash: albert-train completions bash > ~/.local/share/bash-completion/completions/albert-train
/// zsh, fish, elvish, powershell: put the output where that shell looks for completions.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the command; `program` is the whole command line.
pub fn run(arguments: &Arguments, mut program: Command) -> Result<ExitCode> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut program, "albert-train", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(ExitCode::Done)
}
