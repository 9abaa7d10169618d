//! What a session made in the directory of a run, and takes back where its start fails.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CONFIG, FOLDERS, INFO, JOURNAL, LOG, PRODUCTS, REPORT, RunDirectory, has_begun, lock};
use crate::files;

/// What there was not before a session opened a run.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Whether the run is new: its folder was not there, or empty.
    is_new: bool,
    /// The folders on the way to it, from the run's own.
    folders: Vec<PathBuf>,
}

impl Made {
    /// To be made on the way to `path`.
    pub fn before(path: &Path) -> Self {
        let folders = files::missing_folders(path);
        let is_new = !folders.is_empty() || files::names(path).is_ok_and(|names| names.is_empty());
        Self { is_new, folders }
    }
}

impl RunDirectory {
    /// Takes back a new run whose start failed: the same command would make the same again. What was prepared stays, and with
    /// it the run; so does a run that came as far as its first step. Says whether it is gone.
    pub fn withdraw(&self) -> bool {
        let has_computed = self.info.sessions.iter().any(|session| session.machine.is_some());
        if !self.made.is_new || has_computed || has_begun(&self.path) {
            return false;
        }
        // Those in which something lies are not removed.
        for folder in FOLDERS.iter().rev() {
            let _ = fs::remove_dir(self.path.join(folder));
        }
        let Ok(names) = files::names(&self.path) else { return false };
        if !names.iter().all(|name| is_of_start(name)) {
            return false;
        }
        // The lock last: from then on the folder may be another process's.
        let others = names.iter().filter(|name| *name != lock::NAME);
        let removed = others.map(|name| fs::remove_file(self.path.join(name))).all(|removed| removed.is_ok())
            && fs::remove_file(self.path.join(lock::NAME)).is_ok();
        self.made.folders.iter().all(|folder| fs::remove_dir(folder).is_ok());
        removed
    }
}

/// Whether a file is one that a run has before its first step.
fn is_of_start(name: &OsStr) -> bool {
    [INFO, CONFIG, PRODUCTS, LOG, JOURNAL, lock::NAME, REPORT].iter().any(|&of_start| name == of_start)
        || files::is_beside(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::info::{Machine, Status};

    fn open(path: &Path) -> RunDirectory {
        let mut run = RunDirectory::open(path, &["albert-train".into()]).unwrap();
        run.write_config("").unwrap();
        run.journal().unwrap();
        run.checkpoints(1).unwrap();
        run.finish(Status::Failed, "no such file").unwrap();
        run
    }

    #[test]
    fn a_start_that_failed_leaves_what_was_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let (deep, empty) = (folder.path().join("runs/all/first"), folder.path().join("empty"));
        fs::create_dir(&empty).unwrap();
        assert!(open(&deep).withdraw() && open(&empty).withdraw());
        let left = files::names(folder.path()).unwrap();
        assert_eq!((left, files::names(&empty).unwrap()), (vec!["empty".into()], vec![]));
        fs::create_dir(folder.path().join("runs")).unwrap();
        fs::write(folder.path().join("runs/mine"), "").unwrap();
        assert!(open(&deep).withdraw());
        assert_eq!(files::names(&folder.path().join("runs")).unwrap(), ["mine"]);
    }

    #[test]
    fn what_took_work_stays_and_so_does_what_is_not_ours() {
        for (name, is_folder) in [("data/training/manifest.json", true), ("notes.txt", false)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run");
            let run = open(&path);
            fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            fs::write(path.join(name), "").unwrap();
            assert!(!run.withdraw(), "{name}");
            assert!(path.join(name).exists() && path.join("run.json").exists());
            drop(run);
            // A second session did not make it.
            let again = open(&path);
            fs::remove_file(path.join(name)).unwrap();
            let _ = is_folder && fs::remove_dir_all(path.join("data")).is_ok();
            assert!(!again.withdraw() && path.join("run.json").exists());
        }
        let folder = tempfile::tempdir().unwrap();
        let mut begun = open(folder.path());
        begun.note_machine(Machine::new("scalar".into(), 1)).unwrap();
        assert!(!begun.withdraw() && folder.path().join("run.json").exists());
    }
}
