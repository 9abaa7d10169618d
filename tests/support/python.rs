//! The Python beside which tests compare: torch, transformers, tokenizers, sentencepiece, safetensors and tensorboard, each
//! at the version of `tests/python/requirements.txt`. `.ci/run` makes it below `target/python`, once.
//!
//! A test asks for it with [`python`] and leaves if there is none: `let Some(python) = python() else { return };`. Where
//! `ALBERT_REQUIRE_PYTHON` is set, as in `.ci/run`, it never leaves: having none is a failure.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that has every package of the list.
pub struct Python(PathBuf);

/// The Python named by `PYTHON`, or else the one that `.ci/run` made; `None` and a word about it where it lacks a package.
pub fn python() -> Option<Python> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let path = std::env::var_os("PYTHON").map_or(made, PathBuf::from);
    let packages = "torch transformers tokenizers sentencepiece safetensors tensorboard";
    // Finding is enough, and quick: importing them takes seconds.
    let check =
        format!("import importlib.util as i, sys; sys.exit(not all(map(i.find_spec, '{packages}'.split())))");
    if Command::new(&path).args(["-c", &check]).output().is_ok_and(|output| output.status.success()) {
        return Some(Python(path));
    }
    let problem =
        format!("{} lacks one of: {packages}; .ci/run installs them, or set PYTHON", path.display());
    assert!(std::env::var_os("ALBERT_REQUIRE_PYTHON").is_none(), "{problem}");
    eprintln!("SKIPPED: {problem}");
    None
}

impl Python {
    /// What the program `tests/python/NAME` prints when it gets `arguments`.
    #[track_caller]
    pub fn run(&self, name: &str, arguments: &[&dyn AsRef<OsStr>]) -> String {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name);
        let output = Command::new(&self.0)
            .arg(program)
            .args(arguments)
            // Nothing is ever fetched, and other people's warnings are not ours.
            .envs([
                ("HF_HUB_OFFLINE", "1"),
                ("TRANSFORMERS_VERBOSITY", "error"),
                ("PYTHONDONTWRITEBYTECODE", "1"),
            ])
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.0.display()));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}
