//! `albert-train completions`: what a shell needs to complete commands and flags.

use anyhow::Result;
use clap::builder::PossibleValue;
use clap::{Arg, Args, Command};
use clap_complete::{Shell, generate};
use train::exit::ExitCode;

use crate::output::say;

/// Print a script that completes commands and flags in a shell
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
    let mut script = String::from_utf8_lossy(&script).replace("albert__subcmd__train", "albert__train");
    if arguments.shell == Shell::Fish {
        for command in program.get_subcommands() {
            let is_given = format!("__fish_albert_train_using_subcommand {}", command.get_name());
            script.extend(words_for_fish(&is_given, command));
            for inner in command.get_subcommands() {
                let is_given = format!("{is_given}; and __fish_seen_subcommand_from {}", inner.get_name());
                script.extend(words_for_fish(&is_given, inner));
            }
        }
    }
    say!("{}", script.trim_end());
    Ok(ExitCode::Done)
}

/// The words of which a command takes one, such as `compat` a program, until one is there. clap_complete gives them to other
/// shells and leaves them out for fish.
fn words_for_fish(is_given: &str, command: &Command) -> impl Iterator<Item = String> {
    let words = command.get_positionals().map(Arg::get_possible_values).filter(|words| !words.is_empty());
    words.map(move |words| {
        let names = words.iter().map(PossibleValue::get_name).collect::<Vec<_>>().join(" ");
        let with_help = |word: &PossibleValue| {
            // Within `'` within `"`.
            let help = word.get_help().map_or_else(String::new, |help| help.to_string().replace('\'', r"\'"));
            format!(r"{}\t'{}'", word.get_name(), help.replace('"', "\\\"").replace('$', r"\$"))
        };
        let words = words.iter().map(with_help).collect::<Vec<_>>().join("\n");
        format!(
            "complete -c albert-train -n \"{is_given}; and not __fish_seen_subcommand_from {names}\" -f -a \"{words}\"\n"
        )
    })
}
