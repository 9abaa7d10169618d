//! Checkpoints that survive crashes, full disks and bit rot.
//!
//! A checkpoint is a folder `checkpoints/step-00012000/` of `model.safetensors`, `optimizer.safetensors`, `state.json` and
//! a [`manifest`] with a hash of each. It comes into being in one indivisible act:
//!
//! 1. the files are written into `checkpoints/.staging/` and synced one by one, then the manifest, then the folder;
//! 2. everything is read back and checked against the manifest;
//! 3. the folder is renamed to its final name and `checkpoints/` is synced: from here on the checkpoint exists;
//! 4. the pointer `latest` is replaced, and only then older checkpoints are pruned.
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
//! checkpoints.save(&Snapshot { step: 7, state: &"any serde value", model: &weights, optimizer: &[] })?;
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

/// Never fewer verified checkpoints than this are left after pruning.
pub const MIN_KEEP: usize = 2;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Why a checkpoint could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk did not take the checkpoint, also after older ones were pruned. Training can go on from memory.
    #[error(
        "the checkpoint of step {step} was not saved in {}: {source}{}",
        .directory.display(), last_good_note(*.last_good)
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
    #[error("there is no checkpoint of step {step} in {} (there are: {})", .directory.display(), list(.available))]
    Missing {
        /// The step asked for.
        step: u64,
        /// The folder of the checkpoints.
        directory: PathBuf,
        /// The steps that have one.
        available: Vec<u64>,
    },
    /// The checkpoint that was asked for by its step is damaged.
    #[error("the checkpoint {} cannot be used: {fault}", .path.display())]
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// There were checkpoints, and not one of them can be used.
    #[error(
        "no usable checkpoint is left in {}: {}\n  help: what was found is kept in {} with the reasons; \
         start again in another run folder, or take that folder away to start this run from step 0",
        .directory.display(), reasons(.quarantined), .quarantine.display()
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
    #[error("{} is whole but was written by another version of this program: {source}", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The file system refused something else.
    #[error("{action} {}: {source}", .path.display())]
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
            CheckpointError::NotSaved { .. } | CheckpointError::Io { .. } => ExitCode::Io,
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
        let mut checkpoints =
            Checkpoints { run: run.into(), keep: keep.max(MIN_KEEP), files, verified: BTreeSet::new() };
        let directory = checkpoints.directory();
        checkpoints.create_dir(&directory)?;
        checkpoints.adopt_or_clear_staging().map_err(io_error("cannot tidy", &directory))?;
        Ok(checkpoints)
    }

    /// The folder that holds them.
    pub fn directory(&self) -> PathBuf {
        self.run.join("checkpoints")
    }

    /// The folder of one checkpoint.
    pub fn path(&self, step: u64) -> PathBuf {
        self.directory().join(folder_name(step))
    }

    /// The steps that have a checkpoint, verified or not, oldest first.
    pub fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let directory = self.directory();
        let read = || -> io::Result<Vec<u64>> {
            let mut steps = Vec::new();
            for entry in fs::read_dir(&directory)? {
                steps.extend(entry?.file_name().to_str().and_then(parse_folder_name));
            }
            steps.sort_unstable();
            Ok(steps)
        };
        read().map_err(io_error("cannot list", &directory))
    }

    /// Bytes that the checkpoints may still take, each being of `size` bytes: there will be the newest ones to keep, the best,
    /// and one that is being written.
    pub fn growth(&self, size: u64) -> Result<u64, CheckpointError> {
        let most = self.keep as u64 + 2;
        Ok(most.saturating_sub(self.steps()?.len() as u64).saturating_mul(size))
    }

    /// The step that the pointer `best` names, if that checkpoint is there.
    pub fn best(&self) -> Option<u64> {
        let pointer = fs::read_to_string(self.run.join("best")).ok()?;
        parse_folder_name(pointer.trim()).filter(|&step| self.path(step).is_dir())
    }

    /// Points `best` at the checkpoint of `step`, which is then never pruned.
    pub fn mark_best(&self, step: u64) -> Result<(), CheckpointError> {
        if !self.path(step).is_dir() {
            return Err(self.missing(step)?);
        }
        self.point("best", step)
    }

    fn point(&self, pointer: &str, step: u64) -> Result<(), CheckpointError> {
        let path = self.run.join(pointer);
        files::replace(&*self.files, &path, format!("{}\n", folder_name(step)).as_bytes())
            .map_err(io_error("cannot write", &path))
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
    fs::read_dir(run.join("checkpoints")).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            entry.file_name().to_str().is_some_and(|name| parse_folder_name(name).is_some())
                && entry.path().join(manifest::MANIFEST).exists()
        })
    })
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
