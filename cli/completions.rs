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
    // The names that the script gives to commands are made in two ways, which differ where a program has a hyphen in its own.
    let script = String::from_utf8_lossy(&script).replace("albert__subcmd__train", "albert__train");
    say!("{}", script.trim_end());
    Ok(ExitCode::Done)
}
