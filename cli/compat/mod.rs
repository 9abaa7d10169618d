//! `albert-train compat`: command lines of the reference's programs, as they are said here.

mod commands;
mod flags;
mod given;
#[cfg(test)]
mod tests;

use anyhow::Result;
use clap::{Args, ValueEnum};
use train::exit::{Classify, ExitCode};

use self::flags::{Fate, flags};
use self::given::Given;
use crate::output::{say, tell};

/// Say what a command line of the reference's programs is here: a command for each thing that it does. Nothing is run.
///
/// Flags are taken as the reference takes them: --do_eval, --nodo_eval, --do_eval=True, --train_step=1000, --train_step 1000.
/// Every flag that is given and has no counterpart is explained; one that asks for what there is not is refused. Without flags,
/// all flags of the program are listed with what became of each.
#[derive(Args)]
pub struct Arguments {
    /// The program
    #[arg(value_enum, value_name = "PROGRAM")]
    program: Program,
    /// Its flags
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// The reference's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Program {
    /// Text to masked samples
    CreatePretrainingData,
    /// Masked words and sentence order
    RunPretraining,
    /// GLUE
    RunClassifier,
    /// SQuAD 1.1
    RunSquadV1,
    /// SQuAD 2.0
    RunSquadV2,
    /// RACE
    RunRace,
}

/// A command line that cannot be translated.
#[derive(Debug, thiserror::Error)]
pub enum CompatError {
    #[error("{program} has no flag --{flag}; `albert-train compat {program}` lists those that it has")]
    Unknown { program: String, flag: String },
    #[error("--{0} needs a value")]
    NoValue(String),
    #[error("--{flag} is true or false, not `{value}`")]
    NoTruth { flag: &'static str, value: String },
    #[error("`{0}` is no flag")]
    NoFlag(String),
    #[error("--{flag}={value} asks for what there is not: {reason}")]
    Refused { flag: &'static str, value: String, reason: &'static str },
    #[error("--{0} is needed to say what is meant")]
    Missing(&'static str),
}

impl Classify for CompatError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.flags.is_empty() {
        list(arguments.program)?;
        return Ok(ExitCode::Done);
    }
    let given = Given::parse(arguments.program, &arguments.flags)?;
    for (flag, reason) in given.explained().chain(given.notes()) {
        tell(format_args!("--{flag}: {reason}"));
    }
    for command in given.commands()? {
        say!("{}", command.join(" "));
    }
    Ok(ExitCode::Done)
}

/// All flags of a program, with what became of each.
fn list(program: Program) -> Result<()> {
    for (name, _, default, fate) in flags(program) {
        let (fate, words) = match fate {
            Fate::Mapped(flag) => ("mapped", flag),
            Fate::Read(words) => ("mapped", words),
            Fate::Explained(words) => ("explained", words),
            Fate::Refused(words) => ("refused", words),
        };
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        say!("{:38} {fate:9}  {words}", format!("--{name}{default}"));
    }
    Ok(())
}
