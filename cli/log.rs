//! What a run tells: to the person at the terminal, and to `train.log`, where it can be read later.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use train::run::clock::{unix_seconds, utc};

use crate::output::tell;

/// The log of a run.
pub struct Log(File);

impl Log {
    /// Opens the log, to be continued.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self(file.with_context(|| format!("cannot open {}", path.display()))?))
    }

    /// Tells the terminal and the log.
    pub fn say(&self, text: &str) {
        tell(text);
        self.note(text);
    }

    /// Tells the log only, with the time.
    pub fn note(&self, text: &str) {
        let line = format!("{} {text}\n", utc(unix_seconds() as u64));
        // A disk that takes no line of text is told of where it takes no checkpoint.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}
