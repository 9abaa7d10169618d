//! A run whose process is killed before any call that changes a file, or whose system refuses any call, ends after the
//! same command was given again as one that was left alone: the last checkpoint, the best, and the model.
//!
//! The calls are counted, and made to fail, by a small library that is loaded before the C library (`support/faults.c`);
//! the C compiler that links Rust programs builds it. What a loss of power may do to a run is shown where the disk is
//! simulated, in `train/src/run/checkpoint/tests.rs`.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use train::stories::{Split, story};

/// The best checkpoint is of step 2 or earlier, and older than those that are kept at the end.
const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 16 --num-attention-heads 2 \
    --num-hidden-layers 1 --max-seq-length 32 --max-position-embeddings 32 --batch 4 --eval-sequences 8 \
    --held-out-every 4 --threads 1 --steps 5 --save-every 1 --eval-every 2 --keep 2";

/// Nothing in these tests takes a tenth of this on a busy machine.
const HANGS: Duration = Duration::from_secs(120);

/// What the system does to the calls of a process.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Kills it before the call of this number.
    Kill(usize),
    /// Refuses the call of this number.
    Once(usize, i32),
    /// Refuses it and all that follow.
    From(usize, i32),
    /// Starts this many threads and no more.
    Threads(usize),
    /// Gives no random numbers.
    Random,
}

struct Scene {
    folder: tempfile::TempDir,
}

/// How a run ended, and what it said.
struct Ended {
    status: ExitStatus,
    told: String,
}

impl Scene {
    fn new() -> Self {
        let scene = Scene { folder: tempfile::tempdir().unwrap() };
        let text: String = (0..24).map(|i| story(1, Split::Training, i).join("\n") + "\n\n").collect();
        fs::write(scene.path("text.txt"), text).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/faults.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&scene.path("faults.so"), &source])
            .arg("-ldl")
            .output()
            .expect("cc links every Rust program");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let prepared = Command::new(env!("CARGO_BIN_EXE_albert-train"))
            .args(["prepare", "--vocab-size", "200", "--input"])
            .args([scene.path("text.txt"), "--out".into(), scene.path("prepared")])
            .output()
            .unwrap();
        assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The run `name`, begun or continued.
    fn run(&self, name: &str, fault: Fault, log: Option<&Path>) -> Ended {
        let errors = self.path("stderr");
        let mut command = Command::new(env!("CARGO_BIN_EXE_albert-train"));
        command
            .arg("pretrain")
            .args([Path::new("--train"), &self.path("prepared"), Path::new("--out"), &self.path(name)])
            .args(SIZES.split_whitespace())
            .env("LD_PRELOAD", self.path("faults.so"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).unwrap());
        let faults: &[(&str, usize)] = match fault {
            Fault::None => &[],
            Fault::Kill(at) => &[("AT", at)],
            Fault::Once(at, error) => &[("AT", at), ("ERRNO", error as usize)],
            Fault::From(at, error) => &[("AT", at), ("ERRNO", error as usize), ("COUNT", 1 << 40)],
            Fault::Threads(most) => &[("THREADS", most)],
            Fault::Random => &[("RANDOM", 1)],
        };
        command.envs(faults.iter().map(|(name, value)| (format!("FAULT_{name}"), value.to_string())));
        command.envs(log.map(|path| ("FAULT_LOG", path)));
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + HANGS;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    panic!("{fault:?}: hangs");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Ended { status, told: fs::read_to_string(errors).unwrap() }
    }

    /// The calls of a run from its second checkpoint on: names, each with its number in a session that begins there.
    /// `base` is left as the run was then.
    fn calls_of_the_end(&self) -> Vec<String> {
        let log = self.path("calls");
        self.run("base", Fault::None, Some(&log)).succeeds();
        let calls = fs::read_to_string(&log).unwrap();
        let renames = calls.lines().enumerate().filter(|(_, name)| *name == "rename").map(|(at, _)| at + 1);
        // The first moment at which two checkpoints are there.
        for at in renames {
            let _ = fs::remove_dir_all(self.path("base"));
            self.run("base", Fault::Kill(at), None);
            if self.path("base/checkpoints/step-00000001").exists() {
                fs::remove_file(&log).unwrap();
                self.copy("base", "whole");
                self.run("whole", Fault::None, Some(&log)).succeeds();
                return fs::read_to_string(&log).unwrap().lines().map(Into::into).collect();
            }
        }
        panic!("no second checkpoint");
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        let copied = Command::new("cp").arg("-r").args([self.path(from), self.path(to)]).status().unwrap();
        assert!(copied.success());
    }

    /// Every file of a run, but for those that tell of times and processes, and its content.
    fn content(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let (root, mut found, mut folders) = (self.path(name), BTreeMap::new(), vec![self.path(name)]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&root).unwrap().to_owned();
                let is_told =
                    [".lock", "run.json", "train.log", "metrics.jsonl", "config.toml", "report.html"];
                match path.is_dir() {
                    true => folders.push(path),
                    false if name.to_string_lossy().starts_with("events.out.tfevents.") => {}
                    false if is_told.iter().any(|told| name == Path::new(told)) => {}
                    false => drop(found.insert(name, fs::read(path).unwrap())),
                }
            }
        }
        found
    }
}

