//! A command of this program, to be shown and to be run.

use std::fmt;
use std::path::{Path, PathBuf};

use super::CompatError;
use crate::shell::quoted;

/// What stands for other characters in a pattern of names.
const WILD: [char; 4] = ['*', '?', '[', ']'];

/// A command of this program. Shown, it is what a shell takes.
#[derive(Clone, Debug, Default)]
pub struct CommandLine(Vec<Word>);

#[derive(Clone, Debug)]
enum Word {
    Plain(String),
    /// Names of files, of which some characters may stand for others.
    Pattern(String),
}

impl CommandLine {
    /// A command that begins with these words.
    pub fn new(words: &[&str]) -> Self {
        Self::default().with(words.iter().copied())
    }

    /// Adds words.
    pub fn with(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.0.extend(words.into_iter().map(|word| Word::Plain(word.into())));
        self
    }

    /// Adds patterns of names, separated by commas. Between two of these, or after the last, there may be none.
    pub fn with_patterns(mut self, patterns: &str) -> Self {
        let patterns = patterns.split(',').filter(|pattern| !pattern.is_empty());
        self.0.extend(patterns.map(|pattern| Word::Pattern(pattern.into())));
        self
    }

    /// The words as the program gets them, after a shell has found the files.
    ///
    /// # Errors
    /// If no file has a name like a pattern.
    pub fn arguments(&self) -> Result<Vec<String>, CompatError> {
        let mut arguments = vec!["albert-train".to_owned()];
        for word in &self.0 {
            match word {
                Word::Plain(word) => arguments.push(word.clone()),
                Word::Pattern(pattern) => {
                    let found = matching(pattern)?;
                    arguments.extend(found.iter().map(|path| path.to_string_lossy().into_owned()));
                }
            }
        }
        Ok(arguments)
    }
}

/// The files whose names are like a pattern, in order; of a name without anything that stands for something else, itself.
pub fn matching(pattern: &str) -> Result<Vec<PathBuf>, CompatError> {
    if !pattern.contains(WILD) || Path::new(pattern).exists() {
        return Ok(vec![pattern.into()]);
    }
    let none = || CompatError::NoMatch(pattern.into());
    let found: Vec<PathBuf> = glob::glob(pattern).map_err(|_| none())?.flatten().collect();
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("albert-train")?;
        self.0.iter().try_for_each(|word| match word {
            Word::Plain(word) => write!(f, " {}", quoted(word)),
            Word::Pattern(pattern) => write!(f, " {}", quoted_pattern(pattern)),
        })
    }
}

/// A pattern of names as a shell takes it: what stands for other characters is left to the shell.
pub fn quoted_pattern(pattern: &str) -> String {
    let parts = pattern.split_inclusive(WILD).map(|part| {
        let literal = part.trim_end_matches(WILD);
        let quoted = if literal.is_empty() { String::new() } else { quoted(literal) };
        quoted + &part[literal.len()..]
    });
    parts.collect()
}
