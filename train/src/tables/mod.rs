//! Tables from files: TSV, CSV, JSON lines and Parquet, row by row, every error with the file and the line.
//!
//! A cell is text, a list of texts, or nothing; what a file writes as a number or a truth value comes as the text of it, so
//! that a table means the same in every format. Columns go by their names.
//!
//! ```
//! use train::tables::{Format, Options, read};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("reviews.tsv");
//! std::fs::write(&path, "text\tlabel\nA \"fine\" film.\tgood\n")?;
//! let mut reviews = Vec::new();
//! read(&path, Format::of(&path)?, &Options::default(), &mut |row| {
//!     reviews.push((row.line(), row.text("text")?.to_owned(), row.text("label")?.to_owned()));
//!     Ok(())
//! })?;
//! assert_eq!(reviews, [(2, "A \"fine\" film.".to_owned(), "good".to_owned())]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod delimited;
mod error;
mod jsonl;
mod parquet;
mod rows;

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

pub use error::InputError;
pub(crate) use error::excerpt;
pub(crate) use jsonl::reason;
use model::wire::unpacked::Limited;

/// What some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// How the rows of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tabulators between cells, line feeds between rows; quotation marks are text (as in GLUE's files).
    Tsv,
    /// Commas between cells; cells in quotation marks may hold commas, line feeds and doubled quotation marks (RFC 4180).
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// Apache Parquet, uncompressed or packed with Snappy or gzip.
    Parquet,
}

impl Format {
    /// The format that the end of a file's name stands for.
    ///
    /// # Errors
    /// If it stands for none of them.
    pub fn of(path: &Path) -> Result<Self, InputError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.').map_or("", |(_, end)| end) {
            "tsv" | "txt" => Ok(Self::Tsv),
            "csv" => Ok(Self::Csv),
            "jsonl" | "ndjson" | "json" => Ok(Self::Jsonl),
            "parquet" => Ok(Self::Parquet),
            _ => Err(InputError::content(
                path,
                None,
                "the name does not say what kind of table it is",
                "let it end with .tsv, .csv, .jsonl or .parquet",
            )),
        }
    }
}

/// What stands in one column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Nothing: `null`, or a key that a JSON object lacks.
    Missing,
    /// A text, or the text of a number or truth value.
    Text(Cow<'a, str>),
    /// A list of such texts.
    List(Vec<String>),
    /// Neither of these: what it is, in words.
    Other(&'static str),
}

impl Cell<'static> {
    /// A text, or what it is instead.
    fn of(text: Result<String, &'static str>) -> Self {
        text.map_or_else(Self::Other, |text| Self::Text(Cow::Owned(text)))
    }

    /// A list of texts, or what one of them is instead.
    fn of_list(texts: impl Iterator<Item = Result<String, &'static str>>) -> Self {
        texts.collect::<Result<_, _>>().map_or_else(Self::Other, Self::List)
    }
}

/// What stands in place of a text.
const OBJECT: &str = "an object";
const NESTED: &str = "a list within a list";
const HOLE: &str = "null within a list";

/// A row, and where it stands.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    path: &'a Path,
    line: u64,
    columns: Cow<'a, [String]>,
    cells: Vec<Cell<'a>>,
}

impl Row<'_> {
    /// The line of the file at which it begins; in a Parquet file its number. Both counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The cell of a column, if there is such a column.
    pub fn cell(&self, column: &str) -> Option<&Cell<'_>> {
        self.columns.iter().position(|name| name == column).map(|place| &self.cells[place])
    }

    /// The text in a column.
    ///
    /// # Errors
    /// If there is no such column, or no text in it.
    pub fn text(&self, column: &str) -> Result<&str, InputError> {
        match self.cell(column) {
            Some(Cell::Text(text)) => Ok(text),
            Some(Cell::Missing) => Err(self.error(
                format!("column {column:?} is empty (null)"),
                "put a text there, or leave the row out",
            )),
            Some(Cell::List(_)) => {
                Err(self
                    .error(format!("column {column:?} holds a list, not a text"), "name a column of texts"))
            }
            Some(Cell::Other(what)) => Err(self.error(
                format!("column {column:?} holds {what}"),
                "name a column of texts, written as UTF-8",
            )),
            None => Err(self.no_column(column)),
        }
    }

    /// The list in a column.
    ///
    /// # Errors
    /// If there is no such column, or no list in it.
    pub fn list(&self, column: &str) -> Result<&[String], InputError> {
        match self.cell(column) {
            Some(Cell::List(list)) => Ok(list),
            Some(other) => {
                let what = if let Cell::Other(what) = other { *what } else { "no list" };
                Err(self.error(
                    format!("column {column:?} holds {what}"),
                    "write it as a list of texts, in UTF-8: [\"New\", \"York\"]",
                ))
            }
            None => Err(self.no_column(column)),
        }
    }

    /// What to say where a column is missing.
    pub fn no_column(&self, column: &str) -> InputError {
        let names = || self.columns.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        self.error(
            format!("there is no column {column:?}; the columns are {}", names()),
            "name one of these, or give the file a line of names at its top",
        )
    }

    /// An error about this row: what is wrong, and what to do.
    pub fn error(&self, problem: impl Into<String>, advice: impl Into<String>) -> InputError {
        InputError::content(self.path, Some(self.line), problem, advice)
    }
}

