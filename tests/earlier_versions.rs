//! What an earlier version left is continued as that version would have continued it.

use std::path::Path;
use std::process::Command;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder is there") {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("readable");
        if entry.is_dir() {
            copy(&entry, &to.join(name));
        } else {
            std::fs::copy(&entry, to.join(name)).expect("the file can be copied");
        }
    }
}

/// `run-version-1` holds a prepared folder, a run on it that was stopped on the way (LAMB, dropout, scalar instructions), and
/// `final.safetensors`: the weights that the version that began the run came to when it was left alone.
#[test]
fn a_run_of_version_1_ends_as_it_would_have_ended() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/run-version-1");
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(&golden, folder.path());
    let latest = || std::fs::read_to_string(folder.path().join("run/latest")).expect("readable");
    let stopped = latest();
    // The settings, the relative path of the text among them, are those of the run's config.toml; but for the time limit that
    // stopped it, which a busy machine would reach again.
    let output = Command::new(env!("CARGO_BIN_EXE_albert-train"))
        .args(["pretrain", "--out", "run", "--max-time", "1h"])
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let step = stopped.trim().trim_start_matches("step-").trim_start_matches('0');
    assert!(said.contains(&format!("continuing from step {step}")), "{said}");
    assert_ne!(latest(), stopped, "nothing was left to do");
    let weights = |path: &str| std::fs::read(folder.path().join(path)).expect("readable");
    assert!(
        weights(&format!("run/checkpoints/{}/model.safetensors", latest().trim()))
            == weights("final.safetensors"),
        "the weights are not those that the earlier version came to"
    );
}
