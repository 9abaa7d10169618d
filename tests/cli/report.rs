//! What a run leaves to look at, and the commands that show it.

use std::fs;

use train::exit::ExitCode;

use crate::program::{Run, Scene, run};

const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 24 --num-hidden-layers 1 \
                     --max-seq-length 32 --batch 4 --eval-sequences 8 --held-out-every 4 --log-every 2";

fn pretrain(scene: &Scene, out: &str, more: &[&str]) -> Run {
    let (text, tokenizer, out) = (scene.arg("text.txt"), scene.arg("model"), scene.arg(out));
    let data = ["pretrain", "--train", &text, "--tokenizer", &tokenizer, "--out", &out];
    run(&[&data[..], &SIZES.split_whitespace().collect::<Vec<_>>(), more].concat())
}

/// The `train` events of a run: steps, and a figure.
fn train_events(scene: &Scene, out: &str, figure: &str) -> Vec<(u64, f64)> {
    let mut history = train::run::journal::History::open(&scene.path(out).join("metrics.jsonl")).unwrap();
    let events = history.events().unwrap().map(Result::unwrap).filter(|event| event.kind() == "train");
    events.map(|event| (event.step().unwrap(), event.number(figure).unwrap())).collect()
}

#[test]
fn a_run_leaves_a_report_and_runs_are_shown_side_by_side() {
    let scene = Scene::new();
    let first = pretrain(&scene, "runs/one", &["--steps", "5", "--eval-every", "2"]);
    assert!(
        first.out.contains("its curves are in ") && first.out.contains("of sentence orders"),
        "{}",
        first.out
    );
    pretrain(&scene, "runs/two", &["--steps", "5", "--eval-every", "0", "--seed", "2"]).done();
    let html = fs::read_to_string(scene.path("runs/one/report.html")).unwrap();
    assert!(html.contains("Finished after 5 steps") && html.contains("unigram frequencies"), "{html}");
    // The journal has means over two steps, and the last step.
    let steps: Vec<f64> = train_events(&scene, "runs/one", "steps").iter().map(|event| event.1).collect();
    assert_eq!(steps, [1.0, 1.0, 2.0, 1.0]);
    assert!(train_events(&scene, "runs/one", "resident_bytes").iter().all(|(_, bytes)| *bytes > 1e6));

    let (runs, both) = (scene.arg("runs"), scene.arg("both.html"));
    let shown = run(&["report", &runs, "--out", &both]).done();
    assert_eq!(shown.trim_end(), both);
    let html = fs::read_to_string(&both).unwrap();
    assert!(html.contains("2 runs side by side") && html.contains("training.seed"), "{html}");
    let mine = scene.file("mine.html", "<html>my own");
    run(&["report", &runs, "--out", &mine])
        .complains(ExitCode::Io, &["mine.html", "is no report of this program"]);
    run(&["report", &scene.arg("model")]).complains(ExitCode::Usage, &["there is no run in", "--out"]);

    let listed = run(&["runs", "ls", &runs]).done();
    assert_eq!(listed.lines().count(), 2);
    assert!(
        listed.contains("finished") && listed.contains("5/5") && listed.contains("masked_lm_accuracy 0."),
        "{listed}"
    );
    let told = run(&["runs", "show", &runs]).done();
    assert!(told.contains("Finished after 5 steps") && told.contains("No batch was skipped."), "{told}");
    let compared = run(&["runs", "compare", &runs]).done();
    assert!(compared.contains("training.seed") && !compared.contains("training.batch"), "{compared}");
    let table = run(&["runs", "export", &scene.arg("runs/two")]).done();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("event,step,time,"), "{table}");
    assert_eq!(
        rows.iter().filter(|row| row.starts_with("evaluation,")).count(),
        1,
        "only one at the end: {table}"
    );

    // A run that is damaged is left out, and that is said.
    fs::write(scene.path("runs/one/run.json"), "{").unwrap();
    let left = run(&["runs", "ls", &runs]);
    assert!(
        left.err.contains("warning: left out: ") && left.err.contains("run.json is damaged"),
        "{}",
        left.err
    );
    assert_eq!(left.done().lines().count(), 1);
}

