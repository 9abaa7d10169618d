//! A run as a page for people: what became of it in words, its curves, its figures, how it was made. One HTML file that needs
//! nothing else: no script, no font, nothing from a network.
//!
//! [`RunRecord`] is what the files of a run say, read once; [`verdict`](RunRecord::verdict) puts it into words, `chart` draws
//! it, [`page()`] lays it out. Nothing of a run is believed to be harmless text: all of it is escaped.

mod chart;
mod export;
mod page;
mod record;
mod sparkline;
mod verdict;

use std::io;
use std::path::{Path, PathBuf};

pub use export::csv;
pub use page::page;
pub use record::{Evaluation, Note, Point, RunRecord, Setting, find_runs};
pub use sparkline::sparkline;

use crate::files::{self, Disk};

/// The report in the directory of a run.
pub const FILE: &str = "report.html";

/// Writes the report of the run in `folder` there.
///
/// # Errors
/// If the run cannot be read, or the file not be written.
pub fn write(folder: &Path) -> io::Result<()> {
    write_to(&folder.join(FILE), &[RunRecord::read(folder)?])
}

/// Writes a report of several runs, whole or not at all. A file that is there is replaced if it is a report.
///
/// # Errors
/// If the file cannot be written, or is something else.
pub fn write_to(path: &PathBuf, runs: &[RunRecord]) -> io::Result<()> {
    /// A report begins with its mark.
    const BEGINNING: usize = 1 << 10;
    if let Ok(before) = std::fs::read(path)
        && !String::from_utf8_lossy(&before[..before.len().min(BEGINNING)]).contains(page::MARK)
    {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it is no report of this program, and stays",
        ));
    }
    files::replace(&Disk, path, page(runs).as_bytes())
}
