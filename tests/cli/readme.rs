//! The README's commands, as they stand there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{program, sentences};

/// The lines of the README's blocks of commands.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks.flat_map(str::lines).map(str::to_owned).collect()
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

/// Each command of the README in turn, in one folder with the files that they name. Steps are few; all else is as written.
#[cfg(unix)]
#[test]
fn every_command_works() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["books.txt", "wiki.txt", "held-out.txt"] {
        std::fs::write(folder.path().join(name), sentences()).unwrap();
    }
    let binary = PathBuf::from(program().get_program());
    let path = std::env::join_paths(
        std::iter::once(binary.parent().unwrap().to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .unwrap();
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
        let output = Command::new("sh")
            .args(["-ec", &line])
            .current_dir(folder.path())
            .env("PATH", &path)
            // A printed file is to be as a reader's: its warm-up follows from the steps that the README gives.
            .envs((!line.contains("--print-config")).then_some(("ALBERT_TRAIN_TRAINING_STEPS", "2")))
            .envs(SMALL.map(|(name, value)| (format!("ALBERT_TRAIN_{name}"), value)))
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        ran += 1;
    }
    assert!(ran >= 7, "{ran} commands");
    assert!(folder.path().join("runs/tiny/model/config.json").exists());
}
