//! The `albert-train` command line: one file or folder per command.

mod allocation;
mod arguments;
mod bar;
mod bench;
mod compat;
mod completions;
mod convert;
mod doctor;
mod download;
mod encode;
mod estimate;
mod evaluate;
mod exit;
mod fill_mask;
mod finetune;
mod inspect;
mod log;
mod man;
mod meter;
mod output;
mod plan;
mod predict;
mod prepare;
mod pretrain;
mod progress;
mod recipes;
mod refusals;
mod report;
mod runs;
mod session;
mod settings;
mod stop;
mod submit;
mod summary;
mod task;
mod tokenizer;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use train::run::signals::end_if_work_was_left;
use train::shell;
use train::visible::visible_lines;

/// Pre-train ALBERT on your own text, from scratch, on the machine at hand.
///
/// Without any text: `albert-train pretrain` trains a small model on built-in stories in a few minutes and shows what to try
/// next.
#[derive(Parser)]
#[command(name = "albert-train", version, arg_required_else_help = true, args_override_self = true, max_term_width = 110, after_long_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    loudness: Loudness,
}

/// How much is told.
#[derive(clap::Args)]
struct Loudness {
    /// Print only results, warnings and errors
    #[arg(short, long, global = true, hide_short_help = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Also report checkpoints and other details
    #[arg(short, long, global = true, hide_short_help = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Pre-train a model: masked words and sentence order.
    #[command(after_help = "All settings, and what the words of the progress line mean: --help", after_long_help = progress::LEGEND)]
    Pretrain(pretrain::Arguments),
    Finetune(finetune::Arguments),
    Prepare(prepare::Arguments),
    Tokenizer(tokenizer::Arguments),
    Evaluate(evaluate::Arguments),
    Predict(predict::Arguments),
    Submit(submit::Arguments),
    FillMask(fill_mask::Arguments),
    Encode(encode::Arguments),
    Recipes(recipes::Arguments),
    Runs(runs::Arguments),
    Report(report::Arguments),
    Download(download::Arguments),
    Convert(convert::Arguments),
    Plan(plan::Arguments),
    Inspect(inspect::Arguments),
    Bench(bench::Arguments),
    Doctor(doctor::Arguments),
    Compat(compat::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

#[global_allocator]
static ALLOCATOR: allocation::Noting = allocation::Noting;

fn main() -> ExitCode {
    allocation::tell_of_refusals();
    refusals::report();
    // What the libraries warn of.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(|| output::Stderr)
        .log_internal_errors(false)
        .without_time()
        .with_target(false)
        .init();
    let command = match Cli::try_parse_from(with_word(std::env::args_os().collect())) {
        Ok(cli) => {
            output::set_loudness(cli.loudness.quiet, cli.loudness.verbose);
            cli.command
        }
        Err(error) => return refuse(&error),
    };
    let done = train::threads::start_pool().map_err(Into::into).and_then(|()| perform(command));
    model::remove_unpacked(); // a thread that was left may have them
    let code = match done {
        Ok(code) => code,
        Err(error) if output::is_unread(&error) => train::exit::ExitCode::Done,
        Err(error) => {
            let code = exit::code_of(&error);
            output::tell(with_remedies(complaint(&error), code));
            code
        }
    };
    end_if_work_was_left(code);
    code.into()
}

/// Does what a command line says.
fn perform(command: Command) -> Result<train::exit::ExitCode> {
    match command {
        Command::Pretrain(arguments) => pretrain::run(&arguments),
        Command::Finetune(arguments) => finetune::run(&arguments),
        Command::Prepare(arguments) => prepare::run(&arguments),
        Command::Tokenizer(arguments) => stop::or_leave(move || tokenizer::run(&arguments)),
        Command::Evaluate(arguments) => stop::or_leave(move || evaluate::run(&arguments)),
        Command::Predict(arguments) => stop::or_leave(move || predict::run(&arguments)),
        Command::Submit(arguments) => submit::run(&arguments),
        Command::FillMask(arguments) => stop::or_leave(move || fill_mask::run(&arguments)),
        Command::Encode(arguments) => encode::run(&arguments),
        Command::Recipes(arguments) => recipes::run(&arguments),
        Command::Runs(arguments) => runs::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Download(arguments) => stop::or_leave_to("go on", move || download::run(&arguments)),
        Command::Convert(arguments) => stop::or_leave(move || convert::run(&arguments)),
        Command::Plan(arguments) => stop::or_leave(move || plan::run(&arguments)),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Bench(arguments) => stop::or_leave(move || bench::run(&arguments)),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Compat(arguments) => compat::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, Cli::command()),
        Command::Man(arguments) => man::run(&arguments, Cli::command()),
    }
}

/// What words say that the program itself puts together.
fn parsed(words: &[String]) -> Result<Command> {
    let refused = |error: clap::Error| exit::misuse(error.render().to_string().trim_end());
    Ok(Cli::try_parse_from(words).map_err(refused)?.command)
}

/// `evaluate` and `predict` mean text where options follow at once. How much is told may be said anywhere.
fn with_word(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is = |word: &OsString, words: &[&str]| word.to_str().is_some_and(|word| words.contains(&word));
    let is_loudness = |word: &OsString| is(word, &["-q", "--quiet", "-v", "--verbose"]);
    let next = |from: usize| (from..arguments.len()).find(|&place| !is_loudness(&arguments[place]));
    let Some(command) = next(1) else { return arguments };
    let has_option = next(command + 1).is_some_and(|place| {
        let word = &arguments[place];
        word.to_string_lossy().starts_with('-') && !is(word, &["-h", "--help"])
    });
    if has_option && is(&arguments[command], &["evaluate", "predict"]) {
        arguments.insert(command + 1, "text".into());
    }
    arguments
}

/// Prints help, or what is wrong with the command line. A word of it that is no text to be shown costs the colours.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if visible_lines(&text) == text {
        error.exit();
    }
    output::tell(text.trim_end());
    train::exit::ExitCode::Usage.into()
}

/// What the numbers mean that the program ends with.
fn exit_codes() -> String {
    let lines = train::exit::ExitCode::ALL.map(|code| format!("  {:3}  {}\n", code.code(), code.meaning()));
    format!("Exit codes:\n{}", lines.concat())
}

/// Want of memory has the same remedies wherever it shows: in a file that is read as in a tensor.
fn with_remedies(complaint: String, code: train::exit::ExitCode) -> String {
    let is_bare = code == train::exit::ExitCode::Memory && !complaint.contains("help: ");
    if is_bare { format!("{complaint}\n  help: {}", allocation::REMEDIES) } else { complaint }
}

/// An error with its causes, each said once: those that tell their cause themselves are not told again.
fn complaint(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    // The settings' complaints come with a name of their own.
    if text.starts_with("error") { text } else { format!("error: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_meant_where_options_follow() {
        let words = |line: &str| -> String {
            let line = line.split(' ').map(Into::into).collect();
            let words = with_word(line).into_iter().map(|word| word.into_string().unwrap());
            words.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words("albert-train predict --model m"), "albert-train predict text --model m");
        assert_eq!(words("albert-train -q evaluate --model m"), "albert-train -q evaluate text --model m");
        assert_eq!(words("albert-train evaluate -v --model m"), "albert-train evaluate text -v --model m");
        for line in [
            "albert-train evaluate -q glue mnli --model m",
            "albert-train evaluate --help",
            "albert-train -q predict -h",
            "albert-train predict",
            "albert-train predict -q",
            "albert-train -q",
            "albert-train encode --model m",
        ] {
            assert_eq!(words(line), line);
        }
    }
}
