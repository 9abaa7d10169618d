//! Fine-tuning as the command line does it: every kind of task is learnt by heart, and a run that is killed ends as one left
//! alone.

#[path = "support/tasks.rs"]
mod tasks;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tasks::{albert, choices, choices_of, pretrained, questions, results, table, text};

/// Settings under which 64 examples are learnt by heart.
const BY_HEART: [&str; 14] = [
    "--steps",
    "300",
    "--batch",
    "16",
    "--learning-rate",
    "1e-3",
    "--max-seq-length",
    "32",
    "--head-dropout",
    "0",
    "--eval-every",
    "50",
    "--bias-correction",
    "--clip-norm=1",
];

#[test]
fn every_kind_of_table_is_learnt_by_heart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    // Columns have the names that are looked for, but for that of the values.
    let kinds: [(&str, &[&str], &str); 3] = [
        ("class", &[], "accuracy"),
        ("value", &["--label", "value", "--text", "text"], "pearson"),
        ("tags", &[], "f1"),
    ];
    for (kind, columns, metric) in kinds {
        let out = folder.path().join(kind);
        let mut arguments = vec!["finetune", "table", "--kind", kind, "--out", text(&out)];
        arguments.extend(["--model", text(&model), "--data", text(&data)]);
        arguments.extend(columns);
        arguments.extend(BY_HEART);
        albert(&arguments);
        let found = results(&out);
        let (value, baseline) = (&found[metric], &found[format!("baseline_{metric}")]);
        assert!(value.as_f64().expect("a number") >= 0.98, "{kind}: {found}");
        assert!(baseline.as_f64().expect("a number") < 0.6, "{kind}: {found}");
        // Out of the directory comes what training found.
        let mut arguments =
            vec!["evaluate", "table", "--kind", kind, "--model", text(&out), "--data", text(&data)];
        arguments.extend(columns);
        arguments.push("--json");
        let again: Value = serde_json::from_str(&albert(&arguments)).expect("JSON");
        assert_eq!(again[metric], *value, "{kind}");
    }
    let out = folder.path().join("class");
    // The same model with the names of its classes exchanged is as wrong as it can be, and that is said.
    let exchanged = folder.path().join("exchanged");
    copy(&out.join("model"), &exchanged);
    let config = fs::read(exchanged.join("config.json")).expect("a file");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["id2label"] = serde_json::json!({ "0": "yes", "1": "no" });
    config["label2id"] = serde_json::json!({ "yes": 0, "no": 1 });
    fs::write(exchanged.join("config.json"), config.to_string()).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_albert-train"))
        .args(["evaluate", "table", "--model", text(&exchanged), "--data", text(&data)])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("in another order than this task's (id2label"),
        "{said}"
    );
    let line = albert(&["predict", "--model", text(&out), "anna found the boat"]);
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["label"], "yes", "{line}");
    assert!(line["probabilities"]["yes"].as_f64().expect("a number") > 0.9, "{line}");
    let tags = folder.path().join("tags");
    let line = albert(&["predict", "--model", text(&tags), "anna found the boat"]);
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["tags"], serde_json::json!(["B-PER", "O", "O", "B-OBJ"]), "{line}");
    assert_eq!(line["tokens"], serde_json::json!(["anna", "found", "the", "boat"]), "{line}");
    // The loss that is told beside the metric is that of the probabilities that the model gives.
    let rows = fs::read_to_string(data.join("dev.jsonl")).expect("a table");
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    let texts: Vec<&str> = rows.iter().map(|row| row["text"].as_str().expect("text")).collect();
    let answers = albert(&[&["predict", "--model", text(&out)][..], &texts].concat());
    let surprise = |(answer, row): (&str, &Value)| {
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        -answer["probabilities"][row["label"].as_str().expect("a class")].as_f64().expect("a number").ln()
    };
    let loss = answers.lines().zip(&rows).map(surprise).sum::<f64>() / rows.len() as f64;
    let told = results(&out)["loss"].as_f64().expect("a loss");
    assert!((loss - told).abs() <= 1e-5 * loss.max(1.0), "{told} is told, {loss} is so");
}

