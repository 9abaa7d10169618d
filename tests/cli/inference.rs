//! fill-mask, encode, evaluate.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use safetensors::{Dtype, tensor::TensorView};
use train::exit::ExitCode;

use crate::golden_folders::golden_folders;
use crate::program::{Run, Scene, program, run, run_with, text};
use crate::support::{Recorded, assert_close, recorded};

/// The bound of the golden tests for the CPU.
const TOLERANCE: f64 = 1e-4;

/// Writes the inputs of a recorded model as `encode` takes them.
fn write_inputs(tensors: &std::collections::BTreeMap<String, Recorded>, path: &Path) {
    let names = ["input_ids", "attention_mask", "token_type_ids"];
    let matrices = names.map(|name| {
        let tensor = &tensors[&format!("in.{name}")];
        let bytes: Vec<u8> = tensor.integer().iter().flat_map(|value| value.to_le_bytes()).collect();
        (name, tensor.shape().to_vec(), bytes)
    });
    let views: HashMap<&str, TensorView<'_>> = (matrices.iter())
        .map(|(name, shape, bytes)| (*name, TensorView::new(Dtype::I32, shape.clone(), bytes).unwrap()))
        .collect();
    safetensors::serialize_to_file(views, None, path).unwrap();
}

#[test]
fn encode_gives_what_was_recorded() {
    for folder in golden_folders("pretraining_") {
        let scratch = tempfile::tempdir().unwrap();
        let (input, output) = (scratch.path().join("in.safetensors"), scratch.path().join("out.safetensors"));
        let golden = recorded(&folder.join("reference.safetensors"));
        write_inputs(&golden, &input);
        let arguments = ["encode", "--model", text(&folder), "--input", text(&input), "--logits", "--output"];
        run(&[&arguments[..], &[text(&output)]].concat()).done();
        let found = recorded(&output);
        assert_eq!(found.len(), 4);
        let mask = golden["in.attention_mask"].integer();
        for name in ["last_hidden_state", "prediction_logits"] {
            let expected = &golden[&format!("out.{name}")];
            assert_eq!(found[name].shape(), expected.shape());
            let width = expected.shape()[2];
            let (mut of_tokens, mut recorded) = (Vec::new(), Vec::new());
            for (cell, row) in found[name].real().chunks_exact(width).enumerate() {
                if mask[cell] == 0 {
                    assert!(row.iter().all(|&value| value == 0.0), "{name}: zero past the mask");
                } else {
                    of_tokens.extend(row.iter().map(|&value| f64::from(value)));
                    recorded.extend_from_slice(&expected.real()[cell * width..(cell + 1) * width]);
                }
            }
            assert_close(&of_tokens, &recorded, TOLERANCE, &format!("{}: {name}", folder.display()));
        }
        for name in ["pooler_output", "sop_logits"] {
            let expected = &golden[&format!("out.{name}")];
            assert_eq!(found[name].shape(), expected.shape());
            let values: Vec<f64> = found[name].real().iter().map(|&value| f64::from(value)).collect();
            assert_close(&values, expected.real(), TOLERANCE, &format!("{}: {name}", folder.display()));
        }
    }
}

/// Lines of text, JSONL with pairs, and many runs of the plan: each sequence comes out as it does alone.
#[test]
fn encode_takes_text() {
    let scene = Scene::new();
    let lines: Vec<String> =
        (0..70).map(|n| format!("The cat saw {} trees.", "big ".repeat(n % 7))).collect();
    let encode = |input: &str, name: &str| -> std::collections::BTreeMap<String, Recorded> {
        let output = scene.arg(name);
        run(&["encode", "--model", &scene.arg("model"), "--input", input, "--output", &output]).done();
        recorded(Path::new(&output))
    };
    let all = encode(&scene.file("all.txt", lines.join("\n")), "all.safetensors");
    assert_eq!(all.keys().collect::<Vec<_>>(), ["last_hidden_state", "pooler_output"]);
    assert_eq!(all["pooler_output"].shape(), [70, 24]);
    let one = encode(&scene.file("one.txt", &lines[69]), "one.safetensors");
    assert_eq!(one["pooler_output"].real(), &all["pooler_output"].real()[69 * 24..]);
    // As Python writes records: numbers that are none, and a blank line at the end.
    let pairs = "{\"text\": \"The cat saw\", \"score\": NaN, \"text_pair\": \"trees.\"}\n\n";
    let pair = encode(&scene.file("pair.jsonl", pairs), "pair.safetensors");
    assert_eq!(pair["last_hidden_state"].shape()[0], 1);
    // Under any name, and nothing else is left.
    encode(&scene.arg("pair.jsonl"), "pair.tmp");
    assert!(
        !scene.path(".pair.safetensors.albert-train.tmp").exists()
            && !scene.path(".pair.tmp.albert-train.tmp").exists()
    );
}

