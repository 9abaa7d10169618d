//! Checkpoints that survive crashes, full disks and bit rot.
//!
//! A checkpoint is a folder `checkpoints/step-00012000/` of `model.safetensors`, `optimizer.safetensors`, `state.json` and
//! a [`manifest`] with a hash of each. It comes into being in one indivisible act:
//!
//! 1. the files are written into `checkpoints/.staging/` and synced one by one, then the manifest, then the folder;
//! 2. everything is read back and checked against the manifest;
//! 3. the folder is renamed to its final name and `checkpoints/` is synced: from here on the checkpoint exists;
//! 4. the pointers `latest` and `best` are replaced, and only then older checkpoints are pruned.
//!
//! Which checkpoint is the best is part of each one's manifest, as the trainer knew it when it was written: the pointer
//! `best` is for people, and is put right at each save and resume. Pruning keeps the newest few, and the best of each
//! of them: whichever the run goes back to, its best is there. (The oldest of them has the oldest best, and younger bests
//! are among the newest: this is one checkpoint more at most.)
//!
//! Loading takes the newest checkpoint that verifies; others move to `quarantine/` with the reason beside them.
//! Nothing is deleted but verified checkpoints that are old enough, and files that no manifest of ours lists never are.
//!
//! ```
//! use train::run::checkpoint::{Checkpoints, NamedTensor, Snapshot};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let run = folder.path();
//! let mut checkpoints = Checkpoints::open(run, 2)?;
//! let weights = [NamedTensor { name: "w", shape: &[2], values: &[0.5, -1.0] }];
//! checkpoints.save(&Snapshot { step: 7, best: None, state: &"any serde value", model: &weights, optimizer: &[] })?;
//!
//! let newest = checkpoints.load_newest::<String>()?.checkpoint.expect("one was saved");
//! let mut w = [0.0; 2];
//! newest.model.copy_into("w", &[2], &mut w)?;
//! assert_eq!((newest.step, w), (7, [0.5, -1.0]));
//! # Ok(())
//! # }
//! ```

mod load;
pub mod manifest;
mod prune;
mod save;
mod tensors;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use load::{Checkpoint, Newest, Quarantined};
use manifest::Fault;
pub use save::{Saved, Snapshot};
pub use tensors::{NamedTensor, TensorError, Tensors, write_tensors};

use crate::exit::{Classify, ExitCode};
use crate::files::{self, Disk, Files};
use crate::visible::shown;

/// Never fewer verified checkpoints than this are left after pruning.
pub const MIN_KEEP: usize = 2;

/// Where the checkpoints of a run are.
pub(super) const FOLDER: &str = "checkpoints";
/// Where those are that were put aside.
pub(super) const QUARANTINE: &str = "quarantine";
/// The pointers.
const LATEST: &str = "latest";
const BEST: &str = "best";

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Why a checkpoint could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk did not take the checkpoint, also after older ones were pruned. Training can go on from memory.
    #[error(
        "the checkpoint of step {step} was not saved in {}: {source}{}",
        shown(.directory), last_good_note(*.last_good)
    )]
    NotSaved {
        /// The step that was to be saved.
        step: u64,
        /// The folder of the checkpoints.
        directory: PathBuf,
        /// The newest checkpoint that is safe on the disk.
        last_good: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// The checkpoint that was asked for by its step is not there.
    #[error("there is no checkpoint of step {step} in {} (there are: {})", shown(.directory), list(.available))]
    Missing {
        /// The step asked for.
        step: u64,
        /// The folder of the checkpoints.
        directory: PathBuf,
        /// The steps that have one.
        available: Vec<u64>,
    },
    /// The checkpoint that was asked for by its step is damaged.
    #[error("the checkpoint {} cannot be used: {fault}", shown(.path))]
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The model itself is not worth saving.
    #[error(
        "the checkpoint of step {step} was not saved, for the numbers in it are no numbers any more: {source}{}\n  \
         help: {}begin a run with a lower --learning-rate or a longer warm-up (--warmup-steps)",
        last_good_note(*.last_good), way_back(*.last_good)
    )]
    NotFinite {
        /// The step that was to be saved.
        step: u64,
        /// The newest checkpoint that is safe on the disk.
        last_good: Option<u64>,
        /// Which tensor, and what is in it.
        source: io::Error,
    },
    /// There were checkpoints, and not one of them can be used.
    #[error(
        "no usable checkpoint is left in {}: {}\n  help: what was found is kept in {} with the reasons; \
         start again in another run folder, or take that folder away to start this run from step 0",
        shown(.directory), reasons(.quarantined), shown(.quarantine)
    )]
    NoneUsable {
        /// The folder of the checkpoints.
        directory: PathBuf,
        /// Where the damaged ones are now.
        quarantine: PathBuf,
        /// Those found damaged just now.
        quarantined: Vec<Quarantined>,
    },
    /// The files are whole, but `state.json` was written by another version of the program.
    #[error("{} is whole but was written by another version of this program: {source}", shown(.path))]
    State {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The file system refused something else.
    #[error("{action} {}: {source}", shown(.path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Classify for CheckpointError {
    fn exit_code(&self) -> ExitCode {
        match self {
            CheckpointError::NotSaved { source, .. } | CheckpointError::Io { source, .. } => {
                source.exit_code()
            }
            CheckpointError::NotFinite { .. } => ExitCode::Diverged,
            CheckpointError::Missing { .. }
            | CheckpointError::Damaged { .. }
            | CheckpointError::NoneUsable { .. }
            | CheckpointError::State { .. } => ExitCode::Checkpoint,
        }
    }
}