#[test]
fn spans_and_choices_are_learnt_by_heart() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = pretrained(folder.path());
    let two = choices_of(2, &folder.path().join("of two"), "");
    let data = [questions(folder.path(), false), questions(folder.path(), true), choices(folder.path()), two];
    let kinds: [(&[&str], &Path, &str, f64); 5] = [
        (&["squad"], &data[0], "f1", 98.0),
        (&["squad", "--version", "2.0"], &data[1], "f1", 98.0),
        (&["squad", "--version", "2.0", "--head", "span"], &data[1], "f1", 98.0),
        (&["race", "--level", "middle"], &data[2], "accuracy", 0.98),
        (&["race", "--options", "2"], &data[3], "accuracy", 0.98),
    ];
    for (index, (words, data, metric, least)) in kinds.into_iter().enumerate() {
        let out = folder.path().join(format!("run{index}"));
        let mut arguments = [&["finetune"], words, &["--out", text(&out), "--model", text(&model)]].concat();
        arguments.extend(["--data", text(data)]);
        arguments.extend(BY_HEART);
        let said = albert(&arguments);
        let found = results(&out);
        assert!(found[metric].as_f64().expect("a number") >= least, "{words:?}: {found}");
        // The threshold by which the figures were reached is told, and proposed where answers are not known.
        let threshold = found.get("null_score_diff_threshold").map(|value| value.as_f64().expect("a number"));
        assert_eq!(threshold.is_some(), words.contains(&"2.0"), "{found}");
        if let Some(threshold) = threshold {
            assert!(said.contains(&format!(" --null-threshold {threshold} --out predictions")), "{said}");
        }
        let evaluate =
            [&["evaluate"], words, &["--model", text(&out), "--data", text(data), "--json"]].concat();
        let again: Value = serde_json::from_str(&albert(&evaluate)).expect("JSON");
        assert_eq!(again[metric], found[metric], "{words:?}");
        assert!(found["loss"].as_f64().expect("a loss") < 0.5, "{words:?}: {found}");
        if words[0] == "squad" {
            let question = "Who found it? [SEP] In the morning anna found the apple in the garden.";
            let line = albert(&["predict", "--model", text(&out), question]);
            let line: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(line["answer"], "anna", "{words:?}: {line}");
            assert!(line["null_score"].as_f64().expect("a number") < 0.0, "{words:?}: {line}");
            // The official program finds in the prediction files what training found.
            let written = folder.path().join(format!("predictions{index}"));
            let predict =
                [&["predict"], words, &["--model", text(&out), "--data", text(data), "--split", "dev"]];
            albert(&[&predict.concat()[..], &["--out", text(&written)]].concat());
            let file = if words.len() > 1 { "dev-v2.0.json" } else { "dev-v1.1.json" };
            let (questions, predictions) = (data.join(file), written.join("predictions.json"));
            let score = [
                "evaluate",
                "squad",
                "--data",
                text(&questions),
                "--predictions",
                text(&predictions),
                "--json",
            ];
            let official: Value = serde_json::from_str(&albert(&score)).expect("JSON");
            assert_eq!(official["f1"], found["f1"], "{words:?}: {official}");
        }
    }
}

/// Copies a folder of files.
fn copy(folder: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for file in fs::read_dir(folder).expect("a folder").flatten() {
        fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}

/// Bytes of the published weights and of the last checkpoint's moments.
fn bytes(out: &Path) -> Vec<Vec<u8>> {
    let step = fs::read_to_string(out.join("latest")).expect("a pointer");
    let checkpoint = out.join("checkpoints").join(step.trim());
    let files = [
        out.join("model/model.safetensors"),
        out.join("eval_results.json"),
        checkpoint.join("optimizer.safetensors"),
        checkpoint.join("model.safetensors"),
    ];
    files
        .iter()
        .map(|file| fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())))
        .collect()
}

#[test]
fn killed_again_and_again_a_run_ends_as_one_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    let settings = ["--steps", "40", "--batch", "24", "--micro-tokens", "64", "--max-seq-length", "16"];
    ends_as_one_left_alone(folder.path(), &model, &["table"], &data, &settings);
}

/// Questions have windows, beams and a threshold, and choices have several sequences each.
#[test]
fn killed_again_and_again_runs_of_every_form_end_as_ones_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = pretrained(folder.path());
    let kinds: [(&str, &[&str], PathBuf); 3] = [
        ("answerable", &["squad", "--version", "2.0"], questions(folder.path(), true)),
        ("span", &["squad"], questions(folder.path(), false)),
        ("choices", &["race", "--level", "middle"], choices(folder.path())),
    ];
    for (name, words, data) in kinds {
        let place = folder.path().join(name);
        let settings = ["--steps", "16", "--batch", "8", "--micro-tokens", "128", "--max-seq-length", "24"];
        ends_as_one_left_alone(&place, &model, words, &data, &settings);
    }
}

