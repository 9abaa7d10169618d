//! Parquet, as the Hugging Face Hub keeps data sets.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::{Cell, InputError, Row};

/// Reads the rows of a file.
pub(super) fn read(
    path: &Path,
    visit: &mut dyn FnMut(&Row<'_>) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let file = crate::files::open_plain(path).map_err(InputError::io("read", path))?;
    let reader = guarded(path, None, || SerializedFileReader::new(file))?;
    let mut rows = guarded(path, None, || reader.get_row_iter(None))?;
    for line in 1.. {
        let Some(row) = guarded(path, Some(line), || rows.next().transpose())? else { break };
        let mut columns = Vec::with_capacity(row.len());
        let mut cells = Vec::with_capacity(row.len());
        for (name, field) in row.into_columns() {
            cells.push(match field {
                Field::Null => Cell::Missing,
                Field::ListInternal(list) => Cell::List(list.elements().iter().map(text).collect()),
                Field::Str(text) => Cell::Text(Cow::Owned(text)),
                other => Cell::Text(Cow::Owned(text(&other))),
            });
            columns.push(name);
        }
        visit(&Row { path, line, columns: Cow::Owned(columns), cells })?;
    }
    Ok(())
}

/// What `read` gives; the library panics where some damaged files are read, which is an error like any other here.
fn guarded<T>(
    path: &Path,
    line: Option<u64>,
    read: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, InputError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| damaged(path, line, &error.to_string())),
        Err(_) => Err(damaged(path, line, "its parts do not fit together")),
    }
}

fn text(field: &Field) -> String {
    match field {
        Field::Str(text) => text.clone(),
        other => other.to_string(),
    }
}

fn damaged(path: &Path, line: Option<u64>, what: &str) -> InputError {
    InputError::content(
        path,
        line,
        format!("no Parquet file that can be read ({what})"),
        "fetch the file again; of packed columns those of Snappy and gzip are read, others have to be written anew",
    )
}
