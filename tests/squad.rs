//! SQuAD against recorded scores of the official programs, and on the real files.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/data_folder.rs"]
mod data_folder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data_folder::data;
use serde_json::{Map, Value};
use train::finetuning::squad::official::{OFFICIAL_THRESHOLD, evaluate};
use train::finetuning::squad::{Recovery, Version, file};
use train::finetuning::{Limits, Split, Target, features, task};
use train::tokenizer::{LoadOptions, Tokenizer};

fn golden(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/squad");
    [name.to_owned(), format!("{name}.gz")]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.is_file())
}

/// The text of a file, packed or not.
fn text(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    match bytes.starts_with(b"\x1F\x8B") {
        true => std::io::read_to_string(flate2::read::GzDecoder::new(&bytes[..])).unwrap(),
        false => String::from_utf8(bytes).unwrap(),
    }
}

/// What is recorded in a file; nothing where a set has none of it.
fn recorded(name: &str) -> Map<String, Value> {
    golden(name).map(|path| serde_json::from_str(&text(&path)).unwrap()).unwrap_or_default()
}

/// The development set of the version that a file of predictions is named after.
fn questions(name: &str) -> Option<PathBuf> {
    let version = name.split('-').next().unwrap();
    data(&format!("squad/dev-{version}.json"))
}

#[test]
fn official_predictions_have_their_official_scores() {
    let scores = recorded("expected.json");
    assert!(!scores.is_empty(), "tests/golden/squad has recorded scores");
    for (name, expected) in scores {
        let Some(questions) = questions(&name) else { return };
        let predictions = golden(&format!("{name}.json")).unwrap();
        let found = evaluate(Version::One, &questions, &predictions, None, OFFICIAL_THRESHOLD).unwrap();
        assert_eq!(serde_json::to_value(found.figures).unwrap(), expected, "{name}");
    }
}

#[test]
fn the_threshold_is_the_one_that_the_official_program_finds() {
    let folder = tempfile::tempdir().unwrap();
    for (name, expected) in recorded("thresholds.json") {
        let Some(questions) = questions(&name) else { return };
        let examples = file::read(&questions, Split::Dev).unwrap().examples;
        let has_answer: BTreeMap<&str, bool> = examples
            .iter()
            .map(|example| match &example.target {
                Some(Target::Answers(gold)) => (example.id.as_str(), !gold.is_empty()),
                other => panic!("{}: {other:?}", example.id),
            })
            .collect();
        let predictions = golden(&format!("{name}.json")).unwrap();
        // Ids in the order of the file, which decides between equal null scores.
        let text = text(&predictions);
        let ids = text.split('"').filter(|part| has_answer.contains_key(part));
        let null_scores: Vec<String> = ids
            .map(|id| {
                let sum: u32 = id.bytes().map(u32::from).sum();
                let score = f64::from(sum % 131) / 100.0 + if has_answer[id] { 0.0 } else { 0.5 };
                format!("\"{id}\": {score}")
            })
            .collect();
        assert_eq!(null_scores.len(), examples.len());
        let odds = folder.path().join("null_odds.json");
        std::fs::write(&odds, format!("{{{}}}", null_scores.join(", "))).unwrap();
        let found =
            evaluate(Version::One, &questions, &predictions, Some(&odds), OFFICIAL_THRESHOLD).unwrap();
        let found = serde_json::to_value(found.figures).unwrap();
        for (key, value) in expected.as_object().unwrap().iter().filter(|(_, value)| value.is_f64()) {
            assert_eq!(found[key], *value, "{name}: {key}");
        }
    }
}

/// Every first answer of the development set, as if it were to be learned.
#[test]
fn real_answers_are_recovered_from_their_rows() {
    let (Some(model), Some(path)) = (data("vocab/30k-clean.model"), data("squad/dev-v1.1.json")) else {
        return;
    };
    let tokenizer = Tokenizer::load(&model, &LoadOptions::default()).unwrap();
    let squad = task("squad-1.1").unwrap();
    let read = squad.read(&path, Split::Dev).unwrap();
    assert_eq!((read.examples.len(), read.files[0].official), (10_570, Some(10_570)));
    let features =
        features::build(&*squad, &read.examples, &tokenizer, &Limits::new(384), &|| false).unwrap();
    let recovery = Recovery::of(&read.examples, &features);
    assert_eq!(recovery.total(), 10_570, "no question is left out");
    assert_eq!((recovery.none, recovery.nowhere.len()), (0, 0));
    // Such as `1,000` of `$1,000-2,000` or `60s` of `1960s`: a piece cannot be parted.
    assert!(recovery.wider.len() * 200 < recovery.total(), "{:?}", recovery.wider);
    for feature in &features {
        assert!(feature.tokens() <= 384);
        let window = feature.window.as_ref().unwrap();
        assert_eq!(window.pieces.len(), feature.sequences[0].second_rows().len());
    }
}