/// Kills a run in `folder` again and again, and compares it with one that is not.
fn ends_as_one_left_alone(folder: &Path, model: &Path, task: &[&str], data: &Path, settings: &[&str]) {
    let arguments = |out: &Path| -> Vec<String> {
        let given = ["--out", text(out), "--model", text(model), "--data", text(data)];
        let often = ["--eval-every", "7", "--save-every", "1", "--learning-rate", "1e-3"];
        let all = [&["finetune"], task, &given, settings, &often].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let alone = folder.join("alone");
    let given = arguments(&alone);
    albert(&given.iter().map(String::as_str).collect::<Vec<_>>());
    let killed = folder.join("killed");
    let given = arguments(&killed);
    let mut kills = 0;
    for wait in (0..).map(|round| Duration::from_millis(40 + 37 * (round % 11))) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_albert-train"))
            .args(&given)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        if kills == 0 {
            // The second session continues from a checkpoint on any machine.
            let latest = || std::fs::read_to_string(killed.join("latest")).unwrap_or_default();
            let step = || latest().trim().trim_start_matches("step-").parse().unwrap_or(0);
            while step() == 0 {
                let ended = child.try_wait().expect("a process");
                assert!(ended.is_none(), "{ended:?} before step 1 was saved");
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            // However slow the machine is, a session gets further than the one before it.
            std::thread::sleep(wait * (1 + kills / 8));
        }
        if let Some(status) = child.try_wait().expect("a process") {
            assert!(status.success(), "{status}");
            break;
        }
        child.kill().expect("a process");
        child.wait().expect("a process");
        kills += 1;
    }
    assert!(kills > 0, "the run was killed");
    assert!(bytes(&alone) == bytes(&killed), "after {kills} kills");
}

/// Pre-training that begins with a model begins where that is, and so with what it scores.
#[test]
fn pretraining_goes_on_from_a_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = folder.path().join("first");
    let common = ["--eval-sequences", "64", "--batch", "8"];
    let pretrain = |out: &Path, more: &[&str]| {
        albert(&[&["pretrain", "--out", text(out)][..], &common, more].concat());
    };
    pretrain(&first, &["--steps", "120", "--eval-every", "120"]);
    let second = folder.path().join("second");
    let init = ["--init", text(&first), "--steps", "2", "--eval-every", "2", "--learning-rate", "1e-9"];
    pretrain(&second, &init);
    let (before, after) = (results(&first), results(&second));
    for name in ["masked_lm_loss", "sentence_order_loss"] {
        let [before, after] = [&before, &after].map(|found| found[name].as_f64().expect("a number"));
        // Two steps of a billionth change nothing that four digits show.
        assert!((before - after).abs() < 1e-4, "{name}: {before} and {after}");
    }
    let fresh = folder.path().join("fresh");
    pretrain(&fresh, &init[2..]);
    let untrained = results(&fresh)["masked_lm_loss"].as_f64().expect("a number");
    assert!(untrained > before["masked_lm_loss"].as_f64().expect("a number") + 0.5, "{untrained}");
}

/// Every head learns from the built-in stories, and the runs are in the tables that people publish.
#[test]
fn stories_need_no_files_and_runs_make_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = pretrained(folder.path());
    let out = folder.path().join("stories");
    let few = [
        "--steps",
        "120",
        "--batch",
        "32",
        "--max-seq-length",
        "64",
        "--eval-every",
        "120",
        "--eval-examples",
        "200",
    ];
    let settings = ["--learning-rate", "1e-3", "--head-dropout", "0", "--bias-correction"];
    let given = ["finetune", "stories", "--out", text(&out), "--model", text(&model)];
    albert(&[&given[..], &few, &settings].concat());
    let found: Value =
        serde_json::from_slice(&fs::read(out.join("results.json")).expect("a file")).expect("JSON");
    let found = found.as_object().expect("an object");
    assert!(found.len() >= 5, "{found:?}");
    for (name, result) in found {
        let of_run = results(&out.join(name));
        assert_eq!(of_run[result["metric"].as_str().expect("a name")], result["value"], "{name}");
        let [value, baseline] =
            ["value", "baseline"].map(|figure| result[figure].as_f64().expect("a number"));
        // Which sentence goes on with a story takes a model that knows stories: so few steps show little more than guesses.
        let least = match name.as_str() {
            "stories-ending" => 0.0,
            "stories-name" | "stories-question" => 15.0,
            _ => 0.15,
        };
        assert!(value > baseline + least, "{name}: {result}");
    }
    let table: Value = serde_json::from_str(&albert(&["runs", "table", "--json", text(&out)])).expect("JSON");
    assert_eq!(table["runs"].as_array().expect("a list").len(), found.len());
    let published = albert(&["runs", "table", "--published", text(&out)]);
    assert!(
        published
            .contains("| ALBERT-xxlarge (1.5M) | 90.8 | 95.3 | 92.2 | 89.2 | 96.9 | 90.9 | 71.4 | 93.0 |"),
        "{published}"
    );
    // A recipe is a file that finetune takes.
    let recipe = folder.path().join("mrpc.toml");
    albert(&["recipes", "copy", "mrpc", text(&recipe)]);
    let settings = ["finetune", "glue", "mrpc", "--config", text(&recipe), "--print-config"];
    let printed = albert(&settings);
    assert!(
        printed.contains("learning_rate = 0.00002") || printed.contains("learning_rate = 2e-5"),
        "{printed}"
    );
}

