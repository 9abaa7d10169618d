//! Files that are written whole or not at all, and the few operations that change a run directory, behind one trait.
//!
//! Everything that must survive a crash is written through [`Files`], so that a test can make any single operation
//! fail, or be the last one before the power goes, and then look at what is left. Reading needs no such seam: what a
//! crash leaves behind lies on the disk.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Operations that change files. [`Disk`] is the one used outside tests.
pub trait Files: Send + Sync {
    /// Creates one directory; an existing one is an error of kind `AlreadyExists`.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates or truncates a file for writing.
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
        File::create(path)
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
    /// Creates or truncates the file.
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
    let beside = beside(path);
    let write = || -> io::Result<()> {
        let mut writer = Writer::create(files, &beside)?;
        writer.write_all(content)?;
        writer.sync()?;
        files.rename(&beside, path)
    };
    if let Err(error) = write() {
        // A full disk must not stay full of our remains; if this fails too, the first error is the one to tell.
        let _ = files.remove_file(&beside);
        return Err(error);
    }
    files.sync_dir(match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    })
}

/// Where the new content of `path` is written before it takes its place. What a crash leaves there is never read, and
/// replaced when its turn comes.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// Removes a directory of ours and the plain files in it; one that does not exist is fine.
pub fn remove_flat_dir(files: &dyn Files, path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        files.remove_file(&entry?.path())?;
    }
    files.remove_dir(path)
}
