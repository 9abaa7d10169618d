//! A run's journal as a table for other programs.

use std::io::{self, Write};
use std::path::Path;

use crate::run::directory::JOURNAL;
use crate::run::journal::{History, Recorded};
use crate::run::tensorboard::SHOWN;

/// The `train` and `evaluation` events of a run as CSV: a row for each that counts (what was done again after a resume is there
/// once), a column for each figure, empty where an event has none. Numbers are those of the journal, to the last digit.
#[derive(Debug)]
pub struct CsvTable {
    history: History,
    columns: Vec<String>,
}

fn is_shown(event: &Recorded) -> bool {
    !event.superseded && SHOWN.contains(&event.kind())
}

impl CsvTable {
    /// Of the run in `folder`.
    ///
    /// # Errors
    /// If its journal cannot be read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut history = History::open(&folder.join(JOURNAL))?;
        let mut columns: Vec<String> = Vec::new();
        for event in history.events()? {
            let event = event?;
            for (name, _) in event.numbers().filter(|_| is_shown(&event)) {
                if !columns.iter().any(|known| known == name) {
                    columns.push(name.into());
                }
            }
        }
        Ok(Self { history, columns })
    }

    /// Writes it, row by row.
    ///
    /// # Errors
    /// If the journal cannot be read on, or `into` not be written.
    pub fn write(&mut self, into: impl Write) -> io::Result<()> {
        let Self { history, columns } = self;
        let mut writer = csv::Writer::from_writer(into);
        let names = ["event", "step", "time"].into_iter().chain(columns.iter().map(String::as_str));
        writer.write_record(names).map_err(of_system)?;
        for event in history.events()? {
            let event = event?;
            if is_shown(&event) {
                writer.write_record(row(&event, columns)).map_err(of_system)?;
            }
        }
        writer.flush()
    }
}

/// What the system said, as it said it: whether nobody reads on is known by that.
fn of_system(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn row(event: &Recorded, columns: &[String]) -> Vec<String> {
    let number = |name: &str| match event.fields.get(name) {
        // As the journal writes it: `NaN` and `inf` are texts there.
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let own = [event.kind().to_owned(), number("step"), number("time")];
    own.into_iter().chain(columns.iter().map(|name| number(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::run;
    use super::*;

    #[test]
    fn each_step_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        run(&folder.path().join("run"), 8.0);
        let mut table = Vec::new();
        CsvTable::open(&folder.path().join("run")).unwrap().write(&mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(rows[0][..5], ["event", "step", "time", "learning_rate", "loss"]);
        assert_eq!((rows[1][0], rows[1][1], rows[1][4]), ("train", "1", "8.0"));
        assert_eq!(rows.iter().map(|row| row[1]).collect::<Vec<_>>(), ["step", "1", "10", "20", "20"]);
        assert_eq!((rows[4][3], rows[4][4]), ("", "0.123456789"), "an evaluation has no learning rate");
    }

    #[test]
    fn nobody_who_reads_on_is_told_as_that() {
        let folder = tempfile::tempdir().unwrap();
        let run_folder = folder.path().join("run");
        run(&run_folder, 8.0);
        let lines: String = (21..2000)
            .map(|step| format!("{{\"event\":\"train\",\"step\":{step},\"loss\":1.5}}\n"))
            .collect();
        let journal = run_folder.join(JOURNAL);
        std::fs::write(&journal, std::fs::read_to_string(&journal).unwrap() + &lines).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let error = CsvTable::open(&run_folder).unwrap().write(writer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{error}");
    }
}
