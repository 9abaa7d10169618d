//! The `albert-train` command line: one file per command.

mod arguments;
mod encode;
mod farewell;
mod fill_mask;
mod pretrain;
mod progress;
mod settings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Pre-train ALBERT on your own text, from scratch, on the machine at hand.
///
/// Without any text: `albert-train pretrain` trains a small model on built-in stories in a few minutes and shows what to try
/// next.
#[derive(Parser)]
#[command(name = "albert-train", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pre-train a model: masked words and sentence order.
    Pretrain(pretrain::Arguments),
    FillMask(fill_mask::Arguments),
    Encode(encode::Arguments),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Pretrain(arguments) => pretrain::run(arguments),
        Command::FillMask(arguments) => fill_mask::run(&arguments),
        Command::Encode(arguments) => encode::run(&arguments),
    };
    match result {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            train::exit::ExitCode::of(error.as_ref()).into()
        }
    }
}