impl Ended {
    #[track_caller]
    fn succeeds(&self) {
        assert!(self.status.success(), "{}: {}", self.status, self.told);
    }
}

/// The names of files that are not the same in both.
fn differences(one: &BTreeMap<PathBuf, Vec<u8>>, other: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    let names: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(|&name| one.get(name) != other.get(name)).cloned().collect()
}

#[test]
fn killed_before_any_change_of_a_file_a_run_ends_as_one_left_alone() {
    let scene = Scene::new();
    let calls = scene.calls_of_the_end();
    let expected = scene.content("whole");
    let best = String::from_utf8(expected[Path::new("best")].clone()).unwrap();
    assert!(["step-00000002\n", "step-00000000\n"].contains(&&*best), "{best}: the test needs an old best");
    let changes = ["open", "write", "rename", "unlink", "mkdir", "rmdir", "fsync", "ftruncate64"];
    let points = calls.iter().enumerate().filter(|(_, name)| changes.contains(&name.as_str()));
    // Every call by which names change. Of those that only fill files, every third: they follow each other in files that
    // nobody reads yet.
    let points: Vec<usize> = points
        .filter(|(at, name)| !["open", "write", "fsync"].contains(&name.as_str()) || at % 3 == 0)
        .map(|(at, _)| at + 1)
        .collect();
    assert!(points.len() > 60, "{} calls", points.len());
    for at in points {
        scene.copy("base", "killed");
        let killed = scene.run("killed", Fault::Kill(at), None);
        assert_eq!(killed.status.signal(), Some(9), "call {at}: {}", killed.told);
        let again = scene.run("killed", Fault::None, None);
        assert!(again.status.success(), "killed before {} {at}: {}", calls[at - 1], again.told);
        let unlike = differences(&expected, &scene.content("killed"));
        assert!(unlike.is_empty(), "killed before {} {at}: {unlike:?}", calls[at - 1]);
    }
}

#[test]
fn refused_any_call_a_run_says_so_and_can_be_continued() {
    const ERRORS: [i32; 9] = [
        libc::ENOSPC,
        libc::EIO,
        libc::EACCES,
        libc::EROFS,
        libc::ENOMEM,
        libc::EMFILE,
        libc::EDQUOT,
        libc::ESTALE,
        libc::EINTR,
    ];
    let scene = Scene::new();
    let calls = scene.calls_of_the_end();
    let expected = scene.content("whole");
    for (case, at) in (1..=calls.len()).step_by(calls.len() / 70).enumerate() {
        let error = ERRORS[case % ERRORS.len()];
        // Interrupted for ever no program gets on.
        let fault = match case % 2 == 0 && error != libc::EINTR {
            true => Fault::From(at, error),
            false => Fault::Once(at, error),
        };
        let context = format!("{} number {at}, {fault:?}", calls[at - 1]);
        scene.copy("base", "refused");
        let refused = scene.run("refused", fault, None);
        assert!(!refused.told.contains("panicked"), "{context}: {}", refused.told);
        assert!(
            matches!(refused.status.code(), Some(0 | 2 | 3 | 4 | 5 | 6 | 8)),
            "{context}: {}: {}",
            refused.status,
            refused.told
        );
        // Where every write fails nothing can be told.
        let is_mute = matches!(fault, Fault::From(..));
        assert!(refused.status.success() || is_mute || refused.told.contains("error"), "{context}");
        let again = scene.run("refused", Fault::None, None);
        assert!(again.status.success(), "{context}: then {}", again.told);
        let unlike: Vec<_> = differences(&expected, &scene.content("refused"))
            .into_iter()
            // A checkpoint that could not be read is kept, with the reason, beside the one made anew.
            .filter(|name| !name.starts_with("quarantine"))
            .collect();
        assert!(unlike.is_empty(), "{context}: {}: {unlike:?}", refused.told);
    }
}

/// A limit of processes: told, and never waited with for ever.
#[test]
fn without_threads_a_run_ends_with_a_word() {
    let scene = Scene::new();
    let mut started = 0;
    for most in 0.. {
        let ended = scene.run(&format!("threads-{most}"), Fault::Threads(most), None);
        assert!(!ended.told.contains("panicked"), "{most} threads: {}", ended.told);
        if ended.status.success() {
            break;
        }
        assert_eq!(ended.status.code(), Some(6), "{most} threads: {}", ended.told);
        assert!(ended.told.contains("cannot start"), "{most} threads: {}", ended.told);
        started += 1;
    }
    assert!(started >= 3, "of the pool, the watch and the batches at least one each: {started}");
}

/// A filter of system calls that forbids them: told, and no panic.
#[test]
fn without_random_numbers_a_run_ends_with_a_word() {
    let ended = Scene::new().run("run", Fault::Random, None);
    assert_eq!(ended.status.code(), Some(4), "{}", ended.told);
    assert!(ended.told.starts_with("error: the system gives no random numbers"), "{}", ended.told);
}
