//! A run as a page for people: what became of it in words, its curves, its figures, how it was made. One HTML file that needs
//! nothing else: no script, no font, nothing from a network.
//!
//! [`RunRecord`] is what the files of a run say, read once, its journal thinned to [`Curve`]s; [`verdict`](RunRecord::verdict)
//! puts it into words, `chart` draws it, [`page()`] lays it out. Nothing of a run is believed to be harmless text: all of it is escaped.

mod chart;
mod curve;
mod evaluation;
mod export;
mod names;
mod page;
mod record;
mod scores;
mod sparkline;
mod verdict;

use std::io::{self, Read};
use std::path::Path;

pub use curve::{Curve, Point, Span};
pub use evaluation::{Evaluation, evaluations};
pub use export::CsvTable;
pub use names::tell_apart;
pub use page::page;
pub use record::{Note, RunRecord, Setting, find_runs};
pub use sparkline::sparkline;

use crate::files::{self, Disk};

/// The report in the directory of a run.
pub use crate::run::directory::REPORT as FILE;

/// The first and the last of a list, `most` of it in all, and how many lie between.
pub fn first_and_last<T>(list: &[T], most: usize) -> (&[T], usize, &[T]) {
    if list.len() <= most {
        return (list, 0, &[]);
    }
    let (first, rest) = list.split_at(most / 2);
    let (between, last) = rest.split_at(list.len() - most);
    (first, between.len(), last)
}

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
/// If the file cannot be written, or is something else; a link or a pipe is.
pub fn write_to(path: &Path, runs: &[RunRecord]) -> io::Result<()> {
    if files::exists(path)? && !is_report(path)? {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it is no report of this program, and stays",
        ));
    }
    files::replace_shared(&Disk, path, page(runs).as_bytes())
}

/// Whether a plain file begins with the mark of a report. Of a long file only that much is read, and nothing is waited for.
fn is_report(path: &Path) -> io::Result<bool> {
    /// A report has its mark within so many bytes.
    const BEGINNING: u64 = 1 << 10;
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut beginning = Vec::new();
    files::open_plain(path)?.take(BEGINNING).read_to_end(&mut beginning)?;
    Ok(String::from_utf8_lossy(&beginning).contains(page::MARK))
}

#[cfg(test)]
mod tests {
    use super::record::tests::run;
    use super::*;

    #[test]
    fn of_a_long_list_its_ends_are_shown() {
        assert_eq!(first_and_last(&[1, 2, 3], 3), (&[1, 2, 3][..], 0, &[][..]));
        assert_eq!(first_and_last(&[1, 2, 3, 4, 5, 6], 3), (&[1][..], 3, &[5, 6][..]));
    }

    #[test]
    fn only_a_report_is_replaced_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let run_folder = folder.path().join("run");
        run(&run_folder, 8.0);
        let path = run_folder.join(FILE);
        write(&run_folder).unwrap();
        write(&run_folder).unwrap();
        assert!(is_report(&path).unwrap());
        let elsewhere = folder.path().join("report.html");
        std::fs::rename(&path, &elsewhere).unwrap();
        let refused = |what: &str| {
            let error = write(&run_folder).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{what}: {error}");
        };
        std::fs::write(&path, "a letter").unwrap();
        refused("another file");
        std::fs::remove_file(&path).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
            refused("a link, even to a report");
            std::fs::remove_file(&path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            refused("a pipe that nobody writes to");
        }
    }
}
