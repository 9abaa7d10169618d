//! A model's folder in the cache while files are added to it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::hash::Hash;
use crate::files::{self, Disk, Lockable};
use crate::hub::DownloadError;
use crate::hub::cache::CachedModel;

/// How often a lock's folder may go while it is opened before that is an error.
const OPENINGS: usize = 100;

/// What makes an error of the file system one of a download.
pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DownloadError {
    let path = path.to_owned();
    move |source| DownloadError::Io { action, path, source }
}

/// A file of the cache is this process's to fetch for as long as this lives.
pub struct BlobLock {
    _file: Lockable,
    path: PathBuf,
}

impl Drop for BlobLock {
    fn drop(&mut self) {
        // While it is held, which it is until its fields are dropped: whoever waits for it finds that it is not the file of
        // this name any more, and asks again.
        let _ = fs::remove_file(&self.path);
        let folders = self.path.ancestors().skip(1).take(2);
        folders.for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

impl CachedModel {
    /// Where the file with a hash is.
    pub fn blob(&self, hash: &Hash) -> PathBuf {
        self.folder.join("blobs").join(hash.as_str())
    }

    /// Where it is until it is complete.
    pub fn incomplete(&self, hash: &Hash) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", hash.as_str()))
    }

    /// Waits until no other process fetches the file with a hash; says so by `waiting` if one does. The lock is the one that
    /// huggingface_hub takes.
    pub fn lock(&self, hash: &Hash, mut waiting: impl FnMut()) -> Result<BlobLock, DownloadError> {
        let name = self.folder.file_name().unwrap_or_default();
        let folder = self.folder.with_file_name(".locks").join(name);
        let path = folder.join(format!("{}.lock", hash.as_str()));
        let open = || {
            fs::create_dir_all(&folder)?;
            let mut options = File::options();
            files::open_own(options.read(true).write(true).create(true).truncate(false), &path)
        };
        // Its folder may go with another process's lock, time after time. `create_dir_all` says that a folder exists where it is
        // gone at the second look.
        let is_gone = |opened: &io::Result<File>| {
            let kind = opened.as_ref().err().map(io::Error::kind);
            matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists))
        };
        loop {
            let opened = (0..OPENINGS).map(|_| open()).find(|opened| !is_gone(opened));
            let file = Lockable::from(opened.unwrap_or_else(open).map_err(io_error("open", &path))?);
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    waiting();
                    file.lock().map_err(io_error("lock", &path))?;
                }
                // Where there are no locks, two downloads of one file cost time, and are found out by its hash.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
            }
            if files::is_at(&file, &path) {
                return Ok(BlobLock { _file: file, path });
            }
        }
    }

    /// Lets the complete file with a hash have its name.
    pub fn keep(&self, file: &File, hash: &Hash) -> Result<(), DownloadError> {
        let blob = self.blob(hash);
        file.sync_all()
            .and_then(|()| files::rename_for_good(&Disk, &self.incomplete(hash), &blob))
            .map_err(io_error("write", &blob))
    }

    /// Gives the file with a hash its name in the snapshot of a commit, by a link. Where the file system has none (FAT, some
    /// drives of a network), that is a copy, as huggingface_hub has one there; says whether it is.
    pub fn link(&self, commit: &str, name: &str, hash: &Hash) -> Result<bool, DownloadError> {
        self.link_by(&symlink, commit, name, hash)
    }

    fn link_by(
        &self,
        symlink: &dyn Fn(&Path, &Path) -> io::Result<()>,
        commit: &str,
        name: &str,
        hash: &Hash,
    ) -> Result<bool, DownloadError> {
        let snapshot = self.snapshot(commit);
        let path = snapshot.join(name);
        // Two downloads of a model may get here at once.
        let beside = files::beside(&files::own(&path));
        let link = || -> io::Result<bool> {
            fs::create_dir_all(&snapshot)?;
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let is_copy = symlink(&Path::new("../../blobs").join(hash.as_str()), &beside).is_err();
            if is_copy {
                let mut copy = File::create_new(&beside)?;
                io::copy(&mut File::open(self.blob(hash))?, &mut copy)?;
                copy.sync_all()?;
            }
            files::rename_for_good(&Disk, &beside, &path)?;
            Ok(is_copy)
        };
        link().map_err(io_error("write", &path))
    }

    /// Notes which commit a branch or tag is. Nothing is written where that is said already: the cache may be another's, to be read
    /// alone.
    pub fn refer(&self, revision: &str, commit: &str) -> Result<(), DownloadError> {
        let path = self.reference(revision);
        let is_said = fs::read_to_string(&path).is_ok_and(|there| there.trim() == commit);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            files::replace_shared(&Disk, &path, commit.as_bytes())
        };
        if revision == commit || is_said { Ok(()) } else { write().map_err(io_error("write", &path)) }
    }

    /// Removes the folders in which nothing came to lie.
    pub fn remove_empty(&self) {
        for name in ["blobs", "snapshots", "refs", ""] {
            let _ = fs::remove_dir(self.folder.join(name)); // refuses to take what has anything in it
        }
    }
}

/// Makes a link at a place, to another as it is seen from there.
#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn symlink(_to: &Path, _at: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn where_there_are_no_links_a_snapshot_has_copies() {
        let cache = tempfile::tempdir().unwrap();
        let model = CachedModel { folder: cache.path().join("models--me--mine") };
        let hash = Hash::of_etag(&"0".repeat(40)).unwrap();
        fs::create_dir_all(model.folder.join("blobs")).unwrap();
        fs::write(model.blob(&hash), "weights").unwrap();
        let refused = |_: &Path, _: &Path| -> io::Result<()> { Err(io::ErrorKind::PermissionDenied.into()) };
        // The second time it is there already.
        for _ in 0..2 {
            assert!(model.link_by(&refused, "0a1b", "config.json", &hash).unwrap());
        }
        let path = model.snapshot("0a1b").join("config.json");
        assert!(!path.is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "weights");
        assert_eq!(files::names(&model.snapshot("0a1b")).unwrap().len(), 1);
        assert!(!model.link("0a1b", "config.json", &hash).unwrap());
        assert!(path.is_symlink() && fs::read_to_string(&path).unwrap() == "weights");
    }

    /// However often the lock's folders come and go.
    #[test]
    fn a_lock_is_had_by_all_in_turn() {
        let cache = tempfile::tempdir().unwrap();
        let model = CachedModel { folder: cache.path().join("models--me--mine") };
        let hash = Hash::of_etag(&"0".repeat(40)).unwrap();
        let is_held = AtomicBool::new(false);
        let work = || {
            for _ in 0..200 {
                let lock = model.lock(&hash, || {}).unwrap();
                assert!(!is_held.swap(true, Ordering::SeqCst), "held by two");
                is_held.store(false, Ordering::SeqCst);
                drop(lock);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
        assert!(files::names(cache.path()).unwrap().is_empty(), "nothing of it stays");
    }
}
