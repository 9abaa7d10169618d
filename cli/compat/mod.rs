//! `albert-train compat`: command lines of the reference's programs, as they are said here, and done.

mod commands;
mod flags;
mod given;
mod line;
mod models;
mod results;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, ValueEnum};
use train::exit::{Classify, ExitCode};
use train::finetuning::squad::official::has_answers;
use train::visible::shown;

use self::flags::flags;
use self::given::{Asked, Given};
use self::line::CommandLine;
use crate::output::{line as print, say, tell};
use crate::{Command, evaluate, predict};

/// Run a command line of google-research/albert: show the commands it stands for, run them, write that program's output files.
///
/// Flags are read as absl reads them: --do_eval, --nodo_eval, --do_eval=True, --train_step=1000, --train_step 1000, --flagfile.
/// A flag without a counterpart is explained; one that asks for something that is not offered is refused. A program without
/// flags lists them all, with what became of each.
///
/// Written to the output folder, beside the run itself: eval_results.txt; for GLUE also best_trial.txt, test_results.tsv and
/// submit_results.tsv; for SQuAD predictions.json, nbest_predictions.json and null_odds.json; for RACE predict_results.txt. The
/// model is in model/, in transformers' layout, instead of model.ckpt-best. create_pretraining_data makes a prepared folder
/// instead of record files. Settings that the reference has no flag for are given as variables: ALBERT_TRAIN_DEVICE_THREADS=4.
#[derive(Args)]
pub struct Arguments {
    /// Print the commands without running them
    #[arg(long)]
    print: bool,
    /// Print a table of all flags of all programs, as Markdown
    #[arg(long, exclusive = true)]
    flags: bool,
    /// The program
    #[arg(value_enum, value_name = "PROGRAM", required_unless_present = "flags")]
    program: Option<Program>,
    /// Its flags
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    given: Vec<String>,
}

/// The reference's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Program {
    /// Text to masked samples
    #[value(aliases = ["create_pretraining_data.py", "albert.create_pretraining_data"])]
    CreatePretrainingData,
    /// Masked words and sentence order
    #[value(aliases = ["run_pretraining.py", "albert.run_pretraining"])]
    RunPretraining,
    /// GLUE
    #[value(aliases = ["run_classifier.py", "albert.run_classifier"])]
    RunClassifier,
    /// SQuAD 1.1
    #[value(aliases = ["run_squad_v1.py", "albert.run_squad_v1"])]
    RunSquadV1,
    /// SQuAD 2.0
    #[value(aliases = ["run_squad_v2.py", "albert.run_squad_v2"])]
    RunSquadV2,
    /// RACE
    #[value(aliases = ["run_race.py", "albert.run_race"])]
    RunRace,
}

impl Program {
    /// Its name, without `.py`.
    fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }
}

