//! What a run leaves to look at, as other programs see it: event files by TensorBoard's own reader, the report by a parser of
//! HTML.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/python.rs"]
mod python;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use train::run::journal::History;
use train::stories::{Split, story};

const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 16 --num-attention-heads 2 \
    --num-hidden-layers 1 --max-seq-length 32 --max-position-embeddings 32 --batch 4 --eval-sequences 8 --held-out-every 4 \
    --vocab-size 200 --log-every 2 --eval-every 4 --threads 1";

/// A run of `steps` steps, begun or continued.
fn pretrain(text: &Path, run: &Path, steps: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_albert-train"))
        .args([Path::new("pretrain"), Path::new("--train"), text, Path::new("--out"), run])
        .args(SIZES.split_whitespace())
        .args(["--steps", steps, "--allow-schedule-change"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    told
}

fn text(folder: &Path) -> PathBuf {
    let text: String = (0..24).map(|i| story(1, Split::Training, i).join("\n") + "\n\n").collect();
    let path = folder.join("text.txt");
    fs::write(&path, text).unwrap();
    path
}

fn event_files(run: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    names
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents."))
        .collect()
}

/// By tag and step; as single as TensorBoard has them.
type Scalars = BTreeMap<(String, u64), f32>;

fn of_the_journal(run: &Path) -> Scalars {
    let mut history = History::open(&run.join("metrics.jsonl")).unwrap();
    let shown = history.events().unwrap().map(Result::unwrap).filter(|event| !event.superseded);
    let shown = shown.filter(|event| ["train", "evaluation"].contains(&event.kind()));
    shown
        .flat_map(|event| {
            let of = |name: &str| (format!("{}/{name}", event.kind()), event.step().unwrap());
            event.numbers().map(|(name, value)| (of(name), value as f32)).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn tensorboard_reads_what_the_journal_has() {
    let Some(python) = python::python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (text, run) = (text(scratch.path()), scratch.path().join("run"));
    let read = || -> Scalars {
        let lines = python.run("tensorboard_scalars.py", &[&run]);
        let scalars = lines.lines().map(|line| serde_json::from_str::<(String, u64, f32)>(line).unwrap());
        scalars.map(|(tag, step, value)| ((tag, step), value)).collect()
    };
    pretrain(&text, &run, "6");
    let expected = of_the_journal(&run);
    assert!(expected.len() > 40 && expected.contains_key(&("train/loss".into(), 6)), "{expected:?}");
    assert_eq!(read(), expected);

    // Cut off within its last record, as a crash leaves it, the file has all that came before; and the run goes on in another.
    let [file] = &event_files(&run)[..] else { panic!("a session has one file") };
    let length = fs::metadata(file).unwrap().len();
    File::options().write(true).open(file).unwrap().set_len(length - 5).unwrap();
    let mut but_the_last = expected.clone();
    but_the_last.retain(|(tag, step), _| !(tag.starts_with("evaluation/") && *step == 6));
    assert_eq!(read(), but_the_last);
    pretrain(&text, &run, "10");
    assert_eq!(event_files(&run).len(), 2);
    let mut expected = of_the_journal(&run);
    expected.retain(|key, _| !(key.0.starts_with("evaluation/") && key.1 == 6));
    assert_eq!(read(), expected);
}

#[test]
fn neither_event_files_nor_report_stop_a_run() {
    let scratch = tempfile::tempdir().unwrap();
    let (text, run) = (text(scratch.path()), scratch.path().join("run"));
    // Something in the place of the report that is nobody's to overwrite.
    fs::create_dir(&run).unwrap();
    pretrain(&text, &run, "2");
    File::create(run.join("report.html")).unwrap().write_all(b"my own page").unwrap();
    let told = pretrain(&text, &run, "8");
    assert_eq!(
        told.matches("warning: report.html cannot be written, and will be tried again").count(),
        1,
        "{told}"
    );
    assert_eq!(fs::read_to_string(run.join("report.html")).unwrap(), "my own page");
    assert!(fs::read_to_string(run.join("eval_results.json")).unwrap().contains("\"global_step\": 8"));
}

#[test]
fn the_report_is_a_page_that_needs_nothing_else() {
    let Some(python) = python::python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    // A name that would be markup, were it believed.
    let (text, run) = (text(scratch.path()), scratch.path().join("<script>alert(1)"));
    pretrain(&text, &run, "6");
    let counts = python.run("report_page.py", &[&run.join("report.html")]);
    let counts: Vec<usize> = counts.split_whitespace().map(|count| count.parse().unwrap()).collect();
    // Loss, and loss and share of both tasks; two of sameness; rate, norm, speed, memory. Two evaluations, settings, a session.
    assert!(counts[0] >= 11 && counts[1] > 60, "{counts:?}");
}
