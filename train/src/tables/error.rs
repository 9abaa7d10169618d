//! What can be wrong with a file of examples.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use super::rows::LongRow;
use crate::exit::{Classify, ExitCode};
use crate::visible::{shown, visible};

/// How much of a text an error shows, in characters.
const EXCERPT: usize = 60;

/// An error about a file of examples or answers: what is wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", shown(path))]
    Io {
        /// What was being done, as a verb: `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason given by the system.
        source: io::Error,
    },
    /// The content is not as it should be.
    #[error("{}: {problem}; {advice}", place(path, *line))]
    Content {
        /// The file.
        path: PathBuf,
        /// Its line, or the row of a Parquet file, counted from 1.
        line: Option<u64>,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        advice: String,
    },
    /// A file or folder that is needed is not there.
    #[error("{}: {problem}; {advice}", shown(path))]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What is missing.
        problem: String,
        /// What to do about it.
        advice: String,
    },
}

fn place(path: &Path, line: Option<u64>) -> String {
    let mut place = shown(path);
    if let Some(line) = line {
        let _ = write!(place, ":{line}"); // a string takes whatever is written to it
    }
    place
}

impl InputError {
    /// Turns the system's error into one that says what was done to which file.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| {
            if let Some(long) = source.get_ref().and_then(|error| error.downcast_ref::<LongRow>()) {
                let advice = "no text is so long: is a quotation mark open, or the file of another kind?";
                return Self::content(&path, Some(long.line), long.to_string(), advice);
            }
            match source.kind() {
                // A system that takes no file so long says the same of what is written.
                io::ErrorKind::FileTooLarge if action != "write" => Self::content(
                    &path,
                    None,
                    "it unpacks to far more than files of its size do",
                    "if that is meant, unpack it first (`gzip -d`)",
                ),
                _ => Self::Io { action, path, source },
            }
        }
    }

    /// An error about the content of a file.
    pub fn content(
        path: &Path,
        line: Option<u64>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::Content { path: path.to_path_buf(), line, problem: problem.into(), advice: advice.into() }
    }

    /// An error about something that is not there.
    pub fn missing(path: &Path, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Missing { path: path.to_path_buf(), problem: problem.into(), advice: advice.into() }
    }
}

impl Classify for InputError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Io { source, .. } => source.exit_code(),
            Self::Content { .. } | Self::Missing { .. } => ExitCode::Data,
        }
    }
}

/// The beginning of a text between quotation marks, fit for a message.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(EXCERPT).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{}\"", visible(&shown))
}
