//! Tokenizers against recorded values, against the `tokenizers` library's own pipeline, and against damage.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

use std::path::{Path, PathBuf};
use train::tokenizer::{LoadOptions, Tokenizer};

/// A line of the recording: the reference's preprocessing and ids under the released vocabulary.
#[derive(serde::Deserialize)]
struct Recorded {
    text: String,
    ids: Vec<u32>,
}

fn recording() -> Vec<Recorded> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer/reference.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    let lines: Vec<_> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 724);
    lines
}

/// A file of the data folder, or `None` and a word about it where there is no such folder.
fn data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("ALBERT_DATA").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set ALBERT_DATA to the data folder", path.display());
        return None;
    }
    Some(path)
}

fn released() -> Option<Tokenizer> {
    let path = data("vocab/30k-clean.model")?;
    Some(Tokenizer::load(&path, &LoadOptions::default()).unwrap())
}

#[test]
fn recorded_ids() {
    let Some(tokenizer) = released() else { return };
    let mut encoder = tokenizer.encoder();
    let mut wrong = 0;
    for Recorded { text, ids } in recording() {
        let mut found = Vec::new();
        encoder.encode(&text, &mut found);
        if found != ids {
            wrong += 1;
            let pieces = |ids: &[u32]| {
                ids.iter().map(|&id| tokenizer.piece(id).unwrap_or("?")).collect::<Vec<_>>().join(" ")
            };
            eprintln!("{text:?}\n  recorded {}\n  found    {}", pieces(&ids), pieces(&found));
        }
        assert_eq!(tokenizer.encode(&text), found, "with and without memory: {text:?}");
    }
    assert_eq!(wrong, 0, "lines that differ, of 724");
}
