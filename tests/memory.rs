//! Memory: as much as was said, and where there is too little, an error.
#![cfg(target_os = "linux")]

#[path = "support/peak_memory.rs"]
mod peak_memory;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use peak_memory::peak_memory;
use train::stories::{Split, story};
use train::tokenizer::{Tokenizer, TrainOptions};

/// How far the estimate may be from the peak.
const ALLOWED: f64 = 0.1;

/// A run of a model with large layers, begun by `shell` with its command as arguments.
fn run_of_base(folder: &Path, shell: &str) -> Command {
    let text: String = (0..60).map(|i| story(1, Split::Training, i).join("\n") + "\n\n").collect();
    std::fs::write(folder.join("text.txt"), &text).expect("written");
    let options = TrainOptions { vocabulary_size: 200, ..TrainOptions::default() };
    let vocabulary = folder.join("vocabulary");
    if !vocabulary.exists() {
        Tokenizer::train(text.lines(), &options).expect("a vocabulary").save(&vocabulary).expect("saved");
    }
    let flags = "pretrain --train text.txt --tokenizer vocabulary --out run --preset base --num-hidden-layers 2 \
                 --max-seq-length 64 --batch 8 --micro-batch 8 --short-seq-prob 0 --steps 2 --eval-every 2 \
                 --eval-sequences 8 --held-out-every 4 --threads 2";
    let mut command = Command::new("sh");
    command
        .current_dir(folder)
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_albert-train")])
        .args(flags.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_run_takes_the_memory_that_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    // A fresh run, and one that loads a checkpoint of its only steps but makes more.
    for steps in ["", " --steps 4 --allow-schedule-change"] {
        let mut command = run_of_base(folder.path(), "");
        if !steps.is_empty() {
            command.args(steps.split_whitespace());
        }
        let process = command.spawn().expect("the program starts");
        let mut most: f64 = 0.0;
        while let Some(peak) = peak_memory(&process.id().to_string()).map(|peak| peak as f64) {
            most = most.max(peak);
            std::thread::sleep(Duration::from_millis(2));
        }
        let output = process.wait_with_output().expect("it ends");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{said}");
        let (_, rest) = said.split_once(" for activations, ").unwrap_or_else(|| panic!("{said}"));
        let estimate: f64 = rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        assert!(rest.split_once(" in all").is_some_and(|(number, _)| number.ends_with(" MB")), "{said}");
        let ratio = estimate * 1e6 / most;
        assert!((ratio - 1.0).abs() <= ALLOWED, "said {estimate} MB, took {:.1} MB", most / 1e6);
    }
}

#[test]
fn too_little_memory_is_an_error_with_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    // Kilobytes of address space: from hardly enough to start to hardly too few for the step.
    for limit in (30_000..60_000).step_by(3_000).chain([60_000, 120_000, 200_000]) {
        let output = run_of_base(folder.path(), &format!("ulimit -v {limit};")).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{limit} kB: {said}");
        assert!(said.contains("help: "), "{limit} kB: {said}");
        let mut of_many = run_of_base(folder.path(), &format!("ulimit -v {limit};"));
        let output = of_many.args(["--threads", "16"]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "16 threads in {limit} kB: {said}");
    }
}
