//! Who may write in a folder of prepared data: one process at a time, and only where nothing is somebody else's.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::manifest::{MANIFEST, Manifest};
use super::prepare::{PREPARING, shard_name};
use crate::data::error::DataError;
use crate::data::text::{remove_copies, repeatable};
use crate::files::{beside, missing_folders, names, no_folder};
use crate::run::lock::{self, Lock, LockError};
use crate::visible::visible;

/// Where in the folder text from pipes is as long as it is read.
pub(super) const COPIES: &str = ".text-from-pipes";

/// Whether a folder holds prepared data, complete or not. Other programs have files of these names too.
pub fn is_prepared(folder: &Path) -> bool {
    // In this order: the first goes when the second is there.
    [PREPARING, MANIFEST].iter().any(|name| {
        folder.join(name).is_file() && (Manifest::is_in(folder, name) || folder.join(shard_name(0)).is_file())
    })
}

/// A folder to prepare data in that is this process's for as long as this lives. When it goes, it takes with it the folder that
/// it made, if that is empty.
#[derive(Debug)]
pub struct Claim {
    folder: PathBuf,
    /// The folders that were not there, from itself up.
    made: Vec<PathBuf>,
    /// Until it is given up.
    lock: Mutex<Option<Lock>>,
}

impl Claim {
    /// Claims a folder: a new one, an empty one, or one of prepared data.
    ///
    /// # Errors
    /// If it is no folder, holds something else, is another process's, or cannot be made or locked.
    pub fn of(folder: &Path) -> Result<Self, DataError> {
        if let Some(path) = no_folder(folder) {
            return Err(DataError::NoFolder { path });
        }
        let mut claim = Self { folder: folder.into(), made: missing_folders(folder), lock: Mutex::default() };
        fs::create_dir_all(folder).map_err(DataError::io("create", folder))?;
        // Looked at before it is asked what they are: whoever has the folder may make a first file in between.
        let found = names(folder).map_err(DataError::io("list", folder))?;
        let foreign = |found: &OsStr| {
            let found = visible(&found.to_string_lossy());
            DataError::ForeignFolder { path: folder.into(), found }
        };
        if let Some(found) = found.iter().find(|name| !is_of_beginning(name))
            && !is_prepared(folder)
        {
            return Err(foreign(found));
        }
        let lock = Lock::acquire(folder).map_err(|error| match error {
            LockError::Held { .. } => DataError::Busy { path: folder.into() },
            LockError::Foreign { .. } => foreign(lock::NAME.as_ref()),
            error => DataError::Lock(error),
        })?;
        claim.lock = Mutex::new(Some(lock));
        Ok(claim)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `sources` with copies in place of those that can be read only once. They lie in the folder, and go with the claim.
    ///
    /// # Errors
    /// If one cannot be read or copied.
    pub fn repeatable(&self, sources: &[PathBuf]) -> Result<Vec<PathBuf>, DataError> {
        let copies = self.folder.join(COPIES);
        remove_copies(&copies)?; // of a start that was killed
        repeatable(sources, &copies)
    }

    /// Whether the folder was not there before.
    pub(super) fn is_new(&self) -> bool {
        !self.made.is_empty()
    }

    /// Ends it, though a thread that nobody waits for may still be at work.
    pub fn give_up(&self) {
        if let Some(lock) = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = remove_copies(&self.folder.join(COPIES));
            // While it is held: whoever gets it asks whether it is still there.
            let _ = fs::remove_file(self.folder.join(lock::NAME));
            drop(lock);
        }
        self.made.iter().all(|folder| fs::remove_dir(folder).is_ok()); // those that are empty
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Whether a name is one that an interruption at the very beginning can leave.
fn is_of_beginning(name: &OsStr) -> bool {
    name == lock::NAME || name == COPIES || name == beside(PREPARING.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many begin at once: one has it, and all others are told so.
    #[test]
    fn a_folder_is_one_processs() {
        let scene = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let folder = scene.path().join(format!("{round}/shards"));
            let start = std::sync::Barrier::new(4);
            let claim = || {
                start.wait();
                let claim = Claim::of(&folder);
                start.wait();
                claim.map(drop).map_err(|error| error.to_string())
            };
            let claims: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1, "{claims:?}");
            let busy = |claim: &&Result<(), String>| {
                claim.as_ref().is_err_and(|error| error.contains("another process is preparing data in"))
            };
            assert_eq!(claims.iter().filter(busy).count(), 3, "{claims:?}");
        }
    }

    /// NFS locks only what is open for writing.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_lock_is_open_for_writing() {
        let scene = tempfile::tempdir().unwrap();
        let claim = Claim::of(&scene.path().join("shards")).unwrap();
        let lock = fs::canonicalize(claim.folder().join(lock::NAME)).unwrap();
        let is_lock = |name: &&std::ffi::OsString| {
            fs::read_link(Path::new("/proc/self/fd").join(name)).is_ok_and(|path| path == lock)
        };
        let open = names(Path::new("/proc/self/fd")).unwrap();
        let open: Vec<_> = open.iter().filter(is_lock).collect();
        assert_eq!(open.len(), 1);
        let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(open[0])).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let mode = i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_ACCMODE;
        assert_eq!(mode, libc::O_RDWR);
    }

    #[test]
    fn what_is_not_kept_leaves_nothing() {
        let scene = tempfile::tempdir().unwrap();
        let folder = scene.path().join("new/shards");
        let copy = folder.join(COPIES).join("standard input");
        let claim = Claim::of(&folder).unwrap();
        assert!(claim.is_new() && folder.join(lock::NAME).exists());
        fs::create_dir(copy.parent().unwrap()).unwrap();
        fs::write(&copy, "of a start that was killed").unwrap();
        claim.repeatable(&[]).unwrap();
        assert!(!copy.exists());
        fs::create_dir(copy.parent().unwrap()).unwrap();
        fs::write(&copy, "of this one").unwrap();
        drop(claim);
        assert!(!scene.path().join("new").exists());
        fs::create_dir(scene.path().join("mine")).unwrap();
        drop(Claim::of(&scene.path().join("mine")).unwrap());
        assert_eq!(names(&scene.path().join("mine")).unwrap().len(), 0);
        fs::write(scene.path().join("file"), "").unwrap();
        let error = Claim::of(&scene.path().join("file")).unwrap_err().to_string();
        assert!(error.contains("file is a file, not a folder"), "{error}");
        let error = Claim::of(&scene.path().join("file/shards")).unwrap_err().to_string();
        assert!(error.contains("file is a file, not a folder"), "{error}");
    }

    /// A manifest of another program is one of its files, and no prepared data.
    #[test]
    fn files_of_other_programs_make_no_prepared_folder() {
        let scene = tempfile::tempdir().unwrap();
        for name in [MANIFEST, PREPARING] {
            let folder = scene.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(name), r#"{"manifest": {"version": "of something"}, "name": "an app"}"#)
                .unwrap();
            assert!(!is_prepared(&folder));
            assert!(matches!(Claim::of(&folder), Err(DataError::ForeignFolder { .. })));
            fs::write(folder.join("00000.shard"), "damaged").unwrap();
            assert!(is_prepared(&folder), "a damaged one of ours");
        }
    }
}
