//! JSON lines: an object a line.

use std::borrow::Cow;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::error::excerpt;
use super::rows::Rows;
use super::{Cell, HOLE, InputError, NESTED, OBJECT, Row, open, text_of};

/// Reads the objects of a file as rows.
pub(super) fn read(
    path: &Path,
    visit: &mut dyn FnMut(&Row<'_>) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let mut input = BufReader::new(Rows::new(open(path)?, false));
    let (mut bytes, mut line) = (Vec::new(), 0);
    loop {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes).map_err(InputError::io("read", path))? == 0 {
            break;
        }
        line += 1;
        let text = text_of(&bytes, path, line)?.trim();
        if text.is_empty() {
            continue;
        }
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| not_an_object(&error, text, path, line))?;
        let mut columns = Vec::with_capacity(object.len());
        let mut cells = Vec::with_capacity(object.len());
        for (name, value) in object {
            cells.push(cell(value));
            columns.push(name);
        }
        visit(&Row { path, line, columns: Cow::Owned(columns), cells })?;
    }
    Ok(())
}

fn cell(value: Value) -> Cell<'static> {
    match value {
        Value::Null => Cell::Missing,
        Value::Array(values) => Cell::of_list(values.into_iter().map(text)),
        value => Cell::of(text(value)),
    }
}

/// The text of a text, a number or a truth value.
fn text(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Err(HOLE),
        Value::Array(_) => Err(NESTED),
        Value::Object(_) => Err(OBJECT),
        number => Ok(number.to_string()),
    }
}

fn not_an_object(error: &serde_json::Error, text: &str, path: &Path, line: u64) -> InputError {
    let advice = match text.starts_with('[') {
        true => "the file is one JSON list: write its objects one a line (`jq -c '.[]'` does)",
        false => "each line must be one JSON object, such as {\"text\": \"…\", \"label\": \"…\"}",
    };
    InputError::content(
        path,
        Some(line),
        format!("no JSON object (column {}: {}): {}", error.column(), reason(error), excerpt(text)),
        advice,
    )
}

/// What serde_json found, without the line that it counts within the text it was given.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}