/// The length of a run by its data: passes, or tokens.
#[test]
fn a_run_is_as_long_as_its_data_say() {
    let scene = Scene::new();
    let last = |out: &str| train_events(&scene, out, "loss").last().unwrap().0;
    let by_epochs = pretrain(&scene, "run", &["--epochs", "0.5"]);
    let steps = last("run");
    assert!(by_epochs.err.contains(&format!("training: {steps} steps of 4 sequences")), "{}", by_epochs.err);
    by_epochs.done();
    let samples = |err: &str| -> u64 {
        let line = err.lines().find(|line| line.contains(" samples an epoch")).unwrap();
        line.split(" samples").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    let again = pretrain(&scene, "run", &["--epochs", "0.5"]);
    assert_eq!(steps, samples(&again.err).div_ceil(8), "half of the samples, four a step");
    again.done();
    pretrain(&scene, "other", &["--tokens", "400"]).done();
    assert!((2..=6).contains(&last("other")), "{} steps of at most 128 tokens", last("other"));
    pretrain(&scene, "third", &["--epochs", "1", "--steps", "7"])
        .complains(ExitCode::Usage, &["more than once", "--epochs"]);
}

#[test]
fn a_quiet_run_tells_of_warnings_alone() {
    let scene = Scene::new();
    let quiet =
        pretrain(&scene, "run", &["--steps", "4", "--eval-every", "4", "--learning-rate", "1e-9", "-q"]);
    assert!(
        quiet.err.lines().all(|line| line.starts_with("warning: ") || line.starts_with("  ")),
        "{}",
        quiet.err
    );
    assert!(quiet.err.contains("masked words are predicted no better"), "{}", quiet.err);
    assert!(quiet.done().contains("the model is in"), "results are printed as ever");
    let log = fs::read_to_string(scene.path("run/train.log")).unwrap();
    assert!(log.contains("held out at step 4"), "the log has everything: {log}");
    let verbose = pretrain(&scene, "other", &["--steps", "1", "--verbose"]);
    assert!(verbose.err.contains("checkpoint of step 1 saved in"), "{}", verbose.err);
}

/// Whoever begins with the pieces' frequencies begins at their loss. They are counted once: a run that goes on has them.
#[test]
fn frequencies_need_not_be_learnt() {
    let scene = Scene::new();
    let begun = |steps| {
        let more =
            ["--steps", steps, "--learning-rate", "1e-9", "--frequency-bias", "--allow-schedule-change"];
        let run = pretrain(&scene, "run", &more);
        let counts = run.err.contains("counting the pieces of the training text");
        run.done();
        counts
    };
    assert!(begun("1"));
    let results = fs::read_to_string(scene.path("run/eval_results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let loss = |name: &str| results[name].as_f64().unwrap();
    let (found, expected) = (loss("masked_lm_loss"), loss("unigram_masked_lm_loss"));
    assert!(
        (found - expected).abs() < 0.05,
        "{found}, not {expected}; of 50 equal pieces it is {}",
        50_f64.ln()
    );
    assert!(!begun("2"));
}

/// The recipes for machines such as the one at hand, as they are copied and used.
#[test]
fn recipes_for_small_machines_run() {
    let scene = Scene::new();
    let listed = run(&["recipes", "ls"]).done();
    for name in ["built-in", "small-machine"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{listed}");
        let file = scene.arg(&format!("{name}.toml"));
        run(&["recipes", "copy", name, &file]).done();
        let (text, model, out) = (scene.arg("text.txt"), scene.arg("model"), scene.arg(name));
        let data = ["pretrain", "--config", &file, "--train", &text, "--tokenizer", &model, "--out", &out];
        let few = ["--steps", "20", "--warmup-steps", "2", "--eval-sequences", "8", "--held-out-every", "4"];
        run(&[&data[..], &few].concat()).done();
        assert_eq!(train_events(&scene, name, "loss").last().unwrap().0, 20);
    }
    run(&["recipes", "show", "no-such"]).complains(ExitCode::Usage, &["there is no recipe", "small-machine"]);
}

/// A model of the Hub's cache, where huggingface_hub put it: links to files that are called by their hashes.
#[cfg(unix)]
#[test]
fn a_model_of_the_hubs_cache_is_read_in_place() {
    let scene = Scene::new();
    let folder = scene.path("cache/models--me--mine");
    fs::create_dir_all(folder.join("blobs")).unwrap();
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::create_dir_all(folder.join("snapshots/0a1b")).unwrap();
    fs::write(folder.join("refs/main"), "0a1b").unwrap();
    for (number, entry) in fs::read_dir(scene.path("model")).unwrap().enumerate() {
        let (entry, blob) = (entry.unwrap(), format!("blobs/{number}"));
        fs::copy(entry.path(), folder.join(&blob)).unwrap();
        let link = folder.join("snapshots/0a1b").join(entry.file_name());
        std::os::unix::fs::symlink(format!("../../{blob}"), link).unwrap();
    }
    let of = |model: &str| {
        let mut command = crate::program::program();
        command
            .args(["fill-mask", "--model", model, "The [MASK] went."])
            .env("HF_HUB_CACHE", scene.path("cache"));
        command.output().unwrap()
    };
    let expected = run(&["fill-mask", "--model", &scene.arg("model"), "The [MASK] went."]).done();
    let found = of("hf:me/mine");
    assert_eq!(
        String::from_utf8_lossy(&found.stdout),
        expected,
        "{}",
        String::from_utf8_lossy(&found.stderr)
    );
    let recipe = |model: &str| {
        let mut command = crate::program::program();
        let shown = ["finetune", "stories", "--print-config", "--model", model];
        command.args(shown).env("HF_HUB_CACHE", scene.path("cache"));
        let shown = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let is_path = |line: &&str| line.starts_with("model = ");
        shown.lines().filter(|line| !is_path(line)).map(|line| format!("{line}\n")).collect::<String>()
    };
    let expected = recipe(&scene.arg("model"));
    assert!(expected.contains("the model's width"), "{expected}");
    assert_eq!(recipe("hf:me/mine"), expected);
    let encoded = |tokenizer: &str| {
        let mut command = crate::program::program();
        command.args(["tokenizer", "encode", "--tokenizer", tokenizer, "--ids", "a story"]);
        let output = command.env("HF_HUB_CACHE", scene.path("cache")).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert_eq!(encoded("hf:me/mine"), encoded(&scene.arg("model")));
    // As transformers takes it.
    let out = scene.arg("out");
    for line in [
        "fill-mask --model me/mine [MASK]",
        "finetune stories --model me/mine --dry-run --out OUT",
        "pretrain --train TEXT --init me/mine --dry-run --out OUT",
    ] {
        let line = line.replace("OUT", &out).replace("TEXT", &scene.arg("text.txt"));
        let words: Vec<_> = line.split(' ').collect();
        run(&words).complains(ExitCode::Usage, &["there is nothing at me/mine", "write hf:me/mine"]);
    }
    let missing = of("hf:me/other");
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("albert-train download hf:me/other"));
}