/// The checkpoints of one run. The run's lock must be held for as long as this exists.
pub struct Checkpoints {
    run: PathBuf,
    keep: usize,
    files: Arc<dyn Files>,
    /// Steps whose files were checked by this process.
    verified: BTreeSet<u64>,
    /// The checkpoint that the training state calls its best.
    best: Option<u64>,
}

impl Checkpoints {
    /// Opens the checkpoints in the folder `run`, keeping the newest `keep` (at least [`MIN_KEEP`]) and the best.
    ///
    /// What an interrupted save left behind is put in order: a staged checkpoint that is complete is adopted, anything
    /// else in `.staging` is removed.
    pub fn open(run: &Path, keep: usize) -> Result<Self, CheckpointError> {
        Self::open_with(Arc::new(Disk), run, keep)
    }

    /// As [`Checkpoints::open`], through another implementation of [`Files`].
    pub fn open_with(files: Arc<dyn Files>, run: &Path, keep: usize) -> Result<Self, CheckpointError> {
        let mut checkpoints = Checkpoints {
            run: run.into(),
            keep: keep.max(MIN_KEEP),
            files,
            verified: BTreeSet::new(),
            best: None,
        };
        let directory = checkpoints.directory();
        checkpoints.create_dir(&directory)?;
        checkpoints.adopt_or_clear_staging().map_err(io_error("cannot tidy", &directory))?;
        for folder in [checkpoints.run.clone(), checkpoints.quarantine_directory()] {
            files::sweep(&*checkpoints.files, &folder).map_err(io_error("cannot tidy", &folder))?;
        }
        Ok(checkpoints)
    }

    /// The folder that holds them.
    pub fn directory(&self) -> PathBuf {
        self.run.join(FOLDER)
    }

    /// The folder of one checkpoint.
    pub fn path(&self, step: u64) -> PathBuf {
        self.directory().join(folder_name(step))
    }

