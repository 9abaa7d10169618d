//! Parquet, as the Hugging Face Hub keeps data sets.

mod delta;
mod pages;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Once};

use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::record::Field;
use parquet::record::reader::{Reader, TreeBuilder};

use self::pages::{BATCH, Budget, Charged, Refused};
use super::{ALWAYS, Cell, HOLE, InputError, LARGEST_RATIO, NESTED, OBJECT, Row};

/// Digits of a number to the base of ten, and its bytes, in the programs that have the longest.
const MOST_DIGITS: i32 = 76;
const MOST_BYTES: usize = 32;

/// Reads the rows of a file.
pub(super) fn read(
    path: &Path,
    visit: &mut dyn FnMut(&Row<'_>) -> Result<(), InputError>,
) -> Result<(), InputError> {
    let file = Arc::new(crate::files::open_plain(path).map_err(InputError::io("read", path))?);
    let packed = file.metadata().map_err(InputError::io("read", path))?.len();
    // What the columns are unpacked to, and what their cells are copied to: one text can stand in a billion rows.
    let [unpacked, copied] = [(); 2].map(|()| Budget::new(packed.saturating_mul(LARGEST_RATIO).max(ALWAYS)));
    let metadata = guarded(path, None, || ParquetMetaDataReader::new().parse_and_finish(&*file))?;
    let schema = metadata.file_metadata().schema_descr_ptr();
    let names: Vec<String> =
        schema.root_schema().get_fields().iter().map(|column| column.name().to_owned()).collect();
    let mut line = 0;
    for group in metadata.row_groups() {
        let charged = Charged { file: Arc::clone(&file), metadata: group, budget: unpacked.clone() };
        let mut columns = guarded(path, Some(line + 1), || {
            let all = TreeBuilder::new().with_batch_size(BATCH).build(Arc::clone(&schema), &charged)?;
            let Reader::GroupReader(_, _, mut columns) = all else { return Err(ended()) };
            columns.iter_mut().try_for_each(|column| advance(column, Next::Value))?;
            Ok(columns)
        })?;
        for _ in 0..group.num_rows() {
            line += 1;
            let cells = guarded(path, Some(line), || {
                let columns = columns.iter_mut().zip(&names);
                columns
                    .map(|(column, name)| cell(column, &mut |bytes| copied.take(bytes as u64, name)))
                    .collect::<Result<Vec<_>, _>>()
            })?;
            visit(&Row { path, line, columns: Cow::Borrowed(&names), cells })?;
        }
    }
    Ok(())
}

/// The cell of a column in its next row; `take` charges the bytes that it takes.
fn cell(
    column: &mut Reader,
    take: &mut dyn FnMut(usize) -> Result<(), ParquetError>,
) -> Result<Cell<'static>, ParquetError> {
    let read = match column {
        Reader::OptionReader(missing, column) if levels(column)?[0] <= *missing => Cell::Missing,
        Reader::OptionReader(_, column) => return cell(column, take),
        Reader::RepeatedReader(_, empty, outer, values) => return list(values, *empty, *outer, take),
        _ => Cell::of(text(column)?),
    };
    let length = if let Cell::Text(text) = &read { text.len() } else { 0 };
    take(size_of::<Cell<'_>>() + length)?;
    advance(column, Next::Row)?;
    Ok(read)
}

/// A list of the next values of a column; it is empty where the first stands no deeper than `empty`, and ends before the first
/// that does not repeat within `outer`.
fn list(
    values: &mut Reader,
    empty: i16,
    outer: i16,
    take: &mut dyn FnMut(usize) -> Result<(), ParquetError>,
) -> Result<Cell<'static>, ParquetError> {
    let mut texts = Vec::new();
    take(size_of::<Cell<'_>>())?;
    if levels(values)?[0] <= empty {
        advance(values, Next::Row)?;
        return Ok(Cell::List(texts));
    }
    loop {
        match text(values)? {
            Ok(text) => {
                take(size_of::<String>() + text.len())?;
                texts.push(text);
            }
            Err(what) => {
                advance(values, Next::Row)?;
                return Ok(Cell::Other(what));
            }
        }
        advance(values, Next::Value)?;
        if levels(values).is_ok_and(|[_, repeated]| repeated > outer) {
            continue;
        }
        return Ok(Cell::List(texts));
    }
}

/// The text of the value at which a column stands, or what that is instead.
fn text(column: &Reader) -> Result<Result<String, &'static str>, ParquetError> {
    Ok(match column {
        Reader::OptionReader(missing, column) if levels(column)?[0] <= *missing => Err(HOLE),
        Reader::OptionReader(_, column) => return text(column),
        Reader::RepeatedReader(..) => Err(NESTED),
        Reader::GroupReader(..) | Reader::KeyValueReader(..) => Err(OBJECT),
        Reader::PrimitiveReader(_, values) if !values.has_next() => return Err(ended()),
        Reader::PrimitiveReader(_, values) => match values.current_value()? {
            Field::Str(text) => Ok(text),
            // Older programs leave the mark out that bytes are text.
            Field::Bytes(bytes) => bytes.as_utf8().map(str::to_owned).map_err(|_| "bytes that are not UTF-8"),
            // The library writes as many zeros as the file says.
            Field::Decimal(number)
                if number.precision() > MOST_DIGITS || number.data().len() > MOST_BYTES =>
            {
                Err("a number of more digits than numbers have")
            }
            value => Ok(value.to_string()),
        },
    })
}

/// How deep the value at which a column stands is defined, and within which list it repeats.
fn levels(column: &Reader) -> Result<[i16; 2], ParquetError> {
    match column {
        Reader::OptionReader(_, column) | Reader::RepeatedReader(_, _, _, column) => levels(column),
        Reader::KeyValueReader(_, _, _, keys, _) => levels(keys),
        Reader::GroupReader(_, _, columns) => levels(columns.first().ok_or_else(ended)?),
        Reader::PrimitiveReader(_, values) if !values.has_next() => Err(ended()),
        Reader::PrimitiveReader(_, values) => Ok([values.current_def_level(), values.current_rep_level()]),
    }
}

/// How far a column is read on.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// To its next value.
    Value,
    /// To the first one of its next row.
    Row,
}

fn advance(column: &mut Reader, next: Next) -> Result<(), ParquetError> {
    match column {
        Reader::OptionReader(_, column) | Reader::RepeatedReader(_, _, _, column) => advance(column, next),
        Reader::KeyValueReader(_, _, _, keys, values) => {
            advance(keys, next)?;
            advance(values, next)
        }
        Reader::GroupReader(_, _, columns) => columns.iter_mut().try_for_each(|column| advance(column, next)),
        Reader::PrimitiveReader(_, values) => {
            while values.read_next()? && next == Next::Row && values.current_rep_level() > 0 {}
            Ok(())
        }
    }
}

fn ended() -> ParquetError {
    ParquetError::General("a column ends too early".to_owned())
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
        Ok(read) => read.map_err(|error| match Refused::of(&error) {
            Some(refused) => InputError::content(path, None, refused.to_string(), refused.advice()),
            None => damaged(path, line, &error.to_string()),
        }),
        Err(_) => Err(damaged(path, line, "its parts do not fit together")),
    }
}

fn damaged(path: &Path, line: Option<u64>, what: &str) -> InputError {
    InputError::content(
        path,
        line,
        format!("no Parquet file that can be read ({what})"),
        "fetch the file again, or write it anew",
    )
}
