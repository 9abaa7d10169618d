//! Files as streams of text: gzip is undone, and what is no UTF-8 text is refused by its name, with the way out.
//!
//! `-` is standard input. It and other pipes can be read once only; see [`repeatable`].

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::encoding;
use super::format::{Format, Reading};
use super::outputs;
use crate::data::error::DataError;
use crate::files::{Disk, beside, create_beside, names, remove_flat_dir};
use crate::visible::shown;

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
/// names begin with a dot are left out. Links are followed, and each folder is read once, whatever leads to it.
///
/// # Errors
/// If a file is not there, also one that a link in a folder leads to, or a folder holds prepared data rather than text.
pub fn files_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
    let Found { files, .. } = find(paths)?;
    match files.is_empty() {
        true => Err(DataError::EmptyText { what: names_of(paths) }),
        false => Ok(files),
    }
}

/// Which folders within those of `paths` are left out, in words: what this program made lies there, such as the folder that it
/// is to write now. Of prepared data nothing is.
///
/// # Errors
/// As those of [`files_of`].
pub fn left_out(paths: &[PathBuf]) -> Result<Vec<String>, DataError> {
    let in_words = |(folder, what): (PathBuf, _)| {
        format!("note: {} is left out of the text: it is {what}", shown(&folder))
    };
    match find(paths) {
        Err(DataError::NoSources | DataError::PreparedFolder { .. }) => Ok(Vec::new()),
        found => Ok(found?.left_out.into_iter().map(in_words).collect()),
    }
}

/// What there is in some folders.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    /// Folders that hold no text, and what they are.
    left_out: Vec<(PathBuf, &'static str)>,
}

fn find(paths: &[PathBuf]) -> Result<Found, DataError> {
    if paths.is_empty() {
        return Err(DataError::NoSources);
    }
    expect_one_standard_input(paths)?;
    let mut found = Found::default();
    for path in paths {
        if is_stream(path) {
            found.files.push(path.clone());
        } else if fs::metadata(path).map_err(DataError::io("read", path))?.is_dir() {
            if crate::data::is_prepared(path) {
                return Err(DataError::PreparedFolder { path: path.clone() });
            }
            found.add_folder(path, &mut HashSet::new())?;
        } else {
            found.files.push(path.clone());
        }
    }
    Ok(found)
}

impl Found {
    /// Adds the files of a folder but for those of the folders `read`, which are known by their paths without links.
    fn add_folder(&mut self, folder: &Path, read: &mut HashSet<PathBuf>) -> Result<(), DataError> {
        if !read.insert(fs::canonicalize(folder).map_err(DataError::io("read", folder))?) {
            return Ok(());
        }
        let mut found = names(folder).map_err(DataError::io("list", folder))?;
        found.sort();
        for name in found.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
            let path = folder.join(name);
            let kind = match fs::metadata(&path) {
                Ok(metadata) => metadata.file_type(),
                Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                    let problem = "is a link to nothing: fetch the data or mount the disk that it leads to, or remove it";
                    return Err(DataError::NotText { path, problem });
                }
                Err(error) => return Err(DataError::io("read", &path)(error)),
            };
            if kind.is_dir() {
                match outputs::what_is(&path) {
                    Some(what) => self.left_out.push((path, what)),
                    None => self.add_folder(&path, read)?,
                }
            } else if kind.is_file() {
                self.files.push(path);
            } else {
                let problem = "is neither a file nor a folder: move it elsewhere; a pipe is read where it is named itself";
                return Err(DataError::NotText { path, problem });
            }
        }
        Ok(())
    }
}

