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

/// The program, which finds the emulated GPU and keeps its kernels in `folder`; `None` where tests can have none. For a real GPU kernels
/// are compiled once for all.
fn program(folder: &Path) -> Option<Command> {
    let mut command = albert();
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !setup::real() {
        if !setup::available() {
            return None;
        }
        let setup::Installation { gpu, nvrtc } = setup::install().expect("it is there");
        command.env("LD_LIBRARY_PATH", format!("{}:{}", gpu.display(), nvrtc.display()));
        command.env("XDG_CACHE_HOME", folder.join("cache"));
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
    let mut command = program(folder)?;
    command
        .args(["pretrain", "--train"])
        .arg(folder.join("text.txt"))
        .arg("--out")
        .arg(folder.join(run))
        .args(flags.split_whitespace());
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

/// Until a checkpoint of step 4 is there, and no longer.
fn kill_in_the_middle(folder: &Path, run: &str, mut command: Command) {
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program starts");
    let checkpoint = folder.join(run).join("checkpoints/step-00000004");
    while !checkpoint.exists() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // It may have ended by itself on a machine that is quick enough.
    let _ = child.kill();
    child.wait().expect("a child");
}

/// In f32 with nothing found out by timing, in bf16 with products that are timed: there what the library proposes first is slow for the
/// sessions that begin, and not for the one that goes on, which would choose otherwise. The second time with blocks in another
/// order and work done as late as may be, and kernels read from the disk.
#[test]
fn a_run_that_is_killed_ends_with_the_bytes_of_one_that_was_left_alone() {
    for precision in ["f32", "bf16"] {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        // Of a real GPU it is not known which is fast.
        let is_timed = precision == "bf16" && !setup::real();
        let start = |run: &str, begins: bool| {
            let mut command = pretrain(folder, run)?;
            command.args(["--precision", precision]);
            match is_timed {
                true if begins => command.env("EMULATED_GPU_BLAS", "slow-first"),
                true => &mut command,
                false => command.arg("--deterministic"),
            };
            Some(command)
        };
        let Some(mut whole) = start("whole", true) else { return };
        ended(whole.output().expect("the program starts"), ExitCode::Done);
        let differently = |mut command: Command| {
            command.env("EMULATED_GPU_SEED", "1").env("EMULATED_GPU_STREAMS", "late");
            command
        };
        let begin = differently(start("killed", true).expect("as above"));
        kill_in_the_middle(folder, "killed", begin);
        let mut go_on = differently(start("killed", false).expect("as above"));
        ended(go_on.output().expect("the program starts"), ExitCode::Done);
        assert!(result(folder, "whole") == result(folder, "killed"), "another result in {precision}");
        let run = std::fs::read_to_string(folder.join("killed/run.json")).expect("run.json");
        for part in ["\"device\": \"cuda:0\"", precision, "\"cublaslt\": \"1", "\"nvrtc\": \"1"] {
            assert!(run.contains(part), "`{part}` is not in: {run}");
        }
        let metrics = std::fs::read_to_string(folder.join("whole/metrics.jsonl")).expect("metrics");
        let fills: Vec<f64> = metrics
            .lines()
            .filter_map(|line| {
                serde_json::from_str::<serde_json::Value>(line).expect("JSON")["fill"].as_f64()
            })
            .collect();
        // Lengths are multiples of 8, and a micro-batch has 16 tokens at least.
        assert!(!fills.is_empty() && fills.iter().all(|fill| (0.66..=1.0).contains(fill)), "{fills:?}");
        assert_eq!(folder.join("killed/products.json").exists(), is_timed);
        if is_timed {
            let [products, again] = ["whole", "killed"].map(|run| {
                std::fs::read_to_string(folder.join(run).join("products.json")).expect("products")
            });
            assert!(products.contains("\"place\": 1") && again.contains("\"place\": 1"), "{again}");
            what_was_chosen_elsewhere_is_refused(folder, &start("killed", false).expect("as above"));
        }
    }
}

/// What a run found out by timing means nothing to another version of the library; without it, the run goes on.
fn what_was_chosen_elsewhere_is_refused(folder: &Path, command: &Command) {
    let go_on = || {
        let mut again = Command::new(command.get_program());
        again.args(command.get_args());
        again.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        again.output().expect("the program starts")
    };
    let file = folder.join("killed/products.json");
    let products = std::fs::read_to_string(&file).expect("products");
    let before = result(folder, "killed");
    for (written, code, parts) in [
        (
            products.replace("13.0.2", "12.9.1"),
            ExitCode::Device,
            ["cuBLASLt 12.9.1; here", "cuBLASLt 13.0.2"],
        ),
        (products.replace("sm_90", "sm_80"), ExitCode::Device, ["(sm_80)", "--deterministic"]),
        (products[..products.len() / 2].to_owned(), ExitCode::Checkpoint, ["is damaged", "remove this file"]),
    ] {
        std::fs::write(&file, written).expect("the file can be written");
        let text = ended(go_on(), code);
        for part in parts.into_iter().chain(["products.json", "remove"]) {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
    std::fs::remove_file(&file).expect("it is there");
    let text = ended(go_on(), ExitCode::Done);
    assert!(text.contains("note: there is no products.json any more"), "{text}");
    assert!(result(folder, "killed") == before && !file.exists());
}

/// Two runs that are to be deterministic are the same, whatever is fast; and nobody asks how long something took.
#[test]
fn a_deterministic_run_times_nothing() {
    if setup::real() {
        return; // it does not tell which calls are made
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let run = |name: &str, arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = pretrain(folder, name)?;
        command.args(["--steps", "2", "--warmup-steps", "1"]).args(arguments).envs(variables.iter().copied());
        let text = ended(command.output().expect("the program starts"), ExitCode::Done);
        let weights = std::fs::read(folder.join(name).join("model/model.safetensors")).expect("a model");
        Some((weights, text.contains("cuEventElapsedTime"), folder.join(name).join("products.json").exists()))
    };
    let trace = [("EMULATED_GPU_TRACE", "1")];
    let Some((weights, is_timed, is_kept)) = run("one", &["--deterministic"], &trace) else { return };
    assert!(!is_timed && !is_kept);
    let slow_first = [("EMULATED_GPU_BLAS", "slow-first")];
    let (again, ..) = run("two", &["--deterministic"], &slow_first).expect("as above");
    assert!(weights == again, "another result");
    let (timed, is_timed, is_kept) = run("timed", &[], &[trace[0], slow_first[0]]).expect("as above");
    assert!(is_timed && is_kept && timed != weights, "products are added up in another order");
}

/// Once, in what is printed, and where a run is looked at later.
#[test]
fn what_is_slower_than_it_could_be_is_noted() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut command) = pretrain(folder.path(), "run") else { return };
    if setup::real() {
        return; // its library refuses what it refuses
    }
    command.args(["--steps", "1", "--warmup-steps", "1"]).env("EMULATED_GPU_BLAS", "no-epilogues");
    let text = ended(command.output().expect("the program starts"), ExitCode::Done);
    let note = "slower than it could be: cuBLASLt has no algorithm for a product of";
    assert_eq!(text.matches(note).count(), 1, "{text}");
    let mut show = Command::new(env!("CARGO_BIN_EXE_albert-train"));
    let text = ended(
        show.args(["runs", "show"]).arg(folder.path().join("run")).output().expect("it starts"),
        ExitCode::Done,
    );
    assert!(text.contains(note) && text.contains("with a bias"), "{text}");
}

/// A device that is lost in the middle, one without memory, drivers that are too old for the program or for the compiler: each says so,
/// and the run ends as if nothing had been.
#[test]
fn whatever_a_gpu_refuses_the_last_checkpoint_is_intact() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if setup::real() {
        return; // it refuses nothing
    }
    let session = |run: &str, variables: &[(&str, &str)], code: ExitCode| {
        let mut command = pretrain(folder, run)?;
        command.arg("--deterministic").envs(variables.iter().copied());
        Some(ended(command.output().expect("the program starts"), code))
    };
    let Some(_) = session("whole", &[], ExitCode::Done) else { return };
    let checkpoint = folder.join("run/checkpoints/step-00000004");
    let lost = checkpoint.to_string_lossy();
    for (variable, value, code, parts) in [
        (
            "EMULATED_GPU_LOST_WHEN",
            &*lost,
            ExitCode::Device,
            ["CUDA_ERROR_LAUNCH_FAILED", "since the last checkpoint is lost"],
        ),
        ("EMULATED_GPU_MEMORY", "16", ExitCode::Memory, ["has no 32 MiB of memory left", "nvidia-smi"]),
        (
            "EMULATED_GPU_DRIVER",
            "11.8",
            ExitCode::Device,
            ["too old: it is of CUDA 11.8", "install a newer driver"],
        ),
        (
            "EMULATED_GPU_DRIVER",
            "12.4",
            ExitCode::Device,
            ["NVRTC is not found in a version that fits", "newer than the driver's CUDA 12.4"],
        ),
    ] {
        let text = session("run", &[(variable, value)], code).expect("as above");
        for part in parts {
            assert!(text.contains(part), "{variable}={value}: `{part}` is not in: {text}");
        }
        assert!(checkpoint.exists(), "{variable}={value}: the last checkpoint is gone");
    }
    let text = session("run", &[], ExitCode::Done).expect("as above");
    assert!(text.contains("continuing from step 4"), "{text}");
    assert!(result(folder, "whole") == result(folder, "run"), "another result");
}

/// Memory that others have taken since the run began: runs that are recorded do without, kernels that were not called before, those of
/// the first evaluation, do not.
#[test]
fn memory_that_is_gone_in_the_middle_is_an_error_and_the_last_checkpoint_is_intact() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if setup::real() {
        return; // it has what it has
    }
    let session = |run: &str, variables: &[(&str, &str)], code: ExitCode| {
        let mut command = pretrain(folder, run)?;
        command.arg("--deterministic").envs(variables.iter().copied());
        Some(ended(command.output().expect("the program starts"), code))
    };
    let Some(_) = session("whole", &[], ExitCode::Done) else { return };
    let [last, next] = [2, 4].map(|step| folder.join(format!("run/checkpoints/step-{step:08}")));
    let full = last.to_string_lossy();
    let text = session("run", &[("EMULATED_GPU_FULL_WHEN", &*full)], ExitCode::Memory).expect("as above");
    for part in [
        "out of memory: the GPU has none for the kernels of",
        "0 of its",
        "since the last checkpoint is lost",
        "help: free memory of the GPU",
        "goes on from the last checkpoint",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(last.exists() && !next.exists(), "{text}");
    let text = session("run", &[], ExitCode::Done).expect("as above");
    assert!(text.contains("continuing from step 2"), "{text}");
    assert!(result(folder, "whole") == result(folder, "run"), "another result");
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
        let Some(mut command) = program(folder.path()) else { return };
        command.arg("bench").args(what).args(small);
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

/// NVRTC compiles on a thread that is left where it is; one of some six such ends was a crash, for NVRTC was taken from under it. Once in
/// a while NVRTC itself has the signal, and would end the process in a way of its own.
#[test]
fn whoever_is_asked_to_end_while_kernels_compile_ends_as_asked() {
    for moment in (2..18).map(|tenths| Duration::from_millis(100 * tenths)) {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(mut command) = program(folder.path()) else { return };
        let step = "bench step --device cuda --preset micro --seq 16 --batch 2 --steps 1";
        command.args(step.split(' ')).env("EMULATED_GPU_CACHE", "off");
        let child = command.spawn().expect("the program starts");
        std::thread::sleep(moment);
        let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
        let output = child.wait_with_output().expect("it ends");
        let code = output.status.code();
        // It may be done by then, or so young that the signal ends it as any other program.
        let is_young = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(15);
        assert!(is_young || matches!(code, Some(0 | 75)), "after {moment:?}: {output:?}");
    }
}

fn doctor(folder: &Path, arguments: &[&str]) -> Option<Command> {
    let mut command = program(folder)?;
    command.arg("doctor").arg(folder).args(arguments);
    Some(command)
}

#[test]
fn doctor_finds_the_gpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut command) = doctor(folder.path(), &["--strict"]) else { return };
    let text = ended(command.output().expect("the program starts"), ExitCode::Done);
    for part in [
        "GPU driver",
        "cuda:0, ",
        "NVRTC 1",
        "cuBLASLt 1",
        "a kernel and a product of cuBLASLt's in bf16 give the right numbers",
        "free on cuda:0",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("missing"), "{text}");
}

