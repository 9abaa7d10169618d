//! Small tasks of every kind, a model to learn them, and runs of the program.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Runs the program; what it prints to standard output.
pub fn albert(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_albert-train")).args(arguments).output().expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// A small pre-trained model: a vocabulary and an encoder are all that is needed of it.
pub fn pretrained(folder: &Path) -> PathBuf {
    let out = folder.join("pretrained");
    albert(&["pretrain", "--out", text(&out), "--steps", "2", "--eval-sequences", "8", "--eval-every", "2"]);
    out
}

pub const NAMES: [&str; 8] = ["anna", "ben", "clara", "david", "emma", "finn", "greta", "hugo"];
pub const THINGS: [&str; 8] = ["apple", "boat", "coat", "drum", "egg", "flute", "glove", "hat"];

/// A table of 64 rows with one column of each kind: a class, a value, and tags of words.
pub fn table(folder: &Path) -> PathBuf {
    let data = folder.join("table");
    fs::create_dir_all(&data).expect("a folder");
    let mut rows = String::new();
    for index in 0..64 {
        let (name, thing) = (NAMES[index % 8], THINGS[index / 8]);
        let class = ["no", "yes"][(index + index / 8) % 2];
        // Where a word stands does not say what it is.
        let (tokens, tags) = match index % 3 {
            0 => (vec!["the", thing, "surprised", name], vec!["O", "B-OBJ", "O", "B-PER"]),
            1 => (vec!["yesterday", name, "lost", "the", thing], vec!["O", "B-PER", "O", "O", "B-OBJ"]),
            _ => (vec![name, "found", "the", thing], vec!["B-PER", "O", "O", "B-OBJ"]),
        };
        let row = serde_json::json!({
            "text": format!("{name} found the {thing}"),
            "label": class,
            "value": (index / 8) as f64 / 2.0,
            "tokens": tokens,
            "tags": tags,
        });
        writeln!(rows, "{row}").expect("a string");
    }
    for name in ["train.jsonl", "dev.jsonl"] {
        fs::write(data.join(name), &rows).expect("a file");
    }
    data
}

pub fn results(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("eval_results.json")).expect("results")).expect("JSON")
}

/// 64 questions about sentences, in SQuAD's form; of version 2.0 a quarter ask for what is not there.
pub fn questions(folder: &Path, is_version2: bool) -> PathBuf {
    let data = folder.join(if is_version2 { "squad2" } else { "squad1" });
    fs::create_dir_all(&data).expect("a folder");
    let paragraphs: Vec<Value> = (0..64)
        .map(|index| {
            let (name, thing) = (NAMES[index % 8], THINGS[index / 8]);
            let context = format!("In the morning {name} found the {thing} in the garden.");
            let is_impossible = is_version2 && index % 4 == 3;
            let (question, answer) = match index % 4 {
                _ if is_impossible => ("Who sold the house?", ""),
                0 | 3 => ("Who found it?", name),
                1 => ("What was found?", thing),
                _ => ("Where was it found?", "the garden"),
            };
            let answers = match context.find(answer) {
                Some(start) if !is_impossible => {
                    // The thing stands behind its article, and the garden at the end.
                    let start = context.rfind(answer).unwrap_or(start);
                    vec![serde_json::json!({ "text": answer, "answer_start": start })]
                }
                _ => Vec::new(),
            };
            let mut qa =
                serde_json::json!({ "id": format!("q{index}"), "question": question, "answers": answers });
            if is_version2 {
                qa["is_impossible"] = is_impossible.into();
            }
            serde_json::json!({ "context": context, "qas": [qa] })
        })
        .collect();
    let version = if is_version2 { "v2.0" } else { "1.1" };
    let file =
        serde_json::json!({ "version": version, "data": [{ "title": "t", "paragraphs": paragraphs }] });
    for split in ["train", "dev"] {
        let number = if is_version2 { "v2.0" } else { "v1.1" };
        fs::write(data.join(format!("{split}-{number}.json")), file.to_string()).expect("a file");
    }
    data
}

/// 64 questions with four options in RACE's form.
pub fn choices(folder: &Path) -> PathBuf {
    choices_of(4, &folder.join("race"), "middle")
}

/// The same with another number of options, in the folder `level` of each split.
pub fn choices_of(count: usize, data: &Path, level: &str) -> PathBuf {
    for split in ["train", "dev"] {
        let place = data.join(split).join(level);
        fs::create_dir_all(&place).expect("a folder");
        for index in 0..64 {
            let (name, thing) = (NAMES[index % 8], THINGS[index / 8]);
            // The right one replaces one of the others.
            let (right, letters) = (index % count, ["A", "B", "C", "D"]);
            let mut options: Vec<&str> =
                (0..count).map(|option| THINGS[(index / 8 + option + 1) % 8]).collect();
            options[right] = thing;
            let passage = serde_json::json!({
                "article": format!("{name} found the {thing}."),
                "questions": ["What did they find? _ ."],
                "options": [options],
                "answers": [letters[right]],
                "id": format!("{index}.txt"),
            });
            fs::write(place.join(format!("{index}.txt")), passage.to_string()).expect("a file");
        }
    }
    data.to_path_buf()
}
