//! Every task from its real files to its official prediction files: read, counted, learnt from for two steps, answered. What a
//! model learns from them is not the subject; it is as small as a model can be.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/data_folder.rs"]
mod data_folder;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use data_folder::data;
use model::{Albert, AlbertConfig, Head};
use serde_json::Value;
use train::tokenizer::{LoadOptions, Tokenizer};

/// Runs the program; what it says beside its results.
fn albert(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_albert-train")).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A model that has learnt nothing, with the released vocabulary.
fn model(vocabulary: &Path, folder: &Path) {
    let tokenizer = Tokenizer::load(vocabulary, &LoadOptions::default()).unwrap();
    let config = AlbertConfig {
        vocab_size: tokenizer.vocabulary_size(),
        embedding_size: 8,
        hidden_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 16,
        max_position_embeddings: 64,
        ..AlbertConfig::default()
    };
    let albert = Albert::new(config, &[Head::Pretraining]).unwrap();
    model::save(folder, &albert, &albert.parameters().initial_values(1).unwrap()).unwrap();
    tokenizer.save(folder).unwrap();
}

/// A task, and what its files are known to hold.
struct Case {
    /// As commands name it.
    words: &'static [&'static str],
    /// The training examples, and those of the set that is measured on.
    counts: [usize; 2],
    /// What is predicted: `test` where there are such files.
    split: &'static str,
    /// The prediction files.
    files: &'static [&'static str],
}

const fn glue(
    words: &'static [&'static str],
    counts: [usize; 2],
    split: &'static str,
    files: &'static [&'static str],
) -> Case {
    Case { words, counts, split, files }
}

const GLUE: [Case; 9] = [
    glue(&["glue", "cola"], [8551, 1043], "test", &["CoLA.tsv"]),
    glue(&["glue", "sst-2"], [67_349, 872], "test", &["SST-2.tsv"]),
    glue(&["glue", "mrpc"], [3668, 408], "test", &["MRPC.tsv"]),
    glue(&["glue", "sts-b"], [5749, 1500], "test", &["STS-B.tsv"]),
    glue(&["glue", "qqp"], [31_868, 1000], "dev", &["QQP.tsv"]),
    glue(&["glue", "qnli"], [9999, 5463], "test", &["QNLI.tsv"]),
    glue(&["glue", "rte"], [2490, 277], "test", &["RTE.tsv"]),
    glue(&["glue", "wnli"], [635, 71], "test", &["WNLI.tsv"]),
    glue(&["glue", "mnli"], [8999, 1000], "dev", &["MNLI-m.tsv", "MNLI-mm.tsv"]),
];

/// Examples that are learnt from, measured on, and answered.
const FEW: usize = 16;

/// Learns a task for two steps; what it said of the files.
fn finetuned(words: &[&str], model: &Path, data: &[&str], out: &Path) -> String {
    let few = FEW.to_string();
    let sizes = ["--steps", "2", "--batch", "4", "--train-examples", &few, "--eval-examples", &few];
    let on =
        ["--model", text(model), "--out", text(out), "--max-seq-length", "64", "--max-question-length", "16"];
    let said = albert(&[&["finetune"], words, data, &on, &sizes].concat());
    let results: Value =
        serde_json::from_slice(&std::fs::read(out.join("eval_results.json")).unwrap()).unwrap();
    let loss = results["loss"].as_f64().unwrap();
    assert!(loss.is_finite() && loss > 0.0, "{words:?}: {results}");
    said
}

fn predicted(words: &[&str], model: &Path, data: &Path, split: &str, out: &Path) -> String {
    let few = FEW.to_string();
    let on = [
        "--model",
        text(model),
        "--data",
        text(data),
        "--split",
        split,
        "--examples",
        &few,
        "--out",
        text(out),
    ];
    albert(&[&["predict"], words, &on].concat())
}

/// The rows of a file as GLUE's site takes it: numbered, each with an answer.
fn expect_answers(file: &Path, is_answer: impl Fn(&str) -> bool) {
    let written = std::fs::read_to_string(file).unwrap();
    let (head, rows) = written.split_once('\n').unwrap();
    assert_eq!(head, "index\tprediction", "{}", file.display());
    let rows: Vec<(&str, &str)> = rows.lines().map(|row| row.split_once('\t').unwrap()).collect();
    assert!(!rows.is_empty() && rows.iter().all(|(_, answer)| is_answer(answer)), "{rows:?}");
    let numbers: BTreeSet<&str> = rows.iter().map(|(index, _)| *index).collect();
    assert_eq!(numbers.len(), rows.len(), "each once");
}