/// Each red line says what to do: which packages, for the CUDA version of the driver.
#[test]
fn doctor_names_the_libraries_that_a_driver_wants() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut command) = doctor(folder.path(), &[]) else { return };
    if setup::real() {
        return; // its libraries are what they are
    }
    let setup::Installation { gpu, .. } = setup::install().expect("it is there");
    let alone = folder.path().join("driver");
    std::fs::create_dir(&alone).expect("the folder can be written");
    std::os::unix::fs::symlink(gpu.join("libcuda.so"), alone.join("libcuda.so")).expect("a link");
    command.env("LD_LIBRARY_PATH", &alone);
    let text = ended(command.output().expect("the program starts"), ExitCode::Done);
    for part in [
        "ok      GPU driver   ",
        "missing GPU library   NVRTC is not found: install CUDA's libraries of version 13",
        "pip install 'nvidia-cuda-nvrtc==13.*'`",
        "missing GPU library   cuBLASLt is not found",
        "pip install 'nvidia-cublas==13.*'`",
        "LD_LIBRARY_PATH",
        "ok      GPU           cuda:0",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("GPU computes"), "without libraries it is not tried: {text}");
}

/// Where steps are not repeated as one call, a run is slower and no other; it is told once, in the run's journal too. What changes how
/// libraries compute is told, and that little memory is left.
#[test]
fn a_run_without_recordings_is_the_same_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    if setup::real() {
        return; // it has room
    }
    let session = |run: &str, variables: &[(&str, &str)]| {
        let mut command = pretrain(folder, run)?;
        command.arg("--deterministic").envs(variables.iter().copied());
        Some(ended(command.output().expect("the program starts"), ExitCode::Done))
    };
    let Some(text) = session("whole", &[]) else { return };
    for part in ["slower than it could be", "in the environment", "note: only"] {
        assert!(!text.contains(part), "`{part}` is in: {text}");
    }
    let text =
        session("called", &[("EMULATED_GPU_GRAPHS", "0"), ("NVIDIA_TF32_OVERRIDE", "1")]).expect("as above");
    let note = "slower than it could be: calls of a step are made one by one";
    assert_eq!(
        (text.matches(note).count(), text.matches("NVIDIA_TF32_OVERRIDE in the").count()),
        (1, 1),
        "{text}"
    );
    assert!(result(folder, "whole") == result(folder, "called"), "another result");
    let metrics = std::fs::read_to_string(folder.join("called/metrics.jsonl")).expect("metrics");
    assert!(metrics.contains(note), "{metrics}");
    let text = session("small", &[("EMULATED_GPU_MEMORY", "256")]).expect("as above");
    assert_eq!(text.matches("note: only 2").count(), 1, "{text}");
}
