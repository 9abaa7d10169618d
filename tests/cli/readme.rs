//! The README's commands, as they stand there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use crate::convert::{checkpoint, pack};
use crate::program::{program, sentences};

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The lines of the README's blocks of commands.
fn commands() -> Vec<String> {
    let readme = readme();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// The commands that the README shows as typed into a terminal.
fn typed_commands() -> Vec<String> {
    let readme = readme();
    let blocks = readme.split("```console\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// What makes any run small, whatever its command says of its size.
const SMALL: [(&str, &str); 12] = [
    ("MODEL_HIDDEN_SIZE", "16"),
    ("MODEL_EMBEDDING_SIZE", "8"),
    ("MODEL_INTERMEDIATE_SIZE", "24"),
    ("MODEL_NUM_ATTENTION_HEADS", "2"),
    ("MODEL_NUM_HIDDEN_LAYERS", "1"),
    ("MODEL_VOCAB_SIZE", "200"),
    ("SAMPLING_MAX_SEQ_LENGTH", "32"),
    ("OPTIMIZER_WARMUP_STEPS", "0"),
    ("OPTIMIZER_LEARNING_RATE", "0.01"),
    ("TRAINING_EVAL_SEQUENCES", "8"),
    ("TRAINING_EVAL_EVERY", "100"),
    ("DATA_HELD_OUT_EVERY", "20"),
];

/// The same of fine-tuning.
const FEW: [(&str, &str); 4] = [
    ("TASK_TRAIN_EXAMPLES", "16"),
    ("TASK_EVAL_EXAMPLES", "8"),
    ("SEQUENCES_MAX_SEQ_LENGTH", "32"),
    ("SEQUENCES_MAX_QUESTION_LENGTH", "12"),
];

/// A shell's run of a line in a folder, where the program is found by its name and told these settings.
fn typed(folder: &Path, line: &str, settings: &[(&str, &str)]) -> Output {
    let binary = PathBuf::from(program().get_program());
    let path = std::env::join_paths(
        std::iter::once(binary.parent().unwrap().to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .unwrap();
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(folder)
        .env("PATH", &path)
        .envs(settings.iter().map(|(name, value)| (format!("ALBERT_TRAIN_{name}"), value)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Each command of the README in turn, in one folder with the files that they name. Steps are few; all else is as written.
#[cfg(unix)]
#[test]
fn every_command_works() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["books.txt", "wiki.txt", "held-out.txt"] {
        fs::write(folder.path().join(name), sentences()).unwrap();
    }
    let mut ran = 0;
    for line in commands() {
        // What builds or tests is what runs this test.
        let line = match line.strip_prefix("cargo run --release -- ") {
            Some(arguments) => format!("albert-train {arguments}"),
            None if line.starts_with("cargo ") => continue,
            None => line,
        };
        let words: Vec<&str> = line.split(' ').collect();
        let few =
            words.iter().position(|word| *word == "--steps").map(|at| format!("--steps {}", words[at + 1]));
        let line = few.map_or(line.clone(), |few| line.replace(&few, "--steps 2"));
        // A printed file is to be as a reader's: its warm-up follows from the steps that the README gives.
        let steps = (!line.contains("--print-config")).then_some(("TRAINING_STEPS", "2"));
        typed(folder.path(), &line, &SMALL.into_iter().chain(steps).collect::<Vec<_>>());
        ran += 1;
    }
    assert!(ran >= 7, "{ran} commands");
    assert!(folder.path().join("runs/tiny/model/config.json").exists());
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The official files of the tasks that the README names, a few rows of each.
fn task_files(folder: &Path) {
    let classes = ["entailment", "neutral", "contradiction"];
    for (file, is_labelled) in [
        ("train", true),
        ("dev_matched", true),
        ("dev_mismatched", true),
        ("test_matched", false),
        ("test_mismatched", false),
    ] {
        let label = |class: &str| if is_labelled { format!("\t{class}") } else { String::new() };
        let rows: String = (0..24)
            .map(|n| format!("{n}\tThe cat slept.\tIt was awake.{}\n", label(classes[n % 3])))
            .collect();
        let names = format!("index\tsentence1\tsentence2{}\n", label("gold_label"));
        write(folder, &format!("glue/MNLI/{file}.tsv"), &(names + &rows));
    }
    let rows: String = (0..24).map(|n| format!("{n}\tThe cat slept.\tIt was awake.\tneutral\n")).collect();
    write(folder, "glue/diagnostic/diagnostic.tsv", &format!("index\tsentence1\tsentence2\tlabel\n{rows}"));
    for (version, impossible) in [("v1.1", false), ("v2.0", true)] {
        let paragraphs: Vec<_> = (0..24)
            .map(|n| {
                let mut question = json!({
                    "id": format!("q{n}"), "question": "Where did it sleep?",
                    "answers": [{ "text": "near the river", "answer_start": 14 }],
                });
                if impossible {
                    question["is_impossible"] = (n % 4 == 0).into();
                }
                json!({ "context": "The cat slept near the river.", "qas": [question] })
            })
            .collect();
        let file = json!({ "version": version, "data": [{ "title": "t", "paragraphs": paragraphs }] });
        for name in [format!("squad/train-{version}.json"), format!("squad/dev-{version}.json")] {
            write(folder, &name, &file.to_string());
        }
    }
    fs::copy(folder.join("squad/dev-v1.1.json"), folder.join("dev-v1.1.json")).unwrap();
    let answers: serde_json::Map<_, _> = (0..24).map(|n| (format!("q{n}"), json!("the river"))).collect();
    write(folder, "predictions.json", &json!(answers).to_string());
    for (split, level) in [("train", "middle"), ("train", "high"), ("dev", "middle"), ("dev", "high")] {
        let passage = json!({
            "article": "The cat slept.", "questions": ["Who slept?"], "options": [["cat", "dog", "cow", "hen"]],
            "answers": ["A"], "id": "1.txt",
        });
        (0..12).for_each(|n| write(folder, &format!("RACE/{split}/{level}/{n}.txt"), &passage.to_string()));
    }
    let reviews: String = (0..40).map(|n| format!("\"A fine cat, {n}\",{}\n", n % 5)).collect();
    write(folder, "reviews.csv", &format!("review,stars\n{reviews}"));
}

/// Fine-tuning as the README has it, and what follows it. Of each training all that comes before its first step, and two steps.
#[cfg(unix)]
#[test]
fn every_typed_command_works() {
    let scene = checkpoint();
    pack(&scene, "release", "albert_base_v2.tar.gz");
    let folder = scene.path("");
    task_files(&folder);
    fs::create_dir(folder.join("runs")).unwrap();
    fs::rename(folder.join("model"), folder.join("runs/mine")).unwrap();
    let (mut rehearsed, mut ran) = (0, 0);
    for line in typed_commands() {
        let line = line.split(" #").next().unwrap().trim_end();
        if line.contains(" finetune ") {
            let dry = typed(&folder, &format!("{line} --dry-run"), &FEW);
            let said = String::from_utf8(dry.stderr).unwrap();
            assert!(
                said.contains("estimate: a step takes") && said.contains("this was a dry run"),
                "{line}: {said}"
            );
            assert!(rehearsed > 0 || !folder.join("runs/mnli").exists(), "a rehearsal leaves nothing");
            rehearsed += 1;
        }
        let more = if line.contains(" submit ") {
            // The site takes whole test sets, and of these files a few rows were predicted.
            for (name, rows) in [("MNLI-m", 9796), ("MNLI-mm", 9847), ("AX", 1104)] {
                let rows: String = (0..rows).map(|n| format!("{n}\tneutral\n")).collect();
                write(&folder, &format!("predictions/{name}.tsv"), &format!("index\tprediction\n{rows}"));
            }
            " --incomplete" // one task is no submission
        } else {
            ""
        };
        let steps = line.contains(" finetune ").then_some(("TRAINING_STEPS", "2"));
        let few = if line.contains(" finetune ") { &FEW[..] } else { &[] };
        typed(&folder, &format!("{line}{more}"), &few.iter().copied().chain(steps).collect::<Vec<_>>());
        ran += 1;
    }
    assert!(rehearsed >= 6 && ran >= rehearsed + 9, "{rehearsed} of {ran} commands");
    for made in ["runs/mnli/model/README.md", "submission.zip", "albert-base-v2/model.safetensors"] {
        assert!(folder.join(made).is_file(), "{made}");
    }
}
