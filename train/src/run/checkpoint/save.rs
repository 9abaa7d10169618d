//! Writing a checkpoint: staged, synced, checked, published.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::manifest::{Fault, MANIFEST, Manifest};
use super::tensors::{NamedTensor, write_tensors};
use super::{CheckpointError, Checkpoints, MIN_KEEP, MODEL, OPTIMIZER, STATE, io_error};
use crate::files;

/// What a checkpoint holds, borrowed from the trainer.
#[derive(Debug)]
pub struct Snapshot<'a, S> {
    /// Optimizer steps done.
    pub step: u64,
    /// The step of the best checkpoint, this one or an earlier one that is there; it is not pruned.
    pub best: Option<u64>,
    /// Everything else that a resumed run needs, as JSON.
    pub state: &'a S,
    /// The weights, under the names of the model directory.
    pub model: &'a [NamedTensor<'a>],
    /// The optimizer's moments.
    pub optimizer: &'a [NamedTensor<'a>],
}

/// What a save did.
#[derive(Debug, PartialEq, Eq)]
pub struct Saved {
    /// Size of the checkpoint in bytes.
    pub bytes: u64,
    /// Steps whose checkpoints were pruned.
    pub pruned: Vec<u64>,
}

impl Checkpoints {
    /// Saves a checkpoint and prunes older ones. When this returns `Ok`, the checkpoint is durable and was read back.
    ///
    /// What the system refuses is tried once more, where the disk is full (or over quota, or reports an I/O error) after older
    /// checkpoints were pruned to the last [`MIN_KEEP`].
    ///
    /// # Errors
    /// [`CheckpointError::NotSaved`]: the caller can train on and save again later; what was saved before is intact.
    /// [`CheckpointError::NotFinite`] if a tensor holds a NaN or an infinity.
    pub fn save<S: Serialize>(&mut self, snapshot: &Snapshot<'_, S>) -> Result<Saved, CheckpointError> {
        let mut pruned = Vec::new();
        let bytes = match self.write(snapshot) {
            // A NaN stays one; what the system refused may pass, or need room.
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                tracing::warn!(step = snapshot.step, %error, "checkpoint not saved at the first attempt");
                if is_lack_of_room(&error) {
                    pruned = self.prune(MIN_KEEP);
                }
                self.write(snapshot)
            }
            result => result,
        }
        .map_err(|source| {
            let (step, directory) = (snapshot.step, self.directory());
            let last_good = self.newest_verified().filter(|&good| good != step);
            match source.kind() {
                io::ErrorKind::InvalidData => CheckpointError::NotFinite { step, last_good, source },
                _ => CheckpointError::NotSaved { step, directory, last_good, source },
            }
        })?;
        pruned.extend(self.settle(snapshot.step, snapshot.best));
        Ok(Saved { bytes, pruned })
    }

    /// Steps 1 to 3 of the protocol.
    fn write<S: Serialize>(&mut self, snapshot: &Snapshot<'_, S>) -> io::Result<u64> {
        self.adopt_or_clear_staging()?;
        match self.stage(snapshot) {
            Ok(manifest) => self.publish(&manifest),
            Err(error) => {
                // Gives the room back. Should this fail too, the next save or start begins by clearing it.
                let _ = self.remove_own_dir(&self.staging());
                Err(error)
            }
        }
    }

    fn stage<S: Serialize>(&self, snapshot: &Snapshot<'_, S>) -> io::Result<Manifest> {
        let (files, staging) = (&*self.files, self.staging());
        files.create_dir(&staging)?;
        let mut manifest = Manifest::new(snapshot.step, snapshot.best);
        manifest.write_file(files, &staging, MODEL, |sink| write_tensors(snapshot.model, sink))?;
        manifest.write_file(files, &staging, OPTIMIZER, |sink| write_tensors(snapshot.optimizer, sink))?;
        let state = serde_json::to_vec_pretty(snapshot.state)?;
        manifest.write_file(files, &staging, STATE, |sink| sink.write_all(&state))?;
        manifest.write(files, &staging)?;
        files.sync_dir(&staging)?;
        manifest.verify(&staging).map_err(io::Error::other)?;
        Ok(manifest)
    }

    /// Renames the staged checkpoint to its final name. A checkpoint of the same step that is already there stays if it
    /// is the same, makes room if only the state differs (an evaluation was made meanwhile), and is put aside if not: a
    /// rename onto it would fail.
    fn publish(&mut self, manifest: &Manifest) -> io::Result<u64> {
        let (step, staging, path) = (manifest.step, self.staging(), self.path(manifest.step));
        if files::exists(&path)? {
            self.verified.remove(&step); // look again: it may have been damaged since
            let existing = match self.verify(step) {
                Ok(existing) => Some(existing),
                Err(Fault::Unreadable { source, .. }) if !is_damage(&source) => return Err(source),
                Err(_) => None,
            };
            if existing.as_ref().is_some_and(|existing| existing.files == manifest.files) {
                self.remove_own_dir(&staging)?;
                self.files.sync_dir(&self.directory())?;
                return Ok(manifest.bytes());
            }
            let tensors = |manifest: &Manifest| -> Vec<_> {
                manifest.files.iter().filter(|entry| entry.name != STATE).cloned().collect()
            };
            let is_same_model = |existing: &Manifest| {
                tensors(existing) == tensors(manifest) && !self.holds_foreign_files(step, existing)
            };
            if existing.as_ref().is_some_and(is_same_model) {
                // Should this be cut off before the rename below, the next start finds the place free and goes on here.
                // Until then the staged one must not be lost while this move is kept.
                self.remove_own_dir(&self.discarded())?;
                self.files.sync_dir(&self.directory())?;
                self.files.rename(&path, &self.discarded())?;
                self.verified.remove(&step);
            } else {
                self.quarantine(step, "another checkpoint of this step was saved")
                    .map_err(io::Error::other)?;
            }
        }
        self.files.rename(&staging, &path)?;
        self.files.sync_dir(&self.directory())?;
        self.verified.insert(step);
        let _ = self.remove_own_dir(&self.discarded()); // what is left of it the next start removes
        Ok(manifest.bytes())
    }

    /// Checks a checkpoint's files against its manifest.
    pub(super) fn verify(&mut self, step: u64) -> Result<Manifest, Fault> {
        let path = self.path(step);
        let manifest = Manifest::read(&path)?;
        if manifest.step != step {
            return Err(Fault::OtherStep(manifest.step));
        }
        if !self.verified.contains(&step) {
            manifest.verify(&path)?;
            self.verified.insert(step);
        }
        Ok(manifest)
    }

    /// Puts in order what an interrupted or failed save left: a complete staged checkpoint whose place is free was cut
    /// off just before its rename (perhaps after another one of the same step was put aside for it), so it is published.
    pub(super) fn adopt_or_clear_staging(&mut self) -> io::Result<()> {
        let staging = self.staging();
        if let Ok(manifest) = Manifest::read(&staging)
            && !files::exists(&self.path(manifest.step))?
            && manifest.verify(&staging).is_ok()
        {
            self.publish(&manifest)?;
        }
        self.remove_own_dir(&staging)?;
        self.remove_own_dir(&self.discarded())
    }

    /// Removes a folder of the files that a checkpoint consists of.
    pub(super) fn remove_own_dir(&self, path: &Path) -> io::Result<()> {
        const OURS: [&str; 4] = [MODEL, OPTIMIZER, STATE, MANIFEST];
        files::remove_flat_dir(&*self.files, path, |name| OURS.iter().any(|&ours| name == ours))
    }

    fn newest_verified(&mut self) -> Option<u64> {
        self.steps().ok()?.into_iter().rev().find(|&step| self.verify(step).is_ok())
    }

    /// Moves a checkpoint to `quarantine/`, with the reason in a file beside it.
    pub(super) fn quarantine(&mut self, step: u64, reason: &str) -> Result<PathBuf, CheckpointError> {
        let quarantine = self.quarantine_directory();
        self.create_dir(&quarantine)?;
        // What is about to replace this checkpoint must not be lost while this move is kept.
        let directory = self.directory();
        self.files.sync_dir(&directory).map_err(io_error("cannot sync", &directory))?;
        let from = self.path(step);
        let (to, note) = free_names(&quarantine.join(super::folder_name(step)))
            .map_err(io_error("cannot look into", &quarantine))?;
        files::replace(&*self.files, &note, format!("{reason}\n").as_bytes())
            .and_then(|()| self.files.rename(&from, &to))
            .and_then(|()| self.files.sync_dir(&quarantine))
            .and_then(|()| self.files.sync_dir(&directory))
            .map_err(io_error("cannot move to quarantine:", &from))?;
        self.verified.remove(&step);
        Ok(to)
    }
}

/// `path`, or `path.2`, `path.3`, … if that is taken, and the name of the note beside it.
fn free_names(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let mut candidate = path.to_owned();
    let mut number = 2;
    loop {
        let mut note = candidate.clone().into_os_string();
        note.push(".reason.txt");
        if !files::exists(&candidate)? && !files::exists(note.as_ref())? {
            return Ok((candidate, note.into()));
        }
        candidate = path.with_extension(number.to_string());
        number += 1;
    }
}

/// Whether an error of reading speaks of the file itself. All others pass: to put a good checkpoint aside for them would
/// help nobody.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, IsADirectory, NotADirectory, NotFound, Other, UnexpectedEof};
    matches!(error.kind(), InvalidData | IsADirectory | NotADirectory | NotFound | Other | UnexpectedEof)
        || error.raw_os_error() == Some(EIO)
}

const EIO: i32 = 5;

/// Whether pruning could help, or waiting: the disk is full, over quota, at a file-size limit, or failing.
fn is_lack_of_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) || error.raw_os_error() == Some(EIO)
}
