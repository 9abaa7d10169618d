//! A run that is stopped or killed, again and again, ends with the bytes of one that was left alone.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kernels::random::{Philox, below};
use train::stories::{Split, story};

const STEPS: u64 = 48;
/// Sessions that are ended by SIGKILL.
const KILLS: u32 = 50;

fn program(folder: &Path, run: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_albert-train"));
    // Batches of three micro-batches, a warm-up, several epochs, a checkpoint every third step, dropout.
    let flags = format!(
        "--vocab-size 200 --embedding-size 8 --hidden-size 16 --num-hidden-layers 2 --num-attention-heads 2 \
         --intermediate-size 24 --max-position-embeddings 32 --max-seq-length 32 --hidden-dropout-prob 0.1 \
         --attention-probs-dropout-prob 0.1 --steps {STEPS} --batch 6 --micro-batch 2 --learning-rate 1e-2 \
         --warmup-steps 9 --eval-every 16 --eval-sequences 8 --save-every 3 --keep 2 --held-out-every 8 --threads 2"
    );
    command
        .args(["pretrain", "--train"])
        .arg(folder.join("text.txt"))
        .arg("--out")
        .arg(folder.join(run))
        .args(flags.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn text(folder: &Path) {
    let text: String = (0..24).map(|i| story(1, Split::Training, i).join("\n") + "\n\n").collect();
    std::fs::write(folder.join("text.txt"), text).expect("the folder can be written");
}

/// Weights and moments of the last checkpoint.
fn result(folder: &Path, run: &str) -> [Vec<u8>; 2] {
    let checkpoint = folder.join(run).join(format!("checkpoints/step-{STEPS:08}"));
    ["model.safetensors", "optimizer.safetensors"].map(|file| {
        std::fs::read(checkpoint.join(file)).unwrap_or_else(|error| panic!("{run}: {file}: {error}"))
    })
}

fn uninterrupted(folder: &Path) -> [Vec<u8>; 2] {
    let output = program(folder, "whole").output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    result(folder, "whole")
}

fn signal(child: &Child, name: &str) {
    // Its status is of no interest: the process may have ended by itself.
    let _ = Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
}

#[cfg(unix)]
#[test]
fn killed_fifty_times_a_run_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    text(folder.path());
    let whole = uninterrupted(folder.path());
    let (mut kills, mut run) = (0_u32, 0_u32);
    while kills < KILLS {
        run += 1;
        let name = format!("killed-{run}");
        loop {
            let child = program(folder.path(), &name).spawn().expect("the program starts");
            let word = Philox::new(u64::from(run), 50).word(0, u64::from(kills));
            std::thread::sleep(Duration::from_millis(5 + below(word, 400)));
            if kills < KILLS {
                signal(&child, "-KILL");
            }
            let output = child.wait_with_output().expect("the program ends");
            match output.status.code() {
                None => kills += 1,
                Some(0) => break,
                Some(code) => {
                    panic!("exit {code} after {kills} kills: {}", String::from_utf8_lossy(&output.stderr))
                }
            }
        }
        assert!(result(folder.path(), &name) == whole, "{name} differs after {kills} kills");
    }
}

#[cfg(unix)]
#[test]
fn interrupted_at_any_step_a_run_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    text(folder.path());
    let whole = uninterrupted(folder.path());
    let mut interruptions = 0;
    for session in 0_u64.. {
        let child = program(folder.path(), "interrupted").spawn().expect("the program starts");
        let word = Philox::new(session, 51).word(0, session);
        std::thread::sleep(Duration::from_millis(150 + below(word, 500)));
        signal(&child, "-INT");
        let output = child.wait_with_output().expect("the program ends");
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(75) => {
                assert!(message.contains("run the same command again to continue"), "{message}");
                interruptions += 1;
            }
            Some(0) => break,
            // Before the handlers are installed the signal ends the process, as everywhere.
            None => {}
            Some(code) => panic!("exit {code}: {message}"),
        }
    }
    assert!(interruptions > 0, "the run was too short to be interrupted");
    assert!(result(folder.path(), "interrupted") == whole);
}
