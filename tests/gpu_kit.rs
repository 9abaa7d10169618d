//! The GPU kit (`benches/gpu-kit`) where programs fail, hang and are not there: what was found is kept, and the others are run. Scripts
//! stand for its programs.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a test program says of which one test has failed.
const FAILS: &str = r#"cat <<'END'
running 2 tests
test on_a_gpu::add ... FAILED
test on_a_gpu::gather ... ok

failures:

---- on_a_gpu::add stdout ----

thread 'on_a_gpu::add' panicked at case.rs:
add_forward on GPU 0: relative norm 3e-1 exceeds 1e-6

failures:
    on_a_gpu::add

test result: FAILED. 1 passed; 1 failed; 0 ignored
END
exit 101"#;

const HOLDS: &str = "echo 'probe: a thing: so'; echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";

/// Says something, and ends when the kit is removed.
const HANGS: &str = r#"echo begun; while [ -e "$(dirname "$0")/../kit.json" ]; do sleep 0.1; done"#;

/// A kit with these programs; `None` without Python.
fn kit(programs: &[(&str, &str)]) -> Option<tempfile::TempDir> {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no python3");
        return None;
    }
    let kit = tempfile::tempdir().expect("a folder");
    for script in ["run", "parts.py", "tables.py"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gpu-kit").join(script);
        fs::copy(source, kit.path().join(script)).expect("a script of the kit");
    }
    let about = r#"{"commit": "none", "profile": "test", "compiler": "none", "glibc": "2.0"}"#;
    fs::write(kit.path().join("kit.json"), about).expect("the folder can be written");
    let archive = fs::File::create(kit.path().join("programs.tar.gz")).expect("the folder can be written");
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(archive, flate2::Compression::fast()));
    for (name, script) in programs {
        let script = format!("#!/bin/sh\n{script}\n");
        let mut header = tar::Header::new_gnu();
        header.set_size(script.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, format!("programs/{name}"), script.as_bytes()).expect("an archive");
    }
    archive.into_inner().and_then(|packed| packed.finish()).expect("an archive");
    Some(kit)
}

fn run(kit: &Path, arguments: &[&str]) -> (Command, PathBuf) {
    let (mut command, out) = (Command::new("python3"), kit.join("out"));
    command.arg(kit.join("run")).arg("--out").arg(&out).args(arguments).stdin(Stdio::null());
    (command, out)
}

fn found(out: &Path) -> Value {
    let text = fs::read_to_string(out.join("results.json")).expect("results");
    serde_json::from_str::<Value>(&text).expect("JSON")["parts"].clone()
}

#[test]
fn whatever_a_part_comes_to_the_others_are_run() {
    let programs = [
        ("operations", FAILS),
        ("golden_models", HANGS),
        ("golden_heads", HOLDS),
        ("golden_trajectory", "echo 'no such library' >&2; exit 127"),
        ("rounded_lengths", HOLDS),
        ("gpu", HOLDS),
        ("fragments", HOLDS),
        (
            "albert-train",
            "[ $1 = doctor ] && echo 'ok      GPU computes  right' && exit 0; echo boom >&2; exit 3",
        ),
    ];
    let Some(kit) = kit(&programs) else { return };
    let begin = Instant::now();
    let (mut command, out) = run(kit.path(), &["--seconds", "20", "machine", "tests", "vectors", "training"]);
    let output = command.output().expect("the kit starts");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(begin.elapsed() < Duration::from_secs(60), "what hangs is given up");
    let parts = found(&out);
    let holds = ["machine", "tests", "vectors", "training"].map(|part| parts[part]["holds"].as_bool());
    assert_eq!(holds, [Some(true), Some(false), Some(false), Some(false)], "{parts}");
    let tests = parts["tests"]["tests"].as_array().expect("a list");
    let codes: Vec<_> = tests.iter().map(|test| test["code"].as_i64()).collect();
    assert_eq!(codes, [Some(101), None, Some(0), Some(127), Some(0), Some(0)], "{parts}");
    // Programs that the kit lacks.
    assert_eq!(parts["vectors"]["tests"][1]["code"], 127);
    assert_eq!(parts["training"]["failed"], "code 3: boom");
    let page = fs::read_to_string(out.join("results.md")).expect("a page");
    for part in
        ["add_forward on GPU 0: relative norm 3e-1 exceeds 1e-6", "once more", "no such library", "begun"]
    {
        assert!(page.contains(part), "`{part}` is not in: {page}");
    }
    let mut files: Vec<_> =
        fs::read_dir(&out).expect("a folder").map(|file| file.expect("a file").file_name()).collect();
    files.sort();
    assert_eq!(files, ["log.txt", "results.json", "results.md"]);
}

#[test]
fn a_call_that_is_cut_loses_nothing() {
    let Some(kit) = kit(&[("operations", HOLDS), ("golden_models", HANGS)]) else { return };
    let (mut command, out) = run(kit.path(), &["tests"]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("the kit starts");
    let log = || fs::read_to_string(out.join("log.txt")).unwrap_or_default();
    let begin = Instant::now();
    while !log().contains("begun") && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    assert!(log().contains("begun"), "{}", log());
    let parts = found(&out);
    let tests = &parts["tests"];
    assert_eq!((&tests["holds"], &tests["tests"][0]["passed"]), (&Value::Null, &Value::from(2)), "{parts}");
    assert_eq!(tests["answers"][0], "a thing: so");
    let page = fs::read_to_string(out.join("results.md")).expect("a page");
    assert!(page.contains("## tests — was cut"), "{page}");
}