/// What is measured on is not what was learnt from.
#[test]
fn a_table_that_is_one_file_is_divided() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    let (out, file) = (folder.path().join("one"), data.join("train.jsonl"));
    let given = ["finetune", "table", "--out", text(&out), "--model", text(&model), "--data", text(&file)];
    albert(&[&given[..], &["--steps", "2", "--max-seq-length", "16"]].concat());
    // Every tenth of 64.
    assert_eq!(results(&out)["examples"], 6);
}

#[test]
fn official_data_that_are_one_file_are_divided_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = pretrained(folder.path());
    let questions = questions(folder.path(), false).join("train-v1.1.json");
    let row = |index: usize| {
        let class = ["neutral", "entailment", "contradiction"][index % 3];
        let cells = ["0", "0", "0", "g", "", "", "", "", "a cat", "a dog", class, class];
        cells.join("\t") + "\n"
    };
    let names = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t\
                 sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n";
    let pairs = folder.path().join("pairs.tsv");
    fs::write(&pairs, names.to_owned() + &(0..64).map(row).collect::<String>()).expect("a file");
    for (task, file, figure) in
        [(&["squad"][..], &questions, "f1"), (&["glue", "mnli"], &pairs, "accuracy_matched")]
    {
        let out = folder.path().join(task[0]);
        let given = ["--out", text(&out), "--model", text(&model), "--data", text(file), "--steps", "2"];
        albert(&[&["finetune"], task, &given[..], &["--max-seq-length", "48"]].concat());
        let results = results(&out);
        assert_eq!(results["examples"], 6, "{task:?}: of 64, every tenth");
        assert!(results[figure].is_f64(), "{results}");
    }
}

#[test]
fn another_model_does_not_go_on_with_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    let (out, other) = (folder.path().join("run"), folder.path().join("other"));
    copy(&model.join("model"), &other);
    let run = |model: &Path| {
        Command::new(env!("CARGO_BIN_EXE_albert-train"))
            .args(["finetune", "table", "--out", text(&out), "--model", text(model), "--data", text(&data)])
            .args(["--steps", "2", "--max-seq-length", "16"])
            .output()
            .expect("it starts")
    };
    assert!(run(&model).status.success());
    assert!(run(&other).status.success(), "a copy of the model is the model");
    let config = fs::read_to_string(other.join("config.json")).expect("a file");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    config["hidden_act"] = "relu".into();
    fs::write(other.join("config.json"), config.to_string()).expect("a file");
    let output = run(&other);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("another tokenizer or model"), "{said}");
}

#[test]
fn seeds_are_ordinary_runs_and_are_summed_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    let out = folder.path().join("seeds");
    let arguments = [
        "finetune",
        "table",
        "--seeds",
        "2",
        "--out",
        text(&out),
        "--model",
        text(&model),
        "--data",
        text(&data),
        "--steps",
        "8",
        "--max-seq-length",
        "16",
        "--patience",
        "1",
        "--eval-every",
        "2",
    ];
    let table = albert(&arguments);
    assert!(table.contains("mean") && table.contains("of 2 collapsed"), "{table}");
    let summary: Value =
        serde_json::from_slice(&fs::read(out.join("summary.json")).expect("a file")).expect("JSON");
    let runs = summary["runs"].as_array().expect("a list");
    assert_eq!(runs.len(), 2);
    let mean = runs.iter().map(|run| run["value"].as_f64().expect("a number")).sum::<f64>() / 2.0;
    assert!((summary["mean"].as_f64().expect("a number") - mean).abs() < 1e-12);
    for (seed, run) in (1..=2).zip(runs) {
        let of_run = results(&out.join(format!("seed-{seed}")));
        assert_eq!(of_run["accuracy"], run["value"], "seed {seed}");
    }
}
