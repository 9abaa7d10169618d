//! SQuAD against recorded scores of the official programs, and on the real files.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/data_folder.rs"]
mod data_folder;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use data_folder::data;
use serde_json::{Map, Value};
use train::finetuning::squad::official::{OFFICIAL_THRESHOLD, evaluate};
use train::finetuning::squad::{Recovery, file};
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
        let found = evaluate(None, &questions, &predictions, None, OFFICIAL_THRESHOLD).unwrap();
        assert_eq!(serde_json::to_value(found.figures).unwrap(), expected, "{name}");
    }
}

#[test]
fn the_threshold_is_the_one_that_the_official_program_finds() {
    let folder = tempfile::tempdir().unwrap();
    let thresholds = recorded("thresholds.json");
    for name in recorded("expected.json").keys().filter(|name| name.starts_with("v2")) {
        let Some(questions) = questions(name) else { return };
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
        let ids: Vec<&str> = text.split('"').filter(|part| has_answer.contains_key(part)).collect();
        assert_eq!(ids.len(), examples.len());
        // The figures where each null score is so much larger than it would be, for each question before its own.
        let figures = |apart: f64, threshold: f64| -> Value {
            let null_score = |(place, id): (usize, &&str)| {
                let sum: u32 = id.bytes().map(u32::from).sum();
                let score = f64::from(sum % 131) / 100.0 + if has_answer[id] { 0.0 } else { 0.5 };
                format!("\"{id}\": {}", score + apart * place as f64)
            };
            let null_scores: Vec<String> = ids.iter().enumerate().map(null_score).collect();
            let odds = folder.path().join("null_odds.json");
            std::fs::write(&odds, format!("{{{}}}", null_scores.join(", "))).unwrap();
            let found = evaluate(None, &questions, &predictions, Some(&odds), threshold).unwrap();
            serde_json::to_value(found.figures).unwrap()
        };
        // Those of other predictions under this name would be others.
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        if let Some(expected) = thresholds.get(name).filter(|expected| expected["crc32"] == crc.sum()) {
            let found = figures(0.0, OFFICIAL_THRESHOLD);
            for (key, value) in expected.as_object().unwrap().iter().filter(|(_, value)| value.is_f64()) {
                assert_eq!(found[key], *value, "{name}: {key}");
            }
        }
        // Whatever they are, a threshold keeps what it promises, if no two scores are the same.
        let found = figures(1e-9, OFFICIAL_THRESHOLD);
        for figure in ["exact", "f1"] {
            let [best, threshold] = [format!("best_{figure}"), format!("best_{figure}_thresh")]
                .map(|name| found[name].as_f64().unwrap());
            let kept = figures(1e-9, threshold)[figure].as_f64().unwrap();
            assert!((kept - best).abs() < 1e-9, "{name}: {figure} {kept}, {best} promised");
        }
    }
}

/// Every answer that is to be learned, and of the development set every first one as if it were.
#[test]
fn real_answers_are_recovered_from_their_rows() {
    // `wider`: such as `1,000` of `$1,000-2,000` or `60s` of `1960s`; a piece cannot be parted.
    for (split, questions, wider) in [(Split::Train, 87_599, 177), (Split::Dev, 10_570, 26)] {
        let name = format!("squad/{}-v1.1.json", split.name());
        let (Some(model), Some(path)) = (data("vocab/30k-clean.model"), data(&name)) else { return };
        let tokenizer = Tokenizer::load(&model, &LoadOptions::default()).unwrap();
        let squad = task("squad-1.1").unwrap();
        let read = squad.read(&path, split).unwrap();
        assert_eq!((read.examples.len(), read.files[0].official), (questions, Some(questions)));
        let features =
            features::build(&*squad, &read.examples, &tokenizer, &Limits::new(384), &|| false).unwrap();
        let recovery = Recovery::of(&read.examples, &features);
        assert_eq!(recovery.total(), questions, "{name}: no question is left out");
        assert_eq!((recovery.none, recovery.nowhere.len()), (0, 0), "{name}");
        assert_eq!(recovery.wider.len(), wider, "{name}: {:?}", recovery.wider);
        for feature in &features {
            assert!(feature.tokens() <= 384);
            let window = feature.window.as_ref().unwrap();
            assert_eq!(window.pieces.len(), feature.sequences[0].second_rows().len());
        }
    }
}
