//! Parquet, as the Hugging Face Hub keeps data sets.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::{ALWAYS, Cell, HOLE, InputError, LARGEST_RATIO, NESTED, OBJECT, Row};

/// Reads the rows of a file.
pub(super) fn read(
    path: &Path,
    visit: &mut dyn FnMut(&Row<'_>) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let file = crate::files::open_plain(path).map_err(InputError::io("read", path))?;
    let packed = file.metadata().map_err(InputError::io("read", path))?.len();
    let mut left = packed.saturating_mul(LARGEST_RATIO).max(ALWAYS);
    let reader = guarded(path, None, || SerializedFileReader::new(file))?;
    let mut rows = guarded(path, None, || reader.get_row_iter(None))?;
    for line in 1.. {
        let Some(row) = guarded(path, Some(line), || rows.next().transpose())? else { break };
        let mut columns = Vec::with_capacity(row.len());
        let mut cells = Vec::with_capacity(row.len());
        for (name, field) in row.into_columns() {
            cells.push(match field {
                Field::Null => Cell::Missing,
                Field::ListInternal(list) => Cell::of_list(list.elements().iter().map(text)),
                field => Cell::of(text(&field)),
            });
            columns.push(name);
        }
        // One page can say that the same row comes a billion times.
        let bytes = cells.iter().map(room).sum::<usize>() as u64;
        left = left
            .checked_sub(bytes)
            .ok_or_else(|| InputError::io("read", path)(ErrorKind::FileTooLarge.into()))?;
        visit(&Row { path, line, columns: Cow::Owned(columns), cells })?;
    }
    Ok(())
}

/// About the bytes of memory that a cell takes.
fn room(cell: &Cell<'_>) -> usize {
    let texts = match cell {
        Cell::Text(text) => text.len(),
        Cell::List(texts) => texts.iter().map(|text| size_of::<String>() + text.len()).sum(),
        Cell::Missing | Cell::Other(_) => 0,
    };
    size_of::<Cell<'_>>() + texts
}

thread_local! {
    /// Whether a panic of this thread is an error that somebody waits for.
    static EXPECTS_PANICS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Keeps panics from being printed while they are expected.
fn quiet_expected_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !EXPECTS_PANICS.get() {
                usual(panic);
            }
        }));
    });
}

/// What `read` gives; the library panics where some damaged files are read, which is an error like any other here.
fn guarded<T>(
    path: &Path,
    line: Option<u64>,
    read: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, InputError> {
    quiet_expected_panics();
    EXPECTS_PANICS.set(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    EXPECTS_PANICS.set(false);
    match read {
        Ok(read) => read.map_err(|error| damaged(path, line, &error.to_string())),
        Err(_) => Err(damaged(path, line, "its parts do not fit together")),
    }
}

/// The text of a text, a number, a truth value or a time; of bytes that are not marked as text (older programs leave the mark
/// out) where they are text.
fn text(field: &Field) -> Result<String, &'static str> {
    match field {
        Field::Str(text) => Ok(text.clone()),
        Field::Bytes(bytes) => bytes.as_utf8().map(str::to_owned).map_err(|_| "bytes that are not UTF-8"),
        Field::Null => Err(HOLE),
        Field::ListInternal(_) => Err(NESTED),
        Field::Group(_) | Field::MapInternal(_) => Err(OBJECT),
        number => Ok(number.to_string()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a damaged file is its error, not the panic that it comes from. The test runs itself, to see it.
    #[test]
    fn an_expected_panic_is_not_printed() {
        const INSIDE: &str = "ALBERT_TRAIN_TEST_INSIDE";
        if std::env::var_os(INSIDE).is_some() {
            let error =
                guarded::<()>(Path::new("x.parquet"), Some(3), || panic!("out of bounds")).unwrap_err();
            eprintln!("{error}");
            let _ = catch_unwind(|| panic!("another panic"));
            return;
        }
        let name = concat!(module_path!(), "::an_expected_panic_is_not_printed");
        let (_, name) = name.split_once("::").unwrap();
        let itself = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&itself.stderr).into_owned();
        assert!(said.contains("x.parquet:3: no Parquet file"), "{said}");
        assert!(!said.contains("out of bounds") && said.contains("another panic"), "{said}");
    }
}
