//! A run's journal as a table for other programs.

use std::io;
use std::path::Path;

use crate::run::directory::JOURNAL;
use crate::run::journal::{self, Recorded};
use crate::run::tensorboard::SHOWN;

/// The `train` and `evaluation` events of the run in `folder` as CSV: a row for each that counts (what was done again after a
/// resume is there once), a column for each figure, empty where an event has none. Numbers are those of the journal, to the
/// last digit.
///
/// # Errors
/// If the journal cannot be read.
pub fn csv(folder: &Path) -> io::Result<String> {
    let history = journal::read(&folder.join(JOURNAL))?;
    let is_shown = |event: &&Recorded| !event.superseded && SHOWN.contains(&event.kind());
    let events: Vec<&Recorded> = history.events.iter().filter(is_shown).collect();
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in events.iter().flat_map(|event| event.numbers()) {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["event", "step", "time"].iter().chain(&columns))?;
    for event in events {
        let number = |name: &str| match event.fields.get(name) {
            // As the journal writes it: `NaN` and `inf` are texts there.
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        let own = [event.kind().to_owned(), number("step"), number("time")];
        writer.write_record(own.into_iter().chain(columns.iter().map(|name| number(name))))?;
    }
    let bytes = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::run;

    #[test]
    fn each_step_is_a_row() {
        let folder = tempfile::tempdir().unwrap();
        run(&folder.path().join("run"), 8.0);
        let table = super::csv(&folder.path().join("run")).unwrap();
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(rows[0][..5], ["event", "step", "time", "learning_rate", "loss"]);
        assert_eq!((rows[1][0], rows[1][1], rows[1][4]), ("train", "1", "8.0"));
        assert_eq!(rows.iter().map(|row| row[1]).collect::<Vec<_>>(), ["step", "1", "10", "20", "20"]);
        assert_eq!((rows[4][3], rows[4][4]), ("", "0.123456789"), "an evaluation has no learning rate");
    }
}
