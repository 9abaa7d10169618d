//! Files that are written whole or not at all, and the few operations that change a run directory, behind one trait.
//!
//! Everything that must survive a crash is written through [`Files`], so that a test can make any single operation
//! fail, or be the last one before the power goes, and then look at what is left. Reading needs no such seam: what a
//! crash leaves behind lies on the disk.
//!
//! A folder may come from a stranger, so nothing is ever deleted or overwritten through a link: a file is created where
//! there was none, one that is written on must be a plain file of one name ([`open_own`]), and of a link only the link
//! itself is removed. Whatever else may lie where a file is expected, such as a pipe, is an error and not waited for.

mod lockable;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub use lockable::Lockable;

use crate::visible::shown;

/// Operations that change files. [`Disk`] is the one used outside tests.
pub trait Files: Send + Sync {
    /// Creates one directory; an existing one is an error of kind `AlreadyExists`.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a file for writing; whatever is there already, a link included, is an error of kind `AlreadyExists`.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `bytes` at the file's position.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file's content durable.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory (creations, renames, removals) durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory; atomic on one file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes one file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes one empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        File::create_new(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Only Unix lets a directory be opened and synced; elsewhere the rename itself is all there is.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}

/// A file being written through [`Files`]: an ordinary [`Write`] that knows its path.
pub struct Writer<'a> {
    files: &'a dyn Files,
    file: File,
    path: &'a Path,
}

impl<'a> Writer<'a> {
    /// Creates the file; one that is there already is an error of kind `AlreadyExists`.
    pub fn create(files: &'a dyn Files, path: &'a Path) -> io::Result<Self> {
        Ok(Writer { files, file: files.create(path)?, path })
    }

    /// Makes what was written durable.
    pub fn sync(self) -> io::Result<()> {
        self.files.sync(&self.file, self.path)
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.files.write(&mut self.file, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replaces a small file as one indivisible, durable act: written beside, synced, renamed, directory synced.
/// Readers see the old content or the new, never a part.
pub fn replace(files: &dyn Files, path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(files, path, path, content)
}

/// [`replace`] for a file that several processes may replace at once: each writes beside it under a name of its own.
pub fn replace_shared(files: &dyn Files, path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(files, path, &own(path), content)
}

/// `path` with this process's number, which no other process writes.
pub fn own(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

/// Replaces `path` by a file that is written [`beside`] `own`.
fn replace_by(files: &dyn Files, path: &Path, own: &Path, content: &[u8]) -> io::Result<()> {
    let beside = beside(own);
    let write = || -> io::Result<()> {
        let mut file = create_beside(files, own)?;
        files.write(&mut file, content)?;
        files.sync(&file, &beside)?;
        rename_for_good(files, &beside, path)
    };
    if let Err(error) = write() {
        // A full disk must not stay full of our remains; if this fails too, the first error is the one to tell.
        let _ = files.remove_file(&beside);
        return Err(error);
    }
    Ok(())
}

/// Lets the file [`beside`] `path`, written and synced, take its place, for good.
pub fn put_in_place(files: &dyn Files, path: &Path) -> io::Result<()> {
    rename_for_good(files, &beside(path), path)
}

/// Gives a file that is written and synced another name in its folder, for good.
pub fn rename_for_good(files: &dyn Files, from: &Path, path: &Path) -> io::Result<()> {
    files.rename(from, path)?;
    files.sync_dir(match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    })
}

/// What the name of a file ends with that is to take the place of another.
const BESIDE: &str = ".albert-train.tmp";

/// Where the new content of `path` is written before it takes its place: `.NAME.albert-train.tmp`, a name that is nobody
/// else's. What a crash leaves there is never read, and gone when its turn comes or at the next [`sweep`].
pub fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(BESIDE);
    path.with_file_name(name)
}

/// Creates the file [`beside`] `path`, in place of what a crash left there.
pub fn create_beside(files: &dyn Files, path: &Path) -> io::Result<File> {
    let beside = beside(path);
    match files.create(&beside) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            files.remove_file(&beside)?;
            files.create(&beside)
        }
        created => created,
    }
}

/// Removes from a folder what crashes left [`beside`] its files; a folder that does not exist is fine.
pub fn sweep(files: &dyn Files, folder: &Path) -> io::Result<()> {
    match names(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        names => names?
            .into_iter()
            .filter(|name| is_beside(name))
            .try_for_each(|name| files.remove_file(&folder.join(name))),
    }
}

/// Whether a name is one of [`beside`].
pub fn is_beside(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(BESIDE))
}

