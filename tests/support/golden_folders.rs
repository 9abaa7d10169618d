//! Recorded models, batches, files.

use std::path::{Path, PathBuf};

/// The folders of `tests/golden` whose names start with `prefix`: another set of the same form is found by itself.
pub fn golden_folders(prefix: &str) -> Vec<PathBuf> {
    // As it is now: a test may run elsewhere than it was built.
    let home = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&home).join("tests/golden");
    let mut folders: Vec<_> = std::fs::read_dir(&root)
        .expect("tests/golden exists")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| {
            path.is_dir() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "tests/golden has no folder that starts with {prefix}");
    folders
}
