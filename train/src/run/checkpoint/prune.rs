//! Removing checkpoints that are old enough, and only those.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::manifest::{MANIFEST, Manifest};
use super::{Checkpoints, io_error};
use crate::files;

impl Checkpoints {
    /// Removes verified checkpoints older than the newest `keep` verified ones, never the best. Damaged ones and those
    /// that hold files of somebody else stay. Returns what was removed; a failure to remove is only worth a warning.
    pub(super) fn prune(&mut self, keep: usize) -> Vec<u64> {
        let best = self.best();
        let mut kept = 0;
        let mut pruned = Vec::new();
        for step in self.steps().unwrap_or_default().into_iter().rev() {
            let Ok(manifest) = self.verify(step) else { continue };
            if kept < keep {
                kept += 1;
            } else if Some(step) != best && !self.holds_foreign_files(step, &manifest) {
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
        files::remove_flat_dir(&*self.files, &discarded)?;
        self.files.rename(&self.path(step), &discarded)?;
        self.verified.remove(&step);
        files::remove_flat_dir(&*self.files, &discarded)
    }

    fn holds_foreign_files(&self, step: u64, manifest: &Manifest) -> bool {
        let Ok(entries) = fs::read_dir(self.path(step)) else { return true };
        entries.into_iter().any(|entry| {
            let Ok(entry) = entry else { return true };
            let name = entry.file_name();
            name != MANIFEST && !manifest.files.iter().any(|file| name == file.name.as_str())
        })
    }
}