/// Removes a directory and the files in it, all of which must be ours, or remains of [`replace`]; one that does not exist is
/// fine. Of a link, in its place or in it, only the link goes.
pub fn remove_flat_dir(files: &dyn Files, path: &Path, is_ours: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    remove_flat_dir_in_order(files, path, is_ours, |_| false)
}

/// [`remove_flat_dir`] of a folder that is known to be ours by some of its files: they go last, so that a removal that is broken
/// off leaves a folder that can be removed.
pub fn remove_flat_dir_in_order(
    files: &dyn Files,
    path: &Path,
    is_ours: impl Fn(&OsStr) -> bool,
    goes_last: impl Fn(&OsStr) -> bool,
) -> io::Result<()> {
    if !exists(path)? {
        return Ok(());
    }
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_symlink() {
        return files.remove_file(path);
    }
    if !kind.is_dir() {
        return Err(in_the_way(path, "is not a folder of this program"));
    }
    let mut names = names(path)?;
    if let Some(foreign) = names.iter().find(|name| !is_ours(name) && !is_beside(name)) {
        return Err(in_the_way(&path.join(foreign), "is not a file of this program"));
    }
    names.sort_by_key(|name| goes_last(name));
    for name in names {
        files.remove_file(&path.join(name))?;
    }
    files.remove_dir(path)
}

fn in_the_way(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("{} {what}, and is in the way: move it elsewhere", shown(path)))
}

/// Whether something of this name is there, be it a link that leads nowhere.
///
/// # Errors
/// If the system does not tell: that is no proof that it is not there.
pub fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is in the way of a folder `path`: itself or something above it that is there and is no folder, nor a link to one.
pub fn no_folder(path: &Path) -> Option<PathBuf> {
    for part in path.ancestors() {
        match fs::metadata(part) {
            Ok(found) => return (!found.is_dir()).then(|| part.into()),
            Err(error) => match error.kind() {
                // A link that leads nowhere; a folder that somebody makes at this moment is none.
                io::ErrorKind::NotFound if part.is_symlink() => return Some(part.into()),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {} // further up
                _ => return None,
            },
        }
    }
    None
}

/// The folders on the way to `path` that are not there, from `path` itself: those that `create_dir_all` would make.
pub fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let is_missing = |folder: &&Path| **folder != *Path::new("") && matches!(exists(folder), Ok(false));
    path.ancestors().take_while(is_missing).map(Path::to_path_buf).collect()
}

/// Whether an open file is still the one of the name `path`.
pub fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (Ok(ours), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

/// The names in a folder. (`std::fs::read_dir` panics where the system cannot close the folder again.)
pub fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    #[cfg(unix)]
    {
        use rustix::fs::{Dir, Mode, OFlags};
        use std::os::unix::ffi::OsStrExt;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut names = Vec::new();
        for entry in Dir::new(rustix::fs::open(folder, flags, Mode::empty())?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }
    #[cfg(not(unix))]
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// Opens a plain file for reading; anything else in its place is an error.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    let file = open_with(&mut options, path, false)?;
    expect_plain(&file)?;
    Ok(file)
}

/// Whether a path is an address elsewhere, such as `gs://bucket/folder`. Nothing here reads or writes there.
pub fn is_address(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let Some((scheme, _)) = text.split_once("://") else { return false };
    scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Reads a plain file of at most `limit` bytes whole.
pub fn read_plain(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let message = format!("it is longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(bytes)
}

/// Opens a file of ours to be written on, as `options` say. It must be a plain file that has no other name: through
/// another one, what is written here would change a file elsewhere.
pub fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = open_with(options, path, true)?;
    expect_plain(&file)?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 1 {
        return Err(io::Error::other(
            "it is a hard link, and what is written here would change a file elsewhere: put a copy in its place",
        ));
    }
    Ok(file)
}

/// Refuses a symbolic link where there is to be a file or folder of ours: what is written there would change others.
pub fn expect_no_link(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(io::Error::other(
            "it is a symbolic link, and nothing is written through links: remove it",
        ));
    }
    Ok(())
}

/// Opens without waiting for the other end of a pipe, and where `is_own`, without following a link.
fn open_with(options: &mut OpenOptions, path: &Path, is_own: bool) -> io::Result<File> {
    if is_own {
        expect_no_link(path)?;
    }
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let no_link = if is_own { OFlags::NOFOLLOW } else { OFlags::empty() };
        options.custom_flags((OFlags::NONBLOCK | no_link).bits().cast_signed());
    }
    options.open(path)
}

fn expect_plain(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { Ok(()) } else { Err(io::Error::other("it is not a plain file")) }
}
