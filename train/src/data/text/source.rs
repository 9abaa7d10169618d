//! Files as streams of text: gzip is undone, and what is no UTF-8 text is refused by its name, with the way out.
//!
//! `-` is standard input. It and other pipes can be read once only; see [`repeatable`].

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::encoding;
use super::format::{Format, Reading};
use crate::data::error::DataError;
use crate::files::{Disk, beside, create_beside, names, remove_flat_dir};

/// The name of standard input among files.
pub const STANDARD_INPUT: &str = "-";
/// How much of a file is looked at to recognise what it is, in bytes.
const HEAD: usize = 1 << 16;

/// Whether `path` can be read only once: standard input, or a pipe.
pub fn is_stream(path: &Path) -> bool {
    path == Path::new(STANDARD_INPUT)
        || fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// The files that are meant: for a folder all files in it and in its folders, in the order of their names; those whose
/// names begin with a dot are left out.
///
/// # Errors
/// If a file is not there, or a folder holds prepared data rather than text.
pub fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    if paths.is_empty() {
        return Err(DataError::NoSources);
    }
    let mut files = Vec::new();
    for path in paths {
        if is_stream(path) {
            files.push(path.clone());
        } else if fs::metadata(path).map_err(DataError::io("read", path))?.is_dir() {
            if crate::data::is_prepared(path) {
                return Err(DataError::PreparedFolder { path: path.clone() });
            }
            add_folder(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    match files.is_empty() {
        true => Err(DataError::EmptyText { what: names_of(paths) }),
        false => Ok(files),
    }
}

fn add_folder(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let mut found = names(folder).map_err(DataError::io("list", folder))?;
    found.sort();
    for name in found.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
        let path = folder.join(name);
        let kind = fs::symlink_metadata(&path).map_err(DataError::io("read", &path))?.file_type();
        // A link to a folder is not followed: it may lead back here.
        if kind.is_dir() {
            add_folder(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// The first names of many, for a message.
pub(crate) fn names_of(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<_> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    if paths.len() > SHOWN {
        names.push(format!("… ({} files)", paths.len()));
    }
    names.join(", ")
}

/// Opens every file for a moment, so that what can be seen at once is said at once, before hours of work. Streams are
/// left alone.
///
/// # Errors
/// If a file cannot be opened or is recognised as something else than text, or none of them holds anything.
pub fn look_at(files: &[PathBuf], reading: Reading) -> Result<(), DataError> {
    let mut holds_text = false;
    for path in files {
        holds_text |= is_stream(path) || !Source::open(path, reading)?.is_empty;
    }
    if holds_text { Ok(()) } else { Err(DataError::EmptyText { what: names_of(files) }) }
}

/// About how many bytes of text there are; packed text is about three times as long as it lies on the disk.
///
/// # Errors
/// If a file cannot be opened. Pipes count nothing.
pub fn text_size(paths: &[PathBuf]) -> Result<u64, DataError> {
    let size = |path: PathBuf| {
        if is_stream(&path) {
            return Ok(0);
        }
        let length = fs::metadata(&path).map_err(DataError::io("read", &path))?.len();
        let mut magic = [0; 3];
        let is_packed = File::open(&path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
            && encoding::is_gzip(&magic);
        Ok(if is_packed { 3 * length } else { length })
    };
    files_of(paths)?.into_iter().map(size).sum()
}

/// The layout of one file.
///
/// # Errors
/// If it cannot be read, or is recognised as something else than text.
pub(crate) fn format_of(path: &Path, reading: Reading) -> Result<Format, DataError> {
    Ok(Source::open(path, reading)?.format)
}

/// The names of copies: of standard input, and of other pipes, with their number.
const COPY: &str = "standard input";
const COPY_OF_PIPE: &str = "pipe ";

/// Removes a folder of copies. One that is not there is fine; one with a file of somebody else is left, with an error that
/// names the file.
///
/// # Errors
/// If something cannot be removed.
pub fn remove_copies(folder: &Path) -> Result<(), DataError> {
    let is_ours = |name: &OsStr| {
        let number = name.to_str().and_then(|name| name.strip_prefix(COPY_OF_PIPE));
        name == COPY || number.is_some_and(|number| number.parse::<usize>().is_ok())
    };
    remove_flat_dir(&Disk, folder, is_ours).map_err(DataError::io("remove", folder))
}

/// `files` with copies in `folder` in place of those that can be read only once, so that they can be read again. A copy
/// that is there already is not made anew.
///
/// # Errors
/// If one cannot be read or copied.
pub fn repeatable(files: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let copy = |(index, path): (usize, &PathBuf)| {
        if !is_stream(path) {
            return Ok(path.clone());
        }
        let is_standard = path == Path::new(STANDARD_INPUT);
        let target = folder.join(if is_standard { COPY.into() } else { format!("{COPY_OF_PIPE}{index}") });
        if !target.exists() {
            fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
            let beside = beside(&target);
            let copied = create_beside(&Disk, &target).and_then(|mut file| {
                io::copy(&mut open_raw(path).map_err(io::Error::other)?, &mut file)?;
                file.sync_all()?;
                fs::rename(&beside, &target)
            });
            copied.map_err(DataError::io("copy text into", &target))?;
        }
        Ok(target)
    };
    files.iter().enumerate().map(copy).collect()
}

fn open_raw(path: &Path) -> Result<Box<dyn Read + Send>, DataError> {
    if path == Path::new(STANDARD_INPUT) {
        return Ok(Box::new(io::stdin()));
    }
    Ok(Box::new(File::open(path).map_err(DataError::io("open", path))?))
}

/// A file being read.
pub(crate) struct Source {
    path: Arc<Path>,
    format: Format,
    input: Box<dyn Read + Send>,
    /// It holds nothing but white space.
    is_empty: bool,
    is_gzip: bool,
    /// Lines end with carriage returns alone.
    returns: bool,
    taken: Arc<AtomicU64>,
}

impl Source {
    /// Opens a file, or standard input.
    ///
    /// # Errors
    /// If it cannot be read, or is recognised as something that is not UTF-8 text.
    pub(crate) fn open(path: &Path, reading: Reading) -> Result<Self, DataError> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut raw = Counted { input: open_raw(path)?, taken: taken.clone() };
        let mut head = beginning(&mut raw).map_err(DataError::io("read", path))?;
        let is_gzip = encoding::is_gzip(&head);
        let mut input: Box<dyn Read + Send> = if is_gzip {
            let packed = BufReader::with_capacity(HEAD, Cursor::new(head).chain(raw));
            let mut unpacked = flate2::bufread::MultiGzDecoder::new(packed);
            head = beginning(&mut unpacked).map_err(damaged_gzip(path))?;
            Box::new(unpacked)
        } else {
            Box::new(raw)
        };
        if let Some(problem) = encoding::not_text(&head) {
            return Err(DataError::NotText { path: path.to_path_buf(), problem });
        }
        let whole = head.len() < HEAD;
        let format = Format::recognise(path, &head, whole, reading.format)?;
        let returns = head.contains(&b'\r') && !head.contains(&b'\n');
        let is_empty = whole && head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&head).trim_ascii().is_empty();
        input = Box::new(Cursor::new(head).chain(input));
        Ok(Self { path: path.into(), format, input, is_empty, is_gzip, returns, taken })
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Bytes of the file as it lies on the disk that were read since the last call.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.swap(0, Relaxed)
    }

    /// Appends up to `limit` bytes to `bytes`; fewer only at the end of the file.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged gzip.
    pub(crate) fn read(&mut self, limit: usize, bytes: &mut Vec<u8>) -> Result<usize, DataError> {
        let before = bytes.len();
        let read = (&mut self.input).take(limit as u64).read_to_end(bytes);
        let read = if self.is_gzip {
            read.map_err(damaged_gzip(&self.path))?
        } else {
            read.map_err(DataError::io("read", &self.path))?
        };
        if self.returns {
            bytes[before..].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        }
        Ok(read)
    }
}

/// The beginning of a stream: [`HEAD`] bytes, or all there is.
fn beginning(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn damaged_gzip(path: &Path) -> impl FnOnce(io::Error) -> DataError {
    let path = path.to_path_buf();
    move |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => DataError::damaged_gzip(path, "it ends early".into()),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            DataError::damaged_gzip(path, error.to_string())
        }
        _ => DataError::Io { action: "read", path, source: error },
    }
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.taken.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}
