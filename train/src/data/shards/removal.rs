//! Removing what was prepared, and nothing else.

use std::ffi::OsStr;
use std::path::Path;

use super::claim::COPIES;
use super::manifest::MANIFEST;
use super::prepare::{PREPARING, REPORT, SHARD, TOKENIZER_FOLDER};
use crate::data::error::DataError;
use crate::data::text::remove_copies;
use crate::files::{Disk, remove_flat_dir, remove_flat_dir_in_order};
use crate::run::lock;
use crate::tokenizer;

/// Removes what was prepared in `folder`, whole or not. A folder that is not there is fine; one with a file of somebody else is
/// left, with an error that names the file.
///
/// # Errors
/// If something cannot be removed.
pub fn remove_prepared(folder: &Path) -> Result<(), DataError> {
    remove_tokenizer(&folder.join(TOKENIZER_FOLDER))?;
    remove_copies(&folder.join(COPIES))?;
    let is_manifest = |name: &OsStr| name == MANIFEST || name == PREPARING;
    let is_ours = |name: &OsStr| {
        is_shard(name)
            || is_manifest(name)
            || name == REPORT
            || name == lock::NAME && lock::is_ours(&folder.join(name))
    };
    remove_flat_dir_in_order(&Disk, folder, is_ours, is_manifest).map_err(DataError::io("remove", folder))
}

pub(super) fn is_shard(name: &OsStr) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(SHARD));
    stem.is_some_and(|stem| stem.len() >= 5 && stem.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Removes a folder of a tokenizer's files, as [`remove_prepared`] does.
///
/// # Errors
/// If something cannot be removed.
pub fn remove_tokenizer(folder: &Path) -> Result<(), DataError> {
    let is_ours = |name: &OsStr| tokenizer::FILES.iter().any(|&ours| name == ours);
    remove_flat_dir(&Disk, folder, is_ours).map_err(DataError::io("remove", folder))
}
