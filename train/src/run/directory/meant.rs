//! What is meant by a path to a model or to a tokenizer.

use std::path::{Path, PathBuf};

use super::{DirectoryError, MODEL, read_info};
use crate::hub::{self, HubError};
use crate::visible::shown;

/// What is meant by a path to a model: the path itself, or where that is a run, its `model/`; of `hf:owner/name` the Hub's
/// cache.
///
/// # Errors
/// If it is a run that has none yet, or a model that is not in the cache.
pub fn model_in(path: &Path) -> Result<PathBuf, DirectoryError> {
    hub::cached_model(path)?.map_or_else(|| in_run(path), Ok)
}

/// As [`model_in`], of a path to a tokenizer, which may be in the Hub's cache without its model.
///
/// # Errors
/// As of [`model_in`].
pub fn tokenizer_of(path: &Path) -> Result<PathBuf, DirectoryError> {
    hub::cached(path)?.map_or_else(|| in_run(path), Ok)
}

/// The path itself, or where that is a run, its `model/`.
fn in_run(path: &Path) -> Result<PathBuf, DirectoryError> {
    if let Some(reference) = hub::perhaps_meant(path) {
        return Err(HubError::NoPath { path: shown(path).to_string(), reference }.into());
    }
    if !path.is_dir() || path.join(model::CONFIG_FILE).exists() || read_info(path)?.is_none() {
        return Ok(path.to_path_buf());
    }
    let model = path.join(MODEL);
    if model.is_dir() { Ok(model) } else { Err(DirectoryError::NoModelYet { run: path.to_path_buf() }) }
}
