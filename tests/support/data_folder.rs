//! Real text and vocabularies, which are not part of the project.

use std::path::{Path, PathBuf};

/// A file of the data folder, or `None` and a word about it where there is no such folder.
pub fn data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("ALBERT_DATA").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set ALBERT_DATA to the data folder", path.display());
        return None;
    }
    Some(path)
}
