//! The program on a GPU, emulated unless a real one is asked for, and where there is none.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use emulated_gpu::setup;
use train::exit::ExitCode;
use train::stories::{Split, story};

const STEPS: u64 = 9;

/// The program, where it is now: a test may run elsewhere than it was built.
fn albert() -> Command {
    let built = || env!("CARGO_BIN_EXE_albert-train").into();
    Command::new(std::env::var_os("CARGO_BIN_EXE_albert-train").unwrap_or_else(built))
}

/// The program, which finds the emulated GPU; `None` where tests can have none.
fn program() -> Option<Command> {
    let mut command = albert();
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !setup::real() {
        if !setup::available() {
            return None;
        }
        let setup::Installation { gpu, nvrtc } = setup::install().expect("it is there");
        command.env("LD_LIBRARY_PATH", format!("{}:{}", gpu.display(), nvrtc.display()));
    }
    Some(command)
}

/// Pre-training of a tiny model on stories in `folder`: two micro-batches a step, a checkpoint every second step, dropout.
fn pretrain(folder: &Path, run: &str) -> Option<Command> {
    let text: String = (0..12).map(|i| story(1, Split::Training, i).join("\n") + "\n\n").collect();
    std::fs::write(folder.join("text.txt"), text).expect("the folder can be written");
    let flags = format!(
        "--vocab-size 120 --embedding-size 8 --hidden-size 16 --num-hidden-layers 2 --num-attention-heads 2 \
         --intermediate-size 24 --max-position-embeddings 32 --max-seq-length 24 --hidden-dropout-prob 0.1 \
         --attention-probs-dropout-prob 0.1 --steps {STEPS} --batch 4 --micro-batch 2 --learning-rate 1e-2 \
         --warmup-steps 3 --eval-every 4 --eval-sequences 4 --save-every 2 --keep 2 --held-out-every 6 --device cuda"
    );
    let mut command = program()?;
    command
        .args(["pretrain", "--train"])
        .arg(folder.join("text.txt"))
        .arg("--out")
        .arg(folder.join(run))
        .args(flags.split_whitespace())
        .env("XDG_CACHE_HOME", folder.join("cache"));
    Some(command)
}

/// Standard output and error of a program that ended with `code`.
#[track_caller]
fn ended(output: Output, code: ExitCode) -> String {
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert_eq!(output.status.code(), Some(code.code().into()), "{text}");
    text
}

/// Weights, moments and state of the last checkpoint.
fn result(folder: &Path, run: &str) -> [Vec<u8>; 3] {
    let checkpoint = folder.join(run).join(format!("checkpoints/step-{STEPS:08}"));
    ["model.safetensors", "optimizer.safetensors", "state.json"].map(|file| {
        std::fs::read(checkpoint.join(file)).unwrap_or_else(|error| panic!("{run}: {file}: {error}"))
    })
}

/// In both precisions; the second time with blocks in another order and work done as late as may be, and kernels read from the
/// disk.
#[test]
fn a_run_that_is_killed_ends_with_the_bytes_of_one_that_was_left_alone() {
    for precision in ["f32", "bf16"] {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let start = |run: &str| {
            let mut command = pretrain(folder, run)?;
            command.args(["--precision", precision]);
            Some(command)
        };
        let Some(mut whole) = start("whole") else { return };
        ended(whole.output().expect("the program starts"), ExitCode::Done);
        let begin = || {
            let mut command = start("killed").expect("as above");
            command.env("EMULATED_GPU_SEED", "1").env("EMULATED_GPU_STREAMS", "late");
            command
        };
        let mut child =
            begin().stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program starts");
        let checkpoint = folder.join("killed/checkpoints/step-00000004");
        while !checkpoint.exists() && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // It may have ended by itself on a machine that is quick enough.
        let _ = child.kill();
        child.wait().expect("a child");
        ended(begin().output().expect("the program starts"), ExitCode::Done);
        assert!(result(folder, "whole") == result(folder, "killed"), "another result in {precision}");
        let run = std::fs::read_to_string(folder.join("killed/run.json")).expect("run.json");
        assert!(run.contains("\"device\": \"cuda:0\"") && run.contains(precision), "{run}");
    }
}

#[test]
fn memory_that_a_gpu_has_not_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut command) = pretrain(folder.path(), "run") else { return };
    if setup::real() {
        return; // its memory is what it is
    }
    command.args(["--hidden-size", "512", "--intermediate-size", "4096"]).env("EMULATED_GPU_MEMORY", "48");
    let text = ended(command.output().expect("the program starts"), ExitCode::Memory);
    assert!(text.contains("are free") && text.contains("help: "), "{text}");
}

/// `CUDA_VISIBLE_DEVICES` hides the GPU of a machine that has one.
#[test]
fn without_a_gpu_one_that_is_asked_for_is_an_error_and_nothing_else_needs_it() {
    let albert = |arguments: &[&str]| {
        let mut command = albert();
        command.args(arguments).env("CUDA_VISIBLE_DEVICES", "").env_remove("LD_LIBRARY_PATH");
        command.output().expect("the program starts")
    };
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run").display().to_string();
    let text = ended(albert(&["pretrain", "--device", "cuda:1", "--out", &run]), ExitCode::Device);
    for part in ["cuda:1 cannot be used", "NVIDIA driver", "--device cpu", "doctor"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!folder.path().join("run").exists(), "a run that cannot begin leaves nothing");
    let directory = folder.path().display().to_string();
    let text = ended(albert(&["doctor", &directory]), ExitCode::Done);
    for part in ["processor", "missing GPU", "NVIDIA driver", "runs can be written and locked"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    ended(albert(&["doctor", "--strict", &directory]), ExitCode::Device);
}

/// A step, its products and its other kernels are timed there, beside limits that are measured there.
#[test]
fn speeds_are_measured_beside_the_limits_of_the_gpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = ["--preset", "micro", "--seq", "8", "--device", "cuda", "--json"];
    for what in [
        &["gemm", "qkv/forward", "--tokens", "16"][..],
        &["kernels", "layer_norm_backward", "--tokens", "16"],
        &["step", "--batch", "1", "--steps", "1"],
    ] {
        let Some(mut command) = program() else { return };
        command.arg("bench").args(what).args(small).env("XDG_CACHE_HOME", folder.path().join("cache"));
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{what:?}: {}", String::from_utf8_lossy(&output.stderr));
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        for figure in ["peak_flops_per_second", "copy_bytes_per_second"] {
            assert!(
                object[figure].as_f64().is_some_and(|figure| figure > 0.0),
                "{what:?}, {figure}: {object}"
            );
        }
        let seconds =
            if what[0] == "step" { &object["seconds_per_step"] } else { &object["kernels"][0]["seconds"] };
        assert!(seconds.as_f64().is_some_and(|seconds| seconds > 0.0), "{what:?}: {object}");
        assert_eq!((object["device"].as_str(), object["precision"].as_str()), (Some("cuda:0"), Some("bf16")));
    }
}

#[test]
fn doctor_finds_the_gpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut command) = program() else { return };
    command
        .arg("doctor")
        .arg(folder.path())
        .arg("--strict")
        .env("XDG_CACHE_HOME", folder.path().join("cache"));
    let text = ended(command.output().expect("the program starts"), ExitCode::Done);
    for part in ["GPU driver", "cuda:0", "NVRTC and cuBLASLt", "free on cuda:0"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}
