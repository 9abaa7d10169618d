//! Files and names that come from somebody else: links, pipes, control codes. Nothing outside a run is changed, nobody's
//! file is taken for ours, nothing commands the terminal, and a standard error that takes nothing ends no run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use train::exit::ExitCode;
use train::files::beside;
use train::run::directory::RunDirectory;

use crate::program::{Run, Scene, program, run, text};

const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 16 --num-hidden-layers 1 \
    --num-attention-heads 2 --max-seq-length 32 --max-position-embeddings 32 --batch 4 --eval-every 2 \
    --eval-sequences 8 --held-out-every 4 --threads 1 --save-every 1 --keep 2 --allow-schedule-change";

fn pretrain(scene: &Scene, out: &Path, steps: &str) -> Run {
    let (data, tokenizer) = (scene.arg("text.txt"), scene.arg("model"));
    let given =
        ["pretrain", "--train", &data, "--tokenizer", &tokenizer, "--out", text(out), "--steps", steps];
    run(&[&given[..], &SIZES.split_whitespace().collect::<Vec<_>>()].concat())
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

#[test]
fn nothing_is_written_or_deleted_through_a_link() {
    let scene = Scene::new();
    let whole = scene.path("whole");
    pretrain(&scene, &whole, "3").done();
    let (mine, thesis, out) = (scene.path("mine"), scene.path("mine/thesis.tex"), scene.path("run"));
    fs::create_dir(&mine).unwrap();
    fs::write(&thesis, "thirty pages").unwrap();
    let untouched = || {
        assert_eq!(fs::read_to_string(&thesis).unwrap(), "thirty pages");
        assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);
    };

    // Where a run writes on or in what is there, a link is refused, before anything is done.
    let files = [".lock", "train.log", "metrics.jsonl"];
    let folders = [
        "checkpoints",
        "model",
        "quarantine",
        "data",
        "data/tokenizer",
        "data/training",
        "data/training/tokenizer",
    ];
    for name in files.iter().chain(&folders) {
        copy(&whole, &out);
        let _ = fs::remove_dir_all(out.join(name));
        let _ = fs::remove_file(out.join(name));
        symlink(if files.contains(name) { &thesis } else { &mine }, out.join(name)).unwrap();
        pretrain(&scene, &out, "5").complains(ExitCode::Io, &[name, "a symbolic link", "move it elsewhere"]);
        untouched();
    }
    let (text, prepared, model) = (scene.arg("text.txt"), scene.path("prepared"), scene.arg("model"));
    let prepare = || run(&["prepare", "-i", &text, "-o", self::text(&prepared), "--tokenizer", &model]);
    prepare().done();
    fs::remove_dir_all(prepared.join("tokenizer")).unwrap();
    symlink(&mine, prepared.join("tokenizer")).unwrap();
    prepare().complains(ExitCode::Io, &["prepared/tokenizer", "a symbolic link", "remove it"]);
    untouched();
    for name in ["train.log", "metrics.jsonl"] {
        copy(&whole, &out);
        fs::remove_file(out.join(name)).unwrap();
        fs::hard_link(&thesis, out.join(name)).unwrap();
        pretrain(&scene, &out, "5").complains(ExitCode::Io, &[name, "a hard link"]);
        untouched();
    }

    // Everything else is replaced, and the link with it: files, what is written beside them, and folders to be cleared.
    copy(&whole, &out);
    for name in ["run.json", "config.toml", "latest", "best", "eval_results.json"] {
        symlink(&thesis, beside(&out.join(name))).unwrap();
        symlink(&thesis, out.join(format!("{name}.tmp"))).unwrap();
    }
    for name in ["latest", "best", "eval_results.json", "model/config.json"] {
        fs::remove_file(out.join(name)).unwrap();
        symlink(&thesis, out.join(name)).unwrap();
    }
    for name in
        [".model.staging", "checkpoints/.staging", "checkpoints/.discarded", "checkpoints/step-00000009"]
    {
        symlink(&mine, out.join(name)).unwrap();
    }
    pretrain(&scene, &out, "5").done();
    untouched();
    assert!(fs::read_to_string(out.join("latest")).unwrap().starts_with("step-00000005"));

    // A folder with nothing but a link, or a lock of somebody else, is not taken.
    for name in [".lock", "run.json.tmp"] {
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
        symlink(&thesis, out.join(name)).unwrap();
        pretrain(&scene, &out, "1").complains(ExitCode::Usage, &[name, "nothing in it was touched"]);
        untouched();
        fs::remove_file(out.join(name)).unwrap();
        fs::write(out.join(name), "a lock of mine").unwrap();
        pretrain(&scene, &out, "1").complains(ExitCode::Usage, &[name, "nothing in it was touched"]);
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), "a lock of mine");
    }
}