/// The first names of many, for a message.
pub(crate) fn names_of(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<_> = paths.iter().take(SHOWN).map(|path| shown(path)).collect();
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

/// Files that can be read again and again.
#[derive(Debug, Default)]
pub struct Copied {
    /// Those that were given; in place of what can be read only once, its copies.
    pub files: Vec<PathBuf>,
    /// Whether a copy is of what was piped in before.
    pub kept: bool,
    /// Whether a copy of other text has taken the place of an earlier one.
    pub replaced: bool,
}

/// `files` with copies in `folder` in place of those that can be read only once. A copy that is there already is made anew
/// only where `renew`, and where there is something to be read.
///
/// # Errors
/// If one cannot be read or copied.
pub fn copied(files: &[PathBuf], folder: &Path, renew: bool) -> Result<Copied, DataError> {
    expect_one_standard_input(files)?;
    let mut copied = Copied::default();
    for (index, path) in files.iter().enumerate() {
        if !is_stream(path) {
            copied.files.push(path.clone());
            continue;
        }
        let target = copy_in(folder, index, path);
        let is_there = target.exists();
        let mut is_new = false;
        if is_to_be_copied(path, &target, renew) {
            fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
            is_new = copy(path, &target, is_there).map_err(DataError::io("copy text into", &target))?;
        }
        copied.kept |= !is_new;
        copied.replaced |= is_new && is_there;
        copied.files.push(target);
    }
    Ok(copied)
}

/// Whether [`copied`] would read standard input, to whose end it waits.
pub fn reads_standard_input(files: &[PathBuf], folder: &Path, renew: bool) -> bool {
    let standard = files.iter().find(|path| path.as_path() == Path::new(STANDARD_INPUT));
    standard.is_some_and(|path| is_to_be_copied(path, &copy_in(folder, 0, path), renew))
}

fn is_to_be_copied(path: &Path, target: &Path, renew: bool) -> bool {
    // Nobody types a text in to have it replaced.
    let waits = path == Path::new(STANDARD_INPUT) && io::stdin().is_terminal();
    !target.exists() || renew && !waits
}

/// Where in `folder` the copy of the `index`-th of some files is.
fn copy_in(folder: &Path, index: usize, path: &Path) -> PathBuf {
    let is_standard = path == Path::new(STANDARD_INPUT);
    folder.join(if is_standard { COPY.into() } else { format!("{COPY_OF_PIPE}{index}") })
}

/// Whether `folder` has copies of all those of `files` that can be read only once.
pub fn has_copies(files: &[PathBuf], folder: &Path) -> bool {
    let mut files = files.iter().enumerate();
    files.all(|(index, path)| !is_stream(path) || copy_in(folder, index, path).exists())
}

/// Refuses standard input where it is named again: the second time it would be empty.
fn expect_one_standard_input(paths: &[PathBuf]) -> Result<(), DataError> {
    let is_standard = |path: &&PathBuf| path.as_path() == Path::new(STANDARD_INPUT);
    match paths.iter().filter(is_standard).nth(1) {
        None => Ok(()),
        Some(_) => Err(DataError::Option {
            option: "text",
            value: "- and -".into(),
            reason: "standard input can be read once only; name files, or other pipes, beside it",
        }),
    }
}

/// Copies what can be read only once; whether that is anything new: where a copy `is_there`, the same text is not, nor is none.
fn copy(path: &Path, target: &Path, is_there: bool) -> io::Result<bool> {
    let beside = beside(target);
    let mut file = create_beside(&Disk, target)?;
    let length = io::copy(&mut open_raw(path).map_err(io::Error::other)?, &mut file)?;
    let hash = |path: &Path| -> io::Result<_> {
        Ok(blake3::Hasher::new().update_reader(File::open(path)?)?.finalize())
    };
    if is_there && (length == 0 || hash(&beside)? == hash(target)?) {
        fs::remove_file(&beside)?;
        return Ok(false);
    }
    file.sync_all()?;
    fs::rename(&beside, target)?;
    Ok(true)
}

/// [`copied`], for a folder in which there is nothing yet.
///
/// # Errors
/// If one cannot be read or copied.
pub fn repeatable(files: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    copied(files, folder, false).map(|copied| copied.files)
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Text that links lead to, from other disks say, is text as any other, and once; a link back is no trap.
    #[test]
    fn links_in_a_folder_are_followed() {
        let scene = tempfile::tempdir().unwrap();
        let at = |name: &str| scene.path().join(name);
        for folder in ["books/z", "elsewhere"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["books/a.txt", "books/z/c.txt", "elsewhere/b.txt"] {
            fs::write(at(file), "A text.\n").unwrap();
        }
        for (to, link) in [(".", "back"), ("../elsewhere", "more"), ("z", "to_z"), ("a.txt", "y.txt")] {
            symlink(to, at("books").join(link)).unwrap();
        }
        let found = || files_of(&[at("books")]);
        let expected = ["a.txt", "more/b.txt", "to_z/c.txt", "y.txt"].map(|name| at("books").join(name));
        assert_eq!(found().unwrap(), expected);
        symlink("no/such", at("books/gone.txt")).unwrap();
        let error = found().unwrap_err().to_string();
        assert!(error.contains("gone.txt is a link to nothing"), "{error}");
        fs::remove_file(at("books/gone.txt")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("books/socket")).unwrap();
        let error = found().unwrap_err().to_string();
        assert!(error.contains("socket is neither a file nor a folder"), "{error}");
    }
}
