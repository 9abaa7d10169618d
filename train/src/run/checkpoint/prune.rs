//! Removing checkpoints that are old enough, and only those.

use std::io;
use std::path::PathBuf;

use super::manifest::{MANIFEST, Manifest};
use super::{Checkpoints, io_error};
use crate::files;

impl Checkpoints {
    /// Removes verified checkpoints older than the newest `keep` verified ones, never the best, nor the best of one that is
    /// kept. Damaged ones and those that hold files of somebody else stay. Returns what was removed; a failure to remove is only worth a warning.
    pub(super) fn prune(&mut self, keep: usize) -> Vec<u64> {
        let mut spared: Vec<u64> = self.best.into_iter().collect();
        let mut kept = 0;
        let mut pruned = Vec::new();
        let steps = self.steps().unwrap_or_default();
        if steps.len() <= keep {
            return pruned; // and nothing need be read to be verified
        }
        for step in steps.into_iter().rev() {
            let Ok(manifest) = self.verify(step) else { continue };
            if kept < keep {
                kept += 1;
                spared.extend(manifest.best);
            } else if !spared.contains(&step) && !self.holds_foreign_files(step, &manifest) {
                match self.discard(step) {
                    Ok(()) => pruned.push(step),
                    Err(error) => {
                        let error = io_error("cannot remove", &self.path(step))(error);
                        tracing::warn!(%error, "an old checkpoint stays");
                    }
                }
            }
        }
        pruned.reverse();
        pruned
    }

    /// Where a checkpoint goes to be removed, so that one removed by half is never taken for a damaged one.
    pub(super) fn discarded(&self) -> PathBuf {
        self.directory().join(".discarded")
    }

    fn discard(&mut self, step: u64) -> io::Result<()> {
        let discarded = self.discarded();
        self.remove_own_dir(&discarded)?;
        self.files.rename(&self.path(step), &discarded)?;
        self.verified.remove(&step);
        self.remove_own_dir(&discarded)
    }

    pub(super) fn holds_foreign_files(&self, step: u64, manifest: &Manifest) -> bool {
        let Ok(names) = files::names(&self.path(step)) else { return true };
        names
            .into_iter()
            .any(|name| name != MANIFEST && !manifest.files.iter().any(|file| name == file.name.as_str()))
    }
}
