//! TSV and CSV.

use std::borrow::Cow;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, Terminator};

use super::error::excerpt;
use super::rows::Rows;
use super::{Cell, InputError, LeftOut, Options, Row, open, text_of};

/// Reads the rows of a TSV file, or of a CSV file if `quoted`.
pub(super) fn read(
    path: &Path,
    quoted: bool,
    options: &Options<'_>,
    visit: &mut dyn FnMut(&Row<'_>) -> Result<(), InputError>,
) -> Result<LeftOut, InputError> {
    let names = options.names;
    let mut left_out = LeftOut::default();
    let mut settings = ReaderBuilder::new();
    settings.has_headers(false).flexible(true).quoting(quoted);
    if quoted {
        settings.delimiter(b',');
    } else {
        // A carriage return alone is a character of the text, as it is to Python.
        settings.delimiter(b'\t').terminator(Terminator::Any(b'\n'));
    }
    let mut reader = settings.from_reader(Rows::new(open(path)?, quoted));
    let mut columns: Option<Vec<String>> =
        names.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let mut record = ByteRecord::new();
    let mut before = 0; // the line at which the row before ended
    while reader.read_byte_record(&mut record).map_err(|error| csv_error(error, path))? {
        // The reader's own position is where it went on: before empty lines, and before the line feed of the row before.
        let end = reader.get_ref().line();
        let within = record.iter().flatten().filter(|&&byte| byte == b'\n').count() as u64;
        let line = end.saturating_sub(within);
        let mut cells = Vec::with_capacity(record.len());
        for (place, bytes) in record.iter().enumerate() {
            let text = text_of(bytes, path, line)?;
            let is_last = place + 1 == record.len();
            cells.push(if is_last && !quoted { text.strip_suffix('\r').unwrap_or(text) } else { text });
        }
        if cells == [""] && !quoted {
            continue; // an empty line with a carriage return; the reader passes over those without
        }
        let empty_lines = line.saturating_sub(before + 1);
        before = end;
        let Some(columns) = &columns else {
            columns = Some(header(&cells, path, line)?);
            continue;
        };
        if columns.len() == 1 {
            left_out.empty += empty_lines;
        }
        if options.skip_short && cells.len() < columns.len() {
            left_out.short += 1;
            continue;
        }
        if cells.len() != columns.len() {
            return Err(wrong_count(&cells, columns, quoted, path, line));
        }
        let cells = cells.into_iter().map(|text| Cell::Text(Cow::Borrowed(text))).collect();
        visit(&Row { path, line, columns: Cow::Borrowed(columns), cells })?;
    }
    match columns {
        Some(_) => Ok(left_out),
        None => Err(InputError::content(path, None, "the file is empty", "fetch or write it again")),
    }
}

/// The names of the columns, none of them twice.
fn header(cells: &[&str], path: &Path, line: u64) -> Result<Vec<String>, InputError> {
    let names: Vec<String> = cells.iter().map(|cell| cell.trim().to_owned()).collect();
    for (place, name) in names.iter().enumerate() {
        if !name.is_empty() && names[..place].contains(name) {
            return Err(InputError::content(
                path,
                Some(line),
                format!("two columns are called {}", excerpt(name)),
                "give each column a name of its own",
            ));
        }
    }
    Ok(names)
}

fn wrong_count(cells: &[&str], columns: &[String], quoted: bool, path: &Path, line: u64) -> InputError {
    let between = if quoted { "comma" } else { "tabulator" };
    InputError::content(
        path,
        Some(line),
        format!(
            "{} columns where {} are expected ({}): {}",
            cells.len(),
            columns.len(),
            columns.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
            excerpt(&cells.join(if quoted { "," } else { "\t" })),
        ),
        format!(
            "each row needs the same number of columns, one {between} between two: mend the line, or fetch the file again"
        ),
    )
}

fn csv_error(error: csv::Error, path: &Path) -> InputError {
    let line = error.position().map(csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => InputError::io("read", path)(source),
        other => InputError::content(path, line, format!("{other:?}"), "fetch or write the file again"),
    }
}
