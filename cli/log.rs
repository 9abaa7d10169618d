//! What a run tells: to the person at the terminal, and to `train.log`, where it can be read later.

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};
use train::files;
use train::run::clock::{unix_seconds, utc};
use train::run::directory::RunDirectory;
use train::visible::{shown, visible_lines};

/// The log of a run.
pub struct Log(File);

impl Log {
    /// Opens the log of a run, to be continued.
    pub fn open(run: &RunDirectory) -> Result<Self> {
        let (path, mut options) = (run.log(), File::options());
        let file = files::open_own(options.create(true).append(true), &path);
        Ok(Self(file.with_context(|| format!("cannot open {}", shown(&path)))?))
    }

    /// Notes a line, with the time.
    pub fn note(&self, text: &str) {
        // A line that begins with a time is an entry's first: no name with a line end in it can forge one.
        let text = visible_lines(text).replace('\n', "\n    ");
        let line = format!("{} {text}\n", utc(unix_seconds() as u64));
        // A disk that takes no line of text is told of where it takes no checkpoint.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}
