//! A run that is stopped or killed, again and again, ends with the bytes of one that was left alone.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kernels::random::{Philox, below};
use train::stories::{Split, story};
use train::tokenizer::{Tokenizer, TrainOptions};

#[path = "support/recorded_samples.rs"]
#[expect(dead_code, reason = "how many there are is for those who are told")]
mod recorded_samples;

use recorded_samples::RecordedSamples;

const STEPS: u64 = 48;
/// Sessions that are ended by SIGKILL.
const KILLS: u32 = 50;
/// The same of a run in bf16, and of one on samples that were masked before.
const FEWER_KILLS: u32 = 10;
/// Sessions that are asked to end.
const INTERRUPTIONS: u32 = 10;

/// What of a run differs between the tests.
#[derive(Clone, Copy)]
struct Kind {
    precision: &'static str,
    /// What it learns from: text, or the reference's samples, cut and masked already.
    data: &'static str,
}

const TEXT: Kind =
    Kind { precision: "f32", data: "--train text.txt --vocab-size 200 --held-out-every 8 --frequency-bias" };
const BF16: Kind = Kind { precision: "bf16", ..TEXT };
const RECORDS: Kind =
    Kind { data: "--train samples.tfrecord --tokenizer tokenizer --held-out-every 4", ..TEXT };

fn program(folder: &Path, run: &str, kind: Kind) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_albert-train"));
    let samples = RecordedSamples::find();
    let (length, sizes) = match kind.data == RECORDS.data {
        true => {
            let masking = samples.masking(samples.predictions).join(" ");
            (samples.length, format!("--vocab-size {} {masking}", samples.vocabulary))
        }
        false => (32, String::new()),
    };
    // Batches of three micro-batches, a warm-up, several epochs, a checkpoint every third step, dropout.
    let flags = format!(
        "{} {sizes} --embedding-size 8 --hidden-size 16 --num-hidden-layers 2 --num-attention-heads 2 \
         --intermediate-size 24 --max-position-embeddings {length} --max-seq-length {length} --hidden-dropout-prob 0.1 \
         --attention-probs-dropout-prob 0.1 --steps {STEPS} --batch 6 --micro-batch 2 --learning-rate 1e-2 \
         --warmup-steps 9 --eval-every 16 --eval-sequences 8 --save-every 3 --keep 2 --threads 2 --precision {}",
        kind.data, kind.precision
    );
    command
        .current_dir(folder)
        .args(["pretrain", "--out", run])
        .args(flags.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Text, and samples.
fn data(folder: &Path) {
    let text: String = (0..24).map(|i| story(1, Split::Training, i).join("\n") + "\n\n").collect();
    std::fs::write(folder.join("text.txt"), &text).expect("the folder can be written");
    // Samples are ids already: of the tokenizer only its special pieces matter.
    let options = TrainOptions { vocabulary_size: 50, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(text.lines(), &options).expect("a vocabulary");
    tokenizer.save(&folder.join("tokenizer")).expect("the folder can be written");
    let samples = RecordedSamples::find().path;
    std::fs::copy(samples, folder.join("samples.tfrecord")).expect("the folder can be written");
}

/// Weights, moments and state of the last checkpoint.
fn result(folder: &Path, run: &str) -> [Vec<u8>; 3] {
    let checkpoint = folder.join(run).join(format!("checkpoints/step-{STEPS:08}"));
    ["model.safetensors", "optimizer.safetensors", "state.json"].map(|file| {
        std::fs::read(checkpoint.join(file)).unwrap_or_else(|error| panic!("{run}: {file}: {error}"))
    })
}

/// The result of a run that is left alone, and how long it takes on this machine.
fn uninterrupted(folder: &Path, kind: Kind) -> ([Vec<u8>; 3], Duration) {
    let start = Instant::now();
    let output = program(folder, "whole", kind).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (result(folder, "whole"), start.elapsed())
}

/// Sends `signal` to sessions at random moments of a whole run's duration, until `ended` has accepted `endings` of
/// them. Each run is continued until it finishes, and must then have the bytes of one that was left alone; a new one
/// follows.
fn sessions_ended_by(signal: &str, endings: u32, kind: Kind, ended: impl Fn(Option<i32>, &str) -> bool) {
    let folder = tempfile::tempdir().expect("a folder");
    data(folder.path());
    let (whole, duration) = uninterrupted(folder.path(), kind);
    let moments = Philox::new(50, 0);
    let (mut accepted, mut session) = (0, 0);
    for run in 1.. {
        let name = format!("run-{run}");
        loop {
            let child = program(folder.path(), &name, kind).spawn().expect("the program starts");
            let micros = u64::try_from(duration.as_micros()).expect("a short run");
            std::thread::sleep(Duration::from_micros(below(moments.word(0, session), micros)));
            session += 1;
            if accepted < endings {
                // Its status is of no interest: the process may have ended by itself.
                let _ = Command::new("kill")
                    .args([signal, &child.id().to_string()])
                    .stderr(Stdio::null())
                    .status();
            }
            let output = child.wait_with_output().expect("the program ends");
            if output.status.success() {
                break;
            }
            accepted += u32::from(ended(output.status.code(), &String::from_utf8_lossy(&output.stderr)));
        }
        assert!(result(folder.path(), &name) == whole, "{name} differs after {accepted} endings");
        if accepted >= endings {
            return;
        }
    }
}

#[cfg(unix)]
#[test]
fn killed_fifty_times_a_run_ends_with_the_same_bytes() {
    sessions_ended_by("-KILL", KILLS, TEXT, |code, message| {
        assert_eq!(code, None, "{message}");
        true
    });
}

#[cfg(unix)]
#[test]
fn killed_in_bf16_a_run_ends_with_the_same_bytes() {
    sessions_ended_by("-KILL", FEWER_KILLS, BF16, |code, message| {
        assert_eq!(code, None, "{message}");
        true
    });
}

#[cfg(unix)]
#[test]
fn killed_over_samples_that_were_masked_before_a_run_ends_with_the_same_bytes() {
    sessions_ended_by("-KILL", FEWER_KILLS, RECORDS, |code, message| {
        assert_eq!(code, None, "{message}");
        true
    });
}

#[cfg(unix)]
#[test]
fn interrupted_at_any_step_a_run_ends_with_the_same_bytes() {
    sessions_ended_by("-INT", INTERRUPTIONS, TEXT, |code, message| match code {
        Some(75) => {
            assert!(message.contains("run the same command again to continue"), "{message}");
            true
        }
        // Before the handlers are installed the signal ends the process, as everywhere.
        None => false,
        Some(code) => panic!("exit {code}: {message}"),
    });
}
