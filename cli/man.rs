//! `albert-train man`: the help of every command as manual pages.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use train::exit::ExitCode;
use train::visible::shown;

use crate::arguments::place;
use crate::output::tell;

/// Write a manual page for every command, for man(1).
#[derive(Args)]
pub struct Arguments {
    /// The folder, such as ~/.local/share/man/man1
    #[arg(value_name = "DIR", value_parser = place())]
    folder: PathBuf,
}

/// Runs the command; `program` is the whole command line.
pub fn run(arguments: &Arguments, mut program: Command) -> Result<ExitCode> {
    let folder = &arguments.folder;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", shown(folder)))?;
    program.build();
    let mut pages = Vec::new();
    collect(&mut program, "albert-train", &mut pages);
    for (name, page) in &pages {
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", shown(&path)))?;
    }
    tell(format_args!("written: {} pages in {}; begin with `man albert-train`", pages.len(), shown(folder)));
    Ok(ExitCode::Done)
}

/// The page of a command, and those of the commands below it: the name with hyphens, and the text.
fn collect(command: &mut Command, name: &str, pages: &mut Vec<(String, String)>) {
    pages.push((name.to_owned(), page(command, name)));
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for below in below.iter().filter(|below| *below != "help") {
        let command = command.find_subcommand_mut(below).expect("it has a command of this name");
        collect(command, &format!("{name}-{below}"), pages);
    }
}

/// A manual page: the name, what it is for, and the whole help as it is printed.
fn page(command: &mut Command, name: &str) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let help = command.render_long_help().to_string();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH {} 1 \"\" \"albert-train {version}\"\n.SH NAME\n{} \\- {}\n.SH DESCRIPTION\n.nf\n{}.fi\n",
        roff(&name.to_uppercase()),
        roff(name),
        roff(&about),
        roff(&help)
    )
}

/// A text as roff shows it: no line of it is a request, and hyphens are those of a command line.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = escaped
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.into() });
    lines.collect::<Vec<_>>().join("\n") + if text.ends_with('\n') { "\n" } else { "" }
}