/// In folders that a run clears, a file of somebody else is named and stays; its own remains go.
#[test]
fn nothing_of_somebody_else_is_cleared_away() {
    let scene = Scene::new();
    let out = scene.path("run");
    pretrain(&scene, &out, "1").done();
    let staging = out.join(".model.staging");
    fs::create_dir(&staging).unwrap();
    for mine in ["thesis.tex", "model.safetensors.backup"] {
        fs::write(staging.join(mine), "thirty pages").unwrap();
        pretrain(&scene, &out, "2")
            .complains(ExitCode::Io, &[mine, "a file of somebody else", "move it elsewhere"]);
        assert_eq!(fs::read_to_string(staging.join(mine)).unwrap(), "thirty pages");
        fs::remove_file(staging.join(mine)).unwrap();
    }
    fs::write(staging.join("model.safetensors"), "half a model").unwrap();
    fs::write(staging.join(model::CARD_FILE), "half a card").unwrap(); // fine-tuning writes one
    fs::write(beside(&staging.join("config.json")), "{").unwrap();
    pretrain(&scene, &out, "2").done();
    assert!(!staging.exists());

    // A start that failed has prepared text that no later one needs, with something beside it.
    for (folder, remains) in [
        ("training", "00000.shard"),
        ("training/tokenizer", "vocab.txt"),
        ("tokenizer", "tokenizer.json"),
        ("training-text", "standard input"),
    ] {
        let out = scene.path("other");
        let folder = out.join("data").join(folder);
        RunDirectory::open(&out, &[]).unwrap();
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(remains), "of another text").unwrap();
        fs::write(folder.join("thesis.tex"), "thirty pages").unwrap();
        pretrain(&scene, &out, "1")
            .complains(ExitCode::Io, &["thesis.tex is not a file of this program", "move it elsewhere"]);
        assert_eq!(fs::read_to_string(folder.join("thesis.tex")).unwrap(), "thirty pages");
        fs::remove_file(folder.join("thesis.tex")).unwrap();
        pretrain(&scene, &out, "1").done();
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn other_things_than_files_are_refused_and_not_waited_for() {
    let scene = Scene::new();
    let (whole, out) = (scene.path("whole"), scene.path("run"));
    pretrain(&scene, &whole, "1").done();
    for name in [".lock", "train.log", "metrics.jsonl", "checkpoints"] {
        copy(&whole, &out);
        let _ = fs::remove_dir_all(out.join(name));
        let _ = fs::remove_file(out.join(name));
        assert!(Command::new("mkfifo").arg(out.join(name)).status().unwrap().success());
        pretrain(&scene, &out, "2").complains(ExitCode::Io, &[name, "a pipe or device"]);
    }
    for (name, found) in [("train.log", "a folder"), ("model", "a file")] {
        copy(&whole, &out);
        let _ = fs::remove_dir_all(out.join(name));
        let _ = fs::remove_file(out.join(name));
        match found {
            "a folder" => fs::create_dir(out.join(name)).unwrap(),
            _ => fs::write(out.join(name), "mine").unwrap(),
        }
        pretrain(&scene, &out, "2").complains(ExitCode::Io, &[name, found]);
    }
    // A pipe for `run.json`: the checkpoints say that the run is ours, the file is damaged.
    copy(&whole, &out);
    fs::remove_file(out.join("run.json")).unwrap();
    assert!(Command::new("mkfifo").arg(out.join("run.json")).status().unwrap().success());
    pretrain(&scene, &out, "2").complains(ExitCode::Io, &["run.json", "not a plain file"]);
}

#[test]
fn what_others_wrote_commands_no_terminal_and_forges_no_line() {
    let scene = Scene::new();
    const EVIL: &str = "\u{1b}]0;title\u{7}\u{202e}";
    let shown = r"\u{1b}]0;title\u{7}\u{202e}";
    let is_visible = |run: Run| {
        for hidden in ['\u{1b}', '\u{7}', '\u{202e}'] {
            assert!(!run.err.contains(hidden), "{:?}", run.err);
        }
        assert!(run.err.contains(shown), "{}", run.err);
    };
    // A flag, a value, a file's name, a model's configuration, and who holds a lock.
    let flag = run(&["pretrain", &format!("--{EVIL}")]);
    assert!(!flag.err.contains('\u{202e}') && flag.err.contains(r"\u{202e}"), "{}", flag.err);
    is_visible(run(&["pretrain", "--preset", EVIL]));
    is_visible(run(&["evaluate", "--model", &scene.arg("model"), "--data", &scene.arg(EVIL)]));
    let config = fs::read_to_string(scene.path("model/config.json")).unwrap();
    let model = scene.path("evil");
    copy(&scene.path("model"), &model);
    fs::write(model.join("config.json"), config.replace("gelu_new", r"\u001b]0;title\u0007\u202e")).unwrap();
    is_visible(run(&["fill-mask", "--model", text(&model), "[MASK]"]));
    let held = RunDirectory::open(&scene.path("held"), &[]).unwrap();
    fs::write(scene.path("held/.lock"), format!("process {EVIL}")).unwrap();
    is_visible(pretrain(&scene, held.path(), "1"));
    // Results name folders too.
    let prepared = scene.arg(&format!("prepared {EVIL}"));
    let told = run(&[
        "prepare",
        "--input",
        &scene.arg("text.txt"),
        "--tokenizer",
        &scene.arg("model"),
        "--out",
        &prepared,
    ]);
    let vocabulary = scene.arg(&format!("vocabulary {EVIL}"));
    let trained = run(&[
        "tokenizer",
        "train",
        "--input",
        &scene.arg("text.txt"),
        "--vocab-size",
        "50",
        "--out",
        &vocabulary,
    ]);
    for printed in [told.done(), trained.done()] {
        assert!(!printed.contains('\u{1b}') && printed.contains(shown), "{printed:?}");
    }

    // Machines read the same out of JSON and TOML, in which nothing is hidden from a person.
    let encode = ["tokenizer", "encode", "--tokenizer", &scene.arg("model"), "--json", EVIL];
    let filled = format!("{EVIL} [MASK]");
    let fill_mask = ["fill-mask", "--model", &scene.arg("model"), "--json", &filled];
    for (json, given) in [(run(&encode).done(), EVIL), (run(&fill_mask).done(), &filled)] {
        assert!(!json.contains(['\u{1b}', '\u{202e}']) && json.contains(r"\u202e"), "{json:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["text"], *given);
    }
    let data = scene.arg(&format!("a \\ \"quote\" {EVIL}"));
    let settings = run(&["pretrain", "--train", &data, "--print-config"]).done();
    assert!(!settings.contains(['\u{1b}', '\u{202e}']) && settings.contains(r"\U0000202E"), "{settings}");
    let file = scene.file("settings.toml", &settings);
    let again = run(&["pretrain", "--config", &file, "--print-config"]).done();
    let train = |settings: &str| {
        settings
            .lines()
            .find(|line| line.starts_with("train = "))
            .unwrap()
            .split('#')
            .next()
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(train(&settings), train(&again));

    // The log of a run whose folder is named like a line of it.
    let out = scene.path("a\n2026-01-01T00:00:00Z all is well\u{1b}[31m");
    pretrain(&scene, &out, "1").done();
    let log = fs::read_to_string(out.join("train.log")).unwrap();
    assert!(!log.contains('\u{1b}') && log.contains(r"\u{1b}[31m"), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z all is well")), "{log}");
}

/// The way of every warning of a library, and of ours, when the disk behind standard error is full.
#[test]
fn a_standard_error_that_takes_nothing_ends_no_run() {
    let scene = Scene::new();
    let data = scene.arg("shards");
    run(&["prepare", "--input", &scene.arg("text.txt"), "--tokenizer", &scene.arg("model"), "--out", &data])
        .done();
    let pretrain = |limit: &str, out: &str| {
        let binary = program().get_program().to_str().unwrap().to_owned();
        let out = scene.arg(out);
        let command = format!(
            "{limit} exec {binary} pretrain --train {data} --out {out} {SIZES} --steps 3 > /dev/null 2> /dev/full"
        );
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        let info = fs::read_to_string(Path::new(&out).join("run.json")).unwrap();
        (status.code(), info)
    };
    let (code, info) = pretrain("", "whole");
    assert!(code == Some(0) && info.contains(r#""status": "finished""#), "{code:?}: {info}");
    // No file of a checkpoint fits: a warning, a second try, and the end.
    let (code, info) = pretrain("ulimit -f 8;", "limited");
    assert!(code == Some(5) && info.contains(r#""status": "failed""#), "{code:?}: {info}");
}