#[test]
fn glue_and_its_diagnostic_set() {
    let (Some(files), Some(vocabulary)) = (data("glue"), data("vocab/30k-clean.model")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("model");
    model(&vocabulary, &base);
    for Case { words, counts, split, files: written } in GLUE {
        let (name, out) = (words[1], folder.path().join(words[1]));
        let said = finetuned(words, &base, &["--data", text(&files)], &out);
        for (set, count) in ["train", "dev"].into_iter().zip(counts) {
            let is_told = |line: &str| {
                line.starts_with(&format!("{set}: ")) && line.contains(&format!(": {count} examples"))
            };
            assert!(said.lines().any(is_told), "{name} {set} {count}: {said}");
        }
        let predictions = folder.path().join("predictions").join(name);
        predicted(words, &out, &files, split, &predictions);
        for file in written {
            expect_answers(&predictions.join(file), |answer| match name {
                "sts-b" => answer.parse::<f64>().is_ok_and(|value| (0.0..=5.0).contains(&value)),
                "mnli" => ["contradiction", "entailment", "neutral"].contains(&answer),
                "qnli" | "rte" => ["entailment", "not_entailment"].contains(&answer),
                _ => ["0", "1"].contains(&answer),
            });
        }
    }
    // The diagnostic set is answered by a model for MNLI.
    let predictions = folder.path().join("predictions/ax");
    let said = predicted(&["glue", "ax"], &folder.path().join("mnli"), &files, "test", &predictions);
    assert!(said.contains("diagnostic.tsv: 1104 examples, as in the official file"), "{said}");
    expect_answers(&predictions.join("AX.tsv"), |answer| {
        ["contradiction", "entailment", "neutral"].contains(&answer)
    });
}

#[test]
fn squad_and_race() {
    let (Some(squad), Some(race), Some(vocabulary)) =
        (data("squad"), data("race"), data("vocab/30k-clean.model"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("model");
    model(&vocabulary, &base);
    let [training, held_out] = ["v2-train-23-dev-articles.json", "v2-heldout-12-dev-articles.json"]
        .map(|name| squad.join("derived").join(name));
    let official = ["--data", text(&squad)];
    let derived = ["--train", text(&training), "--dev", text(&held_out)];
    let version2 = ["squad", "--version", "2.0"];
    for (words, data, counts, questions) in [
        (
            &["squad"][..],
            &official[..],
            [
                "train-v1.1.json: 87599 examples, as in the official file",
                "dev-v1.1.json: 10570 examples, as in the official file",
            ],
            &squad,
        ),
        (
            &version2,
            &derived,
            [
                "v2-train-23-dev-articles.json: 7375 examples; 3690 of them without an answer",
                "v2-heldout-12-dev-articles.json: 4498 examples; 2255 of them without an answer",
            ],
            &held_out,
        ),
    ] {
        let out = folder.path().join(format!("squad{}", words.len()));
        let said = finetuned(words, &base, data, &out);
        for count in counts {
            assert!(said.contains(count), "{count}: {said}");
        }
        let predictions = out.join("predictions");
        predicted(words, &out, questions, "dev", &predictions);
        let read = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(predictions.join(name)).unwrap()).unwrap()
        };
        let answers = read("predictions.json");
        assert_eq!(answers.as_object().unwrap().len(), FEW);
        assert!(answers.as_object().unwrap().values().all(Value::is_string));
        assert_eq!(read("nbest_predictions.json").as_object().unwrap().len(), FEW);
        if words.len() > 1 {
            assert_eq!(read("null_odds.json").as_object().unwrap().len(), FEW);
        }
    }
    let out = folder.path().join("race");
    let said = finetuned(&["race"], &base, &["--data", text(&race)], &out);
    assert!(said.contains("1436 examples, as in the official file"), "{said}");
    let predictions = out.join("predictions");
    let said = predicted(&["race"], &out, &race, "test", &predictions);
    assert!(said.contains("test: ") && said.contains(&format!("{} examples", 1436)), "{said}");
    expect_answers(&predictions.join("predictions.tsv"), |answer| ["A", "B", "C", "D"].contains(&answer));
}
