//! What only looks at a run: it says what a session would say, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use train::exit::ExitCode;
use train::run::directory::RunDirectory;

use crate::program::{Run, Scene, run};

const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 24 --num-hidden-layers 1 \
                     --max-seq-length 32 --batch 4 --eval-sequences 8 --held-out-every 4 --threads 1";

fn pretrain(scene: &Scene, out: &str, more: &[&str]) -> Run {
    let (text, out) = (scene.arg("text.txt"), scene.arg(out));
    let data = ["pretrain", "--train", &text, "--vocab-size", "45", "--out", &out];
    run(&[&data[..], &SIZES.split_whitespace().collect::<Vec<_>>(), more].concat())
}

/// Every file below a folder with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => drop(found.insert(entry.path(), fs::read(entry.path()).unwrap())),
            }
        }
    }
    found
}

/// A dry run refuses what the run would refuse, takes the run's own data, and leaves all as it was.
#[test]
fn a_dry_run_is_as_the_run_would_be() {
    let scene = Scene::new();
    fs::create_dir(scene.path("foreign")).unwrap();
    scene.file("foreign/notes.txt", "mine");
    pretrain(&scene, "foreign", &["--steps", "2", "--dry-run"])
        .complains(ExitCode::Usage, &["foreign is not empty and not a run of this program"]);
    pretrain(&scene, "run", &["--steps", "2"]).done();
    let before = files(&scene.path("run"));
    let rehearsed = pretrain(&scene, "run", &["--steps", "2", "--dry-run"]);
    assert!(rehearsed.err.contains("this was a dry run"), "{}", rehearsed.err);
    for work in ["training a vocabulary", "preparing training text"] {
        assert!(!rehearsed.err.contains(work), "{}", rehearsed.err);
    }
    rehearsed.done();
    pretrain(&scene, "run", &["--steps", "2", "--seed", "99", "--dry-run"])
        .complains(ExitCode::Usage, &["training.seed"]);
    let text = scene.file("text.txt", "Another text.\nOf two sentences.\n\n".repeat(40));
    pretrain(&scene, "run", &["--steps", "2", "--dry-run"])
        .complains(ExitCode::Usage, &["was begun with other training data"]);
    assert_eq!(files(&scene.path("run")), before);
    assert!(Path::new(&text).exists());
    let _at_work = RunDirectory::open(&scene.path("other"), &["a test".into()]).unwrap();
    pretrain(&scene, "other", &["--steps", "2", "--dry-run"])
        .complains(ExitCode::Usage, &["other is in use by another process"]);
}

/// Batches are shown of what the run has, or of what is prepared elsewhere; the run stays as it is.
#[test]
fn inspecting_changes_nothing() {
    let scene = Scene::new();
    pretrain(&scene, "run", &["--steps", "2"]).done();
    let before = files(&scene.path("run"));
    let inspect = |more: &[&str]| run(&[&["inspect", "batches", "--out", &scene.arg("run")], more].concat());
    let shown = inspect(&[]).done();
    let touched = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let text = fs::File::options().write(true).open(scene.path("text.txt")).unwrap();
    text.set_modified(touched).unwrap();
    assert_eq!(inspect(&[]).done(), shown, "the same text, whenever it was touched");
    let other =
        scene.file("other.txt", fs::read_to_string(scene.path("text.txt")).unwrap().replace("cat", "cow"));
    assert_ne!(inspect(&["--train", &other]).done(), shown);
    assert_eq!(files(&scene.path("run")), before);
    let shard = scene.path("run/data/training/00000.shard");
    fs::remove_file(&shard).unwrap();
    assert_eq!(inspect(&[]).done(), shown);
    assert!(!shard.exists());
}

/// A learning rate that would never come to its height is refused, whoever says how long the run is.
#[test]
fn a_warm_up_ends_within_the_run() {
    let scene = Scene::new();
    pretrain(&scene, "run", &["--epochs", "0.02", "--warmup-steps", "1000000"])
        .complains(ExitCode::Usage, &["optimizer.warmup_steps = 1000000", "steps of the run"]);
    pretrain(&scene, "run", &["--epochs", "0.02", "--start-warmup-step", "1000000"])
        .complains(ExitCode::Usage, &["from step 1000000 on"]);
    pretrain(&scene, "run", &["--steps", "3", "--warmup-steps", "1", "--start-warmup-step", "1000"])
        .complains(ExitCode::Usage, &["optimizer.warmup_steps = 1 (from step 1000 on, in the 3 steps"]);
    pretrain(&scene, "run", &["--steps", "3", "--warmup-steps", "3"]).done();
    // What an earlier version began goes on.
    let path = scene.path("run/config.toml");
    let config = fs::read_to_string(&path).unwrap();
    let late = config.replace("start_warmup_step = 0", "start_warmup_step = 1000");
    assert_ne!(late, config);
    fs::write(&path, late).unwrap();
    let late = ["--steps", "3", "--warmup-steps", "3", "--start-warmup-step", "1000"];
    pretrain(&scene, "run", &late).done();
    pretrain(&scene, "run", &[&late[..], &["--dry-run"]].concat()).done();
    run(&["inspect", "batches", "--out", &scene.arg("run")]).done();
}

#[test]
fn one_thing_is_said_once() {
    let scene = Scene::new();
    let error = pretrain(&scene, "run", &["--steps", "2", "--type-vocab-size", "1"]).failed(ExitCode::Usage);
    assert_eq!(error.matches("model.type_vocab_size").count(), 1, "{error}");
}

/// What is proposed at the end can be typed, whatever the folder is called.
#[cfg(unix)]
#[test]
fn proposed_commands_are_quoted() {
    let scene = Scene::new();
    let shown = pretrain(&scene, "my run's", &["--steps", "2"]).done();
    let model = scene.arg("my run's/model").replace('\'', r"'\''");
    for command in ["fill-mask", "evaluate", "encode"] {
        assert!(shown.contains(&format!("albert-train {command} --model '{model}' ")), "{shown}");
    }
}

/// A run is under way as long as a process has it.
#[test]
fn a_killed_run_is_called_so() {
    let scene = Scene::new();
    let at_work = RunDirectory::open(&scene.path("run"), &["a test".into()]).unwrap();
    at_work.write_config("").unwrap();
    let told = |what: &str| run(&["runs", what, &scene.arg("run")]).done();
    assert!(told("ls").contains(" running "), "{}", told("ls"));
    assert!(told("show").contains(": Under way: step 0"), "{}", told("show"));
    drop(at_work);
    assert!(told("ls").contains(" killed "), "{}", told("ls"));
    assert!(told("show").contains(": Killed at step 0"), "{}", told("show"));
    // Another machine's lock may not be seen from here.
    let path = scene.path("run/run.json");
    let mut info: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    info["sessions"][0]["host"] = "elsewhere".into();
    fs::write(&path, info.to_string()).unwrap();
    assert!(!told("ls").contains(" killed "), "{}", told("ls"));
    assert!(told("show").contains(": Under way, or killed"), "{}", told("show"));
}
