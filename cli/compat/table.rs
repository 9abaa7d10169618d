//! What became of every flag of the reference's programs, as a table.

use std::fmt::Write;

use clap::ValueEnum;

use super::Program;
use super::flags::{ABSL, Fate, Row, flags};

impl Fate {
    /// In a word, and in words.
    pub fn in_words(self) -> (&'static str, &'static str) {
        match self {
            Fate::Mapped(words) | Fate::Read(words) => ("mapped", words),
            Fate::Explained(words) => ("explained", words),
            Fate::Refused(words) => ("refused", words),
        }
    }
}

/// The flags of all programs, in Markdown.
pub fn table() -> String {
    let mut text = String::new();
    let programs = Program::value_variants();
    let count: usize = programs.iter().map(|&program| flags(program).len()).sum();
    // A string takes it all.
    let _ = writeln!(
        text,
        "{count} flags of {} programs. Each is mapped to something here, explained where it has no counterpart, or refused \
                            where a value other than its default asks for something that is not offered.",
        programs.len()
    );
    for &program in programs {
        let rows = flags(program);
        let _ = writeln!(text, "\n## {} ({} flags)\n", program.name(), rows.len());
        section(&mut text, &rows);
    }
    let _ = writeln!(text, "\n## absl's own, in every program\n");
    section(&mut text, ABSL);
    text
}

fn section(text: &mut String, rows: &[Row]) {
    let _ = writeln!(text, "| flag | default | | here |\n|---|---|---|---|");
    for &(name, _, default, fate) in rows {
        let (fate, words) = fate.in_words();
        let _ = writeln!(text, "| `--{name}` | {default} | {fate} | {} |", words.replace('|', "\\|"));
    }
}
