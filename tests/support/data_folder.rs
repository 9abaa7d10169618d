//! Real text and vocabularies, which are not part of the project.

use std::path::{Path, PathBuf};

/// A file of the data folder, or `None` and a word about it where there is no such folder. Where
/// `ALBERT_REQUIRE_DATA` is set, as in `.ci/run` if the folder is there, a missing file is a failure.
pub fn data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("ALBERT_DATA").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        let problem = format!("{} is not there; set ALBERT_DATA to the data folder", path.display());
        assert!(std::env::var_os("ALBERT_REQUIRE_DATA").is_none(), "{problem}");
        eprintln!("SKIPPED: {problem}");
        return None;
    }
    Some(path)
}
