//! Reading a checkpoint back: the newest that verifies, or exactly the one asked for.

use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use super::manifest::{Fault, Manifest};
use super::save::is_damage;
use super::tensors::Tensors;
use super::{CheckpointError, Checkpoints, MODEL, OPTIMIZER, QUARANTINE, STATE, io_error};
use crate::files;

/// A checkpoint in memory, every byte of it checked.
#[derive(Debug)]
pub struct Checkpoint<S> {
    /// Optimizer steps done.
    pub step: u64,
    /// What the trainer put into `state.json`.
    pub state: S,
    /// The weights.
    pub model: Tensors,
    /// The optimizer's moments.
    pub optimizer: Tensors,
}

/// A checkpoint that was put aside.
#[derive(Debug)]
pub struct Quarantined {
    /// Its step.
    pub step: u64,
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What [`Checkpoints::load_newest`] found.
#[derive(Debug)]
pub struct Newest<S> {
    /// The newest usable checkpoint; `None` if the run never had one.
    pub checkpoint: Option<Checkpoint<S>>,
    /// Newer ones that had to be put aside. Tell the user.
    pub quarantined: Vec<Quarantined>,
}

impl Checkpoints {
    /// Loads the newest checkpoint that is whole; damaged ones met on the way move to `quarantine/`.
    ///
    /// # Errors
    /// [`CheckpointError::NoneUsable`] if there were checkpoints and none can be used: starting over is for the user to
    /// decide. [`CheckpointError::State`] if `S` does not fit an undamaged `state.json`.
    pub fn load_newest<S: DeserializeOwned>(&mut self) -> Result<Newest<S>, CheckpointError> {
        let mut quarantined = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.load(step) {
                Err(CheckpointError::Damaged { fault, .. }) => {
                    let reason = fault.to_string();
                    let path = self.quarantine(step, &reason)?;
                    quarantined.push(Quarantined { step, path, reason });
                }
                Err(other) => return Err(other),
                Ok(checkpoint) => return Ok(Newest { checkpoint: Some(checkpoint), quarantined }),
            }
        }
        let quarantine = self.quarantine_directory();
        if files::exists(&quarantine).map_err(io_error("cannot look at", &quarantine))? {
            return Err(CheckpointError::NoneUsable { directory: self.directory(), quarantine, quarantined });
        }
        Ok(Newest { checkpoint: None, quarantined })
    }

    /// Loads the checkpoint of `step` and no other.
    ///
    /// # Errors
    /// Missing or damaged: there is no silent fallback from what was asked for.
    pub fn load<S: DeserializeOwned>(&mut self, step: u64) -> Result<Checkpoint<S>, CheckpointError> {
        let path = self.path(step);
        if !self.contains(step)? {
            return Err(self.missing(step)?);
        }
        let again = |fault| match fault {
            // A disk that failed once may give the content at the second attempt.
            Fault::Unreadable { source, .. } if source.kind() != io::ErrorKind::NotFound => self.read(step),
            fault => Err(fault),
        };
        let (state, model, optimizer) = self.read(step).or_else(again).map_err(|fault| match fault {
            Fault::Unreadable { file, source } if !is_damage(&source) => {
                CheckpointError::Io { action: "cannot read", path: path.join(file), source }
            }
            fault => CheckpointError::Damaged { path: path.clone(), fault },
        })?;
        let state = serde_json::from_slice(&state)
            .map_err(|source| CheckpointError::State { path: path.join(STATE), source })?;
        self.verified.insert(step);
        Ok(Checkpoint { step, state, model, optimizer })
    }

    /// Puts every checkpoint after `step` aside, for a run that goes back to `step` on purpose: a later start must not
    /// pick up the branch that was left. [`Checkpoints::settle`] comes next.
    pub fn supersede_after(&mut self, step: u64) -> Result<Vec<u64>, CheckpointError> {
        let later: Vec<u64> = self.steps()?.into_iter().filter(|&other| other > step).collect();
        for &other in &later {
            self.quarantine(other, &format!("superseded: the run went back to step {step}"))?;
        }
        Ok(later)
    }

    pub(super) fn quarantine_directory(&self) -> PathBuf {
        self.run.join(QUARANTINE)
    }

    fn read(&self, step: u64) -> Result<(Vec<u8>, Tensors, Tensors), Fault> {
        let path = self.path(step);
        let manifest = Manifest::read(&path)?;
        if manifest.step != step {
            return Err(Fault::OtherStep(manifest.step));
        }
        let tensors = |file: &str| {
            Tensors::parse(manifest.read_file(&path, file)?)
                .map_err(|source| Fault::Tensors { file: file.into(), source })
        };
        Ok((manifest.read_file(&path, STATE)?, tensors(MODEL)?, tensors(OPTIMIZER)?))
    }
}