#[test]
fn encode_refuses_what_does_not_fit() {
    let scene = Scene::new();
    let encode = |input: &str| -> Run {
        run(&["encode", "--model", &scene.arg("model"), "--input", input, "--output", &scene.arg("out")])
    };
    let long = scene.file("long.txt", format!("short\n{}", "tree ".repeat(39)));
    encode(&long).complains(ExitCode::Data, &["sequence 1 has 41 tokens", "40 positions"]);
    encode(&scene.arg("missing.txt")).complains(ExitCode::Io, &["missing.txt", "No such file"]);
    encode(&scene.file("empty.txt", "")).complains(ExitCode::Data, &["there is no text"]);
    let bad = scene.file("bad.txt", b"fine\nna\xefve");
    encode(&bad).complains(ExitCode::Data, &["bad.txt:2", "byte 3", "UTF-8"]);
    let bad = scene.file("bad.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}");
    encode(&bad).complains(ExitCode::Data, &["bad.jsonl:2", "it has no \"text\", only \"body\""]);
    let nonsense = scene.file("nonsense.safetensors", "nonsense");
    encode(&nonsense).complains(ExitCode::Data, &["nonsense.safetensors", "not a whole safetensors file"]);
    assert!(!scene.path("out").exists() && !beside(&scene).exists());
}

/// Where `out` is written before it takes its place.
fn beside(scene: &Scene) -> std::path::PathBuf {
    train::files::beside(&scene.path("out"))
}

/// On a signal, and where the disk takes no more.
#[cfg(unix)]
#[test]
fn encode_leaves_nothing_half_done() {
    let scene = Scene::new();
    let text = scene.file("long.txt", "The cat saw a tree.\n".repeat(200_000));
    let arguments = ["encode", "--model", &scene.arg("model"), "--output", &scene.arg("out"), "--input"];
    let mut process = program().args(arguments).arg(&text).stderr(Stdio::piped()).spawn().unwrap();
    while !beside(&scene).exists() {
        assert_eq!(process.try_wait().unwrap(), None, "ended before anything was written");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
    let stopped = process.wait_with_output().unwrap();
    let message = String::from_utf8(stopped.stderr).unwrap();
    assert_eq!(stopped.status.code(), Some(130), "{message}");
    assert!(message.contains("interrupted (SIGINT); nothing was written"), "{message}");
    assert!(!scene.path("out").exists() && !beside(&scene).exists());

    let binary = program().get_program().to_str().unwrap().to_owned();
    let command = format!("ulimit -f 1; exec {binary} {} {}", arguments.join(" "), scene.arg("text.txt"));
    let full = Command::new("sh").args(["-c", &command]).output().unwrap();
    let message = String::from_utf8(full.stderr).unwrap();
    assert_eq!(full.status.code(), Some(5), "{message}");
    assert!(message.contains("File too large"), "{message}");
    assert!(!scene.path("out").exists() && !beside(&scene).exists());
}

#[test]
fn masks_are_filled() {
    let scene = Scene::new();
    let fill = |arguments: &[&str], input: &str| {
        run_with(&[&["fill-mask", "--model", &scene.arg("model")], arguments].concat(), input)
    };
    let text = "The [MASK] went to the [MASK].";
    let shown = fill(&["--top", "3", text], "").done();
    assert_eq!(shown.lines().count(), 1 + 2 * (1 + 3), "{shown}");
    assert!(shown.starts_with(text));
    let object: serde_json::Value = serde_json::from_str(&fill(&["--json", text], "").done()).unwrap();
    let masks = object["masks"].as_array().unwrap();
    assert_eq!(masks.len(), 2);
    assert_eq!(masks[0]["position"], 2, "[CLS] and one word come first");
    let of = |candidate: &serde_json::Value| candidate["probability"].as_f64().unwrap();
    let candidates = masks[0]["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 5);
    assert!(candidates.is_sorted_by(|a, b| of(a) >= of(b)));
    // Several texts, as arguments and from standard input.
    let both = fill(&["--top", "1", "a [MASK]", "the [MASK]"], "").done();
    assert_eq!(both, fill(&["--top", "1"], "a [MASK]\n\nthe [MASK]\n").done());
    // A line for a line, blank ones too.
    let lines = fill(&["--json", "--top", "1"], "\na [MASK]\n \nthe [MASK]").done();
    let masks =
        |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["masks"].as_array().unwrap().len();
    assert_eq!(lines.lines().map(masks).collect::<Vec<_>>(), [0, 1, 0, 1], "{lines}");
    fill(&["no mask here"], "").complains(ExitCode::Usage, &["there is no [MASK] in \"no mask here\""]);
    let long = format!("{} [MASK]", "tree ".repeat(60));
    // A second segment: a token more, and another type.
    let object: serde_json::Value =
        serde_json::from_str(&fill(&["--json", "The cat slept. [SEP] The [MASK] slept."], "").done())
            .unwrap();
    let single: serde_json::Value =
        serde_json::from_str(&fill(&["--json", "The cat slept. The [MASK] slept."], "").done()).unwrap();
    let position = |object: &serde_json::Value| object["masks"][0]["position"].as_u64().unwrap();
    assert_eq!(position(&object), position(&single) + 1);
    for text in ["a [SEP] [MASK] [SEP] b", "[MASK] [SEP]", "[SEP] [MASK]"] {
        fill(&[text], "").complains(ExitCode::Usage, &["[SEP] stands between the two segments", text]);
    }
    fill(&[&long], "").complains(ExitCode::Data, &["63 tokens", "40 positions"]);
}