/// What is particular about a TSV or CSV file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The names of the columns, where the file has no line of names at its top.
    pub names: Option<&'a [&'a str]>,
    /// Leave rows with too few columns out and count them, instead of refusing the file.
    pub skip_short: bool,
}

/// Lines of a TSV or CSV file that are no rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Those with too few columns.
    pub short: u64,
    /// Empty ones between the rows of a table of one column, which might be meant for empty texts. (In others they mean nothing.)
    pub empty: u64,
}

/// Calls `visit` with every row of a file, in order, and says what was left out. A byte order mark is no part of the text,
/// and of a file packed with gzip the content is read.
///
/// # Errors
/// If the file cannot be read, a row is not as its format wants it, or `visit` says so.
pub fn read(
    path: &Path,
    format: Format,
    options: &Options<'_>,
    visit: &mut dyn FnMut(&Row<'_>) -> Result<(), InputError>,
) -> Result<LeftOut, InputError> {
    let mut rows = 0u64;
    let visit = &mut |row: &Row<'_>| {
        rows += 1;
        visit(row)
    };
    let left_out = match format {
        Format::Tsv | Format::Csv => delimited::read(path, format == Format::Csv, options, visit),
        Format::Jsonl => jsonl::read(path, visit).map(|()| LeftOut::default()),
        Format::Parquet => parquet::read(path, visit).map(|()| LeftOut::default()),
    }?;
    match rows {
        0 => Err(InputError::content(path, None, "the file has no row", "fetch or write it again")),
        _ => Ok(left_out),
    }
}

/// Text that people wrote packs to a third; a table that repeats itself, to much less. What unpacks to more than so many times
/// its bytes was made to fill memory.
const LARGEST_RATIO: u64 = 200;
/// The same of what is kept in memory whole: files of passages and questions.
const LARGEST_WHOLE_RATIO: u64 = 20;
/// What any file may unpack to.
const ALWAYS: u64 = 64 << 20;

/// The whole text of a file, as [`open`] gives it.
pub(crate) fn whole(path: &Path) -> Result<String, InputError> {
    let mut bytes = Vec::new();
    open_within(path, LARGEST_WHOLE_RATIO)?.read_to_end(&mut bytes).map_err(InputError::io("read", path))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        let in_line = before.iter().rev().take_while(|&&byte| byte != b'\n').count();
        not_utf8(path, line, in_line + 1)
    })
}

/// The text of a file: unpacked if it is packed with gzip, without a byte order mark.
fn open(path: &Path) -> Result<Box<dyn BufRead>, InputError> {
    open_within(path, LARGEST_RATIO)
}

fn open_within(path: &Path, ratio: u64) -> Result<Box<dyn BufRead>, InputError> {
    let mut file = crate::files::open_plain(path).map_err(InputError::io("read", path))?;
    let packed = file.metadata().map_err(InputError::io("read", path))?.len();
    let head = beginning(&mut file, 2).map_err(InputError::io("read", path))?;
    let is_gzip = head == b"\x1F\x8B";
    let whole = Cursor::new(head).chain(BufReader::new(file));
    let mut text: Box<dyn BufRead> = match is_gzip {
        true => {
            let unpacked = flate2::bufread::MultiGzDecoder::new(whole);
            Box::new(BufReader::new(Limited::unpacked(unpacked, packed, ratio, ALWAYS)))
        }
        false => Box::new(whole),
    };
    let mut head = beginning(&mut text, BYTE_ORDER_MARK.len()).map_err(InputError::io("read", path))?;
    if head == BYTE_ORDER_MARK {
        head.clear();
    }
    Ok(Box::new(Cursor::new(head).chain(text)))
}

/// The first bytes, as many as there are.
fn beginning(input: &mut dyn Read, length: usize) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(length as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What to say about bytes that are no UTF-8 text, and about a NUL byte, which no text holds.
pub(crate) fn text_of<'a>(bytes: &'a [u8], path: &Path, line: u64) -> Result<&'a str, InputError> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(path, line, error.valid_up_to() + 1))?;
    match text.find('\0') {
        None => Ok(text),
        Some(place) => Err(InputError::content(
            path,
            Some(line),
            format!("byte {} of the line is a NUL, which no text holds", place + 1),
            "fetch the file again, or save it as UTF-8",
        )),
    }
}

/// What to say about the first byte that is no UTF-8, which stands at `place` of a line, counted from 1.
fn not_utf8(path: &Path, line: u64, place: usize) -> InputError {
    InputError::content(
        path,
        Some(line),
        format!("byte {place} of the line is not valid UTF-8"),
        "save the file as UTF-8 (`iconv -t utf-8` converts it)",
    )
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::parquet_bytes;
