//! Memory: as much as was said, and where there is too little, an error.
#![cfg(target_os = "linux")]

#[path = "support/peak_memory.rs"]
mod peak_memory;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use peak_memory::peak_memory;
use train::finetuning::{Example, Feature, Sequence};
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

/// What a command says, and the most memory that it takes, in bytes.
fn said_and_taken(command: &mut Command) -> (String, f64) {
    let process = command.spawn().expect("the program starts");
    let mut most: f64 = 0.0;
    while let Some(peak) = peak_memory(&process.id().to_string()).map(|peak| peak as f64) {
        most = most.max(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = process.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    (said, most)
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
        let (said, most) = said_and_taken(&mut command);
        let (_, rest) = said.split_once(" for activations, ").unwrap_or_else(|| panic!("{said}"));
        let estimate: f64 = rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        assert!(rest.split_once(" in all").is_some_and(|(number, _)| number.ends_with(" MB")), "{said}");
        let ratio = estimate * 1e6 / most;
        assert!((ratio - 1.0).abs() <= ALLOWED, "said {estimate} MB, took {:.1} MB", most / 1e6);
    }
}

/// An example to learn from takes its text, its token ids and a known number of bytes, whatever sequences could hold.
#[test]
fn an_example_takes_the_memory_of_its_text_and_tokens() {
    const FEW: usize = 2_000;
    const MANY: usize = 42_000;
    let folder = tempfile::tempdir().expect("a folder");
    let output = run_of_base(folder.path(), "").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dev = "text\tpair\tlabel\nthe cat slept\tit slept\tyes\nthe dog ran\tit slept\tno\n";
    std::fs::write(folder.path().join("dev.tsv"), dev).expect("written");
    let row = |index: usize| {
        let (name, label) = (["anna", "ben"][index % 2], ["no", "yes"][index / 2 % 2]);
        format!("{name} went to the river in the morning\tit was {name} who went there\t{label}\n")
    };
    let take = |rows: usize| {
        let table: String = (0..rows).map(row).collect();
        std::fs::write(folder.path().join("train.tsv"), format!("text\tpair\tlabel\n{table}"))
            .expect("written");
        let flags = "finetune table --pair pair --model run --data . --out tuned --threads 2 --micro-tokens 256 --dry-run";
        let mut command = Command::new(env!("CARGO_BIN_EXE_albert-train"));
        command.current_dir(folder.path()).args(flags.split_whitespace());
        let (said, most) = said_and_taken(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        let (tokens, _) = said.split_once(" tokens on average").unwrap_or_else(|| panic!("{said}"));
        let tokens: f64 = tokens.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        (tokens, most)
    };
    let (_, least) = take(FEW);
    let (tokens, most) = take(MANY);
    // Reading: a list that grows has room for twice its examples; its number, two texts. Encoding: a list for each part and one of
    // all; the list of its sequences; two lists of ids with their counts of owners. What is allocated takes two words more, and
    // up to two to be a multiple of them.
    let word = size_of::<usize>();
    let allocated = |bytes: f64| bytes + 4.0 * word as f64;
    let text = (row(0).len() + MANY.to_string().len()) as f64 + 3.0 * allocated(0.0);
    let read = 2.0 * size_of::<Example>() as f64 + text;
    let ids = tokens * size_of::<u32>() as f64 + 2.0 * allocated(2.0 * word as f64);
    let encoded = 2.0 * size_of::<Feature>() as f64 + allocated(size_of::<Sequence>() as f64) + ids;
    let bound = read + encoded;
    let each = (most - least) / (MANY - FEW) as f64;
    assert!(each > 0.0 && each <= bound, "{each:.0} bytes an example, {bound:.0} at most");
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