/// A command line that cannot be translated.
#[derive(Debug, thiserror::Error)]
pub enum CompatError {
    #[error("{program} has no flag --{flag}{}; `albert-train compat {program}` lists those that it has", .meant.map_or(String::new(), |meant| format!(" (did you mean --{meant}?)")))]
    Unknown { program: String, flag: String, meant: Option<&'static str> },
    #[error("--{0} needs a value")]
    NoValue(String),
    #[error("--{flag} is true or false, not `{value}`")]
    NoTruth { flag: &'static str, value: String },
    #[error("`{0}` is not a flag; true and false follow `=`, as in --do_train=true")]
    NoFlag(String),
    #[error("--{flag}={value} is not supported: {reason}")]
    Refused { flag: &'static str, value: String, reason: &'static str },
    #[error("--{0} is required")]
    Missing(&'static str),
    #[error("nothing is to be done: give one of --{0}")]
    Nothing(String),
    #[error("no file has a name like {0}")]
    NoMatch(String),
    #[error("--output_file={0}: one folder takes the place of all record files; name one")]
    Several(String),
    #[error(
        "{} holds samples made before, and says nothing of their vocabulary; none lies beside {config} either\n  help: put it there \
         (30k-clean.model), name it in the variable ALBERT_TRAIN_DATA_TOKENIZER, or give the text itself",
        shown(records)
    )]
    NoTokenizer { records: PathBuf, config: String },
    #[error(
        "{0} is not fetched: give the folder of the unpacked module, or a checkpoint by --init_checkpoint, which also takes a \
         model of the Hub (`albert-train download albert-base-v2`, then --init_checkpoint=hf:albert/albert-base-v2)"
    )]
    OverNetwork(String),
    #[error(
        "--{flag}={address}: files are read and written on this machine alone\n  help: give a place here; `gcloud storage cp -r` (or \
         `gsutil cp -r`) copies between here and gs://"
    )]
    Address { flag: &'static str, address: String },
    #[error(
        "a checkpoint's sizes are read from beside it, and {} {found}\n  help: copy {given} there, if these are the checkpoint's",
        shown(beside)
    )]
    OtherSizes { given: String, beside: PathBuf, found: &'static str },
    #[error("cannot read {path}: {source}")]
    FlagFile { path: PathBuf, source: std::io::Error },
    #[error("--flagfile={0}: files of flags name each other without end")]
    TooDeep(PathBuf),
}

impl Classify for CompatError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(program) = arguments.program else {
        print(format_args!("{}", table::table().trim_end()))?;
        return Ok(ExitCode::Done);
    };
    // No program has this flag: wherever it stands, it is ours.
    let is_own = |word: &&String| *word == "--print";
    let is_shown = arguments.print || arguments.given.iter().any(|word| is_own(&word));
    let flags: Vec<String> = arguments.given.iter().filter(|word| !is_own(word)).cloned().collect();
    let given = match Given::parse(program, &flags)? {
        Asked::Work(given) if !flags.is_empty() => given,
        _ => {
            list(program)?;
            return Ok(ExitCode::Done);
        }
    };
    for (flag, reason) in given.explained() {
        tell(format_args!("--{flag}: {reason}"));
    }
    let commands = given.commands()?;
    if is_shown || given.is("only_check_args") {
        for command in commands {
            say!("{command}");
        }
        return Ok(ExitCode::Done);
    }
    let given = Arc::new(given);
    for command in &commands {
        match done(&given, command)? {
            ExitCode::Done => {}
            other => return Ok(other),
        }
    }
    Ok(ExitCode::Done)
}

/// Does what one command says, and leaves the files that the reference leaves then.
fn done(given: &Arc<Given>, line: &CommandLine) -> Result<ExitCode> {
    let command = crate::parsed(&line.arguments()?)?;
    let given = Arc::clone(given);
    if given.is_squad() && matches!(command, Command::Evaluate(_)) {
        let asked = PathBuf::from(given.needed("predict_file")?);
        if !has_answers(&asked)? {
            tell(format_args!(
                "{} has no answers to compare with: the predictions stand as they are",
                shown(&asked)
            ));
            return Ok(ExitCode::Done);
        }
    }
    tell(format_args!("+ {line}"));
    match command {
        Command::Evaluate(arguments) => crate::stop::or_leave(move || {
            given.after_evaluation(&evaluate::measure(&arguments)?)?;
            Ok(ExitCode::Done)
        }),
        Command::Predict(arguments) => crate::stop::or_leave(move || {
            if let Some(answered) = predict::answer(&arguments)? {
                given.after_prediction(&answered)?;
            }
            Ok(ExitCode::Done)
        }),
        command => {
            let code = crate::perform(command)?;
            if code == ExitCode::Done {
                given.after_training()?;
            }
            Ok(code)
        }
    }
}

/// All flags of a program, with what became of each.
fn list(program: Program) -> Result<()> {
    for (name, _, default, fate) in flags(program) {
        let (fate, words) = fate.in_words();
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        say!("{:38} {fate:9}  {words}", format!("--{name}{default}"));
    }
    Ok(())
}