    /// The steps that have a checkpoint, verified or not, oldest first.
    pub fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let directory = self.directory();
        let read = || -> io::Result<Vec<u64>> {
            let names = files::names(&directory)?;
            let steps = names.iter().filter_map(|name| parse_folder_name(name.to_str()?));
            // What is surely something else than a folder is not ours. If the system does not tell, it may well be.
            let mut steps: Vec<u64> = steps
                .filter(|&step| fs::metadata(self.path(step)).map_or(true, |metadata| metadata.is_dir()))
                .collect();
            steps.sort_unstable();
            Ok(steps)
        };
        read().map_err(io_error("cannot list", &directory))
    }

    /// Whether there is a checkpoint of this step, verified or not.
    pub fn contains(&self, step: u64) -> Result<bool, CheckpointError> {
        let path = self.path(step);
        files::exists(&path).map_err(io_error("cannot look at", &path))
    }

    /// Bytes that the checkpoints may still take, each being of `size` bytes: there will be the newest ones to keep, the best,
    /// and one that is being written.
    pub fn growth(&self, size: u64) -> Result<u64, CheckpointError> {
        let most = self.keep as u64 + 2;
        Ok(most.saturating_sub(self.steps()?.len() as u64).saturating_mul(size))
    }

    /// The checkpoint that pruning spares and `best` points at.
    pub fn best(&self) -> Option<u64> {
        self.best
    }

    /// Puts in order what a save does after its checkpoint exists, and what a resumed run may find undone: `latest` points
    /// at the checkpoint of step `latest`, `best` at the one that the training state calls its best, and then those that are
    /// old enough are pruned. Returns their steps. The pointers only help people, and pruning only saves space: that they fail
    /// (a pointer twice) is worth no more than a warning.
    pub fn settle(&mut self, latest: u64, best: Option<u64>) -> Vec<u64> {
        self.best = best;
        for (pointer, step) in [(LATEST, Some(latest)), (BEST, best)] {
            if let Err(error) = self.point(pointer, step).or_else(|_| self.point(pointer, step)) {
                tracing::warn!(%error, "the pointer `{pointer}` cannot be written");
            }
        }
        self.prune(self.keep)
    }

    fn point(&self, pointer: &str, step: Option<u64>) -> io::Result<()> {
        let path = self.run.join(pointer);
        let found = files::read_plain(&path, 256).ok();
        match step.map(|step| format!("{}\n", folder_name(step))) {
            Some(content) if found.as_deref() == Some(content.as_bytes()) => Ok(()),
            Some(content) => files::replace(&*self.files, &path, content.as_bytes()),
            None if found.is_some() => self.files.remove_file(&path),
            None => Ok(()),
        }
    }

    fn staging(&self) -> PathBuf {
        self.directory().join(".staging")
    }

    fn missing(&self, step: u64) -> Result<CheckpointError, CheckpointError> {
        Ok(CheckpointError::Missing { step, directory: self.directory(), available: self.steps()? })
    }

    /// Creates a folder of the run if it is not there, durably.
    fn create_dir(&self, path: &Path) -> Result<(), CheckpointError> {
        match self.files.create_dir(path) {
            Ok(()) => self.files.sync_dir(&self.run).map_err(io_error("cannot sync", &self.run)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(io_error("cannot create", path)(source)),
        }
    }
}

/// Whether the folder `run` has a checkpoint of ours.
pub fn exists_in(run: &Path) -> bool {
    newest_in(run).is_some()
}

/// The step of the newest checkpoint of ours in the folder `run`, which nobody has verified.
pub fn newest_in(run: &Path) -> Option<u64> {
    let folder = run.join(FOLDER);
    let names = files::names(&folder).ok()?.into_iter();
    let ours = names.filter(|name| folder.join(name).join(manifest::MANIFEST).exists());
    ours.filter_map(|name| parse_folder_name(name.to_str()?)).max()
}

fn folder_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step of a folder that [`folder_name`] named; nothing else counts.
fn parse_folder_name(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (folder_name(step) == name).then_some(step)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io { action, path, source }
}

/// How a run goes on from its newest checkpoint, where there is one.
pub(crate) fn way_back(newest: Option<u64>) -> String {
    newest.map_or_else(String::new, |step| {
        format!("go on from step {step} with a lower --learning-rate and --allow-schedule-change, or ")
    })
}

fn last_good_note(step: Option<u64>) -> String {
    match step {
        Some(step) => format!("\n  note: the checkpoint of step {step} is safe"),
        None => "\n  note: no earlier checkpoint exists".into(),
    }
}

fn list(steps: &[u64]) -> String {
    match steps {
        [] => "none".into(),
        _ => steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn reasons(quarantined: &[Quarantined]) -> String {
    match quarantined {
        [] => "those that were there have been put aside earlier".into(),
        _ => quarantined
            .iter()
            .map(|q| format!("step {}: {}", q.step, q.reason))
            .collect::<Vec<_>>()
            .join("; "),
    }
}
