//! Writing files so that a reader sees all of one or none of it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::error::DataError;

/// The ending of files still being written; such a file is never read, and replaced when its turn comes.
pub(crate) const UNFINISHED: &str = "unfinished";

/// Writes beside `path`, syncs, renames over it, and syncs the folder.
///
/// # Errors
/// If any of it fails; `path` then is as it was before.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<(), DataError> {
    let unfinished = path.with_extension(UNFINISHED);
    let mut file = File::create(&unfinished).map_err(DataError::io("create", &unfinished))?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // A full disk must not stay full of our remains; if this fails too, the first error is the one to tell.
        let _ = fs::remove_file(&unfinished);
        return Err(DataError::io("write", &unfinished)(error));
    }
    fs::rename(&unfinished, path).map_err(DataError::io("rename into place", path))?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => sync_folder(folder),
        None => sync_folder(Path::new(".")),
    }
}

/// Makes the names in a folder durable. Only Unix lets a program do that.
fn sync_folder(folder: &Path) -> Result<(), DataError> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(DataError::io("sync", folder))?;
    }
    Ok(())
}
