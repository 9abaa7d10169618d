//! Fine-tuning around its loop: where data come from, what is proposed and refused.

#[path = "support/tasks.rs"]
mod tasks;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tasks::{albert, choices, pretrained, questions, results, table, text};

/// Settings of a run that is over at once.
const BRIEF: [&str; 4] = ["--steps", "2", "--max-seq-length", "48"];

/// The commands that a run proposes at its end, as they are printed.
fn proposed(said: &str) -> Vec<&str> {
    let (_, proposals) = said.split_once("try next:\n").expect("proposals");
    proposals.lines().map(str::trim).collect()
}

/// Has a shell run a command, as a person would.
fn typed(folder: &Path, command: &str) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_albert-train")).parent().expect("a folder");
    let places = std::env::var_os("PATH").unwrap_or_default();
    let places = std::iter::once(binary.to_owned()).chain(std::env::split_paths(&places));
    let places = std::env::join_paths(places).expect("paths");
    Command::new("sh")
        .args(["-ec", command])
        .current_dir(folder)
        .env("PATH", places)
        .output()
        .expect("a shell")
}

#[cfg(unix)]
#[test]
fn what_a_run_proposes_works_as_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = pretrained(folder.path());
    let own = folder.path().join("my table's");
    fs::rename(table(folder.path()), &own).expect("another name");
    let questions = questions(folder.path(), true);
    let choices = choices(folder.path());
    let kinds: [(&[&str], &Path, &str); 4] = [
        (
            &[
                &["squad", "--version", "2.0", "--head", "span", "--null-threshold", "-1.5"][..],
                &["--max-question-length", "6", "--doc-stride", "4"],
            ]
            .concat(),
            &questions,
            "f1",
        ),
        (&["race", "--level", "middle"], &choices, "accuracy"),
        (
            &["table", "--text", "text", "--pair", "label", "--label", "value", "--kind", "value"],
            &own,
            "pearson",
        ),
        (&["table", "--text", "tokens", "--label", "tags", "--kind", "tags"], &own, "f1"),
    ];
    for (index, (words, data, metric)) in kinds.into_iter().enumerate() {
        let out = folder.path().join(format!("run {index}"));
        let given = ["--out", text(&out), "--model", text(&model), "--data", text(data)];
        let said = albert(&[&["finetune"], words, &given, &BRIEF].concat());
        let [evaluate, predict] = proposed(&said)[..] else { panic!("{said}") };
        let json = format!("{evaluate} --json");
        for command in [&json, predict] {
            let output = typed(folder.path(), command);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{command}: {error}");
            if command == json {
                let again: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                assert_eq!(again[metric], results(&out)[metric], "{command}");
            }
        }
        let written = folder.path().join("predictions");
        assert!(fs::read_dir(&written).expect("predictions").count() > 0);
        fs::remove_dir_all(written).expect("mine");
    }
}

/// Files of any name are learnt from and measured on.
#[test]
fn a_file_to_learn_from_and_one_to_measure_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    let [mine, yours] = ["mine.jsonl", "yours.jsonl"].map(|name| folder.path().join(name));
    fs::rename(data.join("train.jsonl"), &mine).expect("another name");
    let rows = fs::read_to_string(data.join("dev.jsonl")).expect("a table");
    let rows: Vec<&str> = rows.lines().take(24).collect();
    fs::write(&yours, rows.join("\n")).expect("a file");
    let run = |out: &str, more: &[&str]| {
        let out = folder.path().join(out);
        albert(
            &[&["finetune", "table", "--out", text(&out), "--model", text(&model)], more, &BRIEF[..]]
                .concat(),
        );
        results(&out)["examples"].as_u64().expect("a number")
    };
    assert_eq!(run("both", &["--train", text(&mine), "--dev", text(&yours)]), 24);
    assert_eq!(run("folder", &["--data", text(&data), "--train", text(&mine)]), 64);
    assert_eq!(run("one", &["--train", text(&mine)]), 6, "every tenth of 64");
    // Nothing is wrong with measuring on what was learnt from, if that is asked for.
    assert_eq!(run("same", &["--train", text(&mine), "--dev", text(&mine)]), 64);
}

#[test]
fn what_cannot_be_learnt_from_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    let few = folder.path().join("few.jsonl");
    let rows = fs::read_to_string(data.join("train.jsonl")).expect("a table");
    fs::write(&few, rows.lines().take(9).collect::<Vec<_>>().join("\n")).expect("a file");
    let refused = |more: &[&str]| {
        let out = folder.path().join("run");
        let output = Command::new(env!("CARGO_BIN_EXE_albert-train"))
            .args([&["finetune", "table", "--out", text(&out)], more].concat())
            .output()
            .expect("it starts");
        assert!(!output.status.success(), "{more:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = refused(&["--model", text(&model), "--data", text(&few)]);
    assert!(error.contains("few.jsonl has 9 examples") && error.contains("--dev"), "{error}");
    let error = refused(&["--model", text(&model)]);
    assert!(error.contains("no data were given") && error.contains("--train"), "{error}");
    let error = refused(&["--model", text(&model), "--dev", text(&few)]);
    assert!(error.contains("no data were given"), "{error}");
    let output = Command::new(env!("CARGO_BIN_EXE_albert-train"))
        .args(["predict", "--model", text(&model), "a text"])
        .output()
        .expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("answers no texts") && error.contains("finetune"), "{error}");
}

/// What backward computes again is what it would have kept, to the bit.
#[test]
fn computing_again_changes_no_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    let [kept, again] = ["none", "layer"].map(|recompute| {
        let out = folder.path().join(recompute);
        let given =
            ["finetune", "table", "--out", text(&out), "--model", text(&model), "--data", text(&data)];
        albert(&[&given[..], &BRIEF, &["--hidden-dropout", "0.1", "--recompute", recompute]].concat());
        fs::read(out.join("model/model.safetensors")).expect("a model")
    });
    assert!(kept == again);
}

/// A model is refused at a task that it was not made for, and a tokenizer at a model that it was not.
#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), table(folder.path()));
    let out = folder.path().join("classes");
    let given = ["finetune", "table", "--out", text(&out), "--model", text(&model), "--data", text(&data)];
    albert(&[&given[..], &BRIEF].concat());
    let refused = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_albert-train")).args(arguments).output().expect("it starts");
        assert!(!output.status.success(), "{arguments:?}");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // Two classes, and a task of three; a head for classes, and a task of questions.
    let pairs = folder.path().join("dev_matched.tsv");
    fs::write(&pairs, "index\tsentence1\tsentence2\tgold_label\n0\ta boat\ta hat\tneutral\n")
        .expect("a file");
    let (code, error) = refused(&["evaluate", "glue", "mnli", "--model", text(&out), "--data", text(&pairs)]);
    assert!(code == Some(8) && error.contains("classifier.") && error.contains("shape"), "{error}");
    assert!(
        error.contains("another number of classes; use one that was fine-tuned for this task"),
        "{error}"
    );
    let questions = questions(folder.path(), false);
    for (model, found) in [(&out, "AlbertForSequenceClassification"), (&model, "AlbertForPreTraining")] {
        let (code, error) =
            refused(&["evaluate", "squad", "--model", text(model), "--data", text(&questions)]);
        assert!(code == Some(8) && error.contains(found), "{error}");
        assert!(error.contains("AlbertForQuestionAnswering") && error.contains("finetune"), "{error}");
        assert!(!error.contains("--allow-missing"), "which evaluate does not have: {error}");
    }
    // More pieces than the model has rows.
    let mut pieces: String =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|piece| format!("{piece}\n")).concat();
    pieces.extend((0..20_000).map(|piece| format!("w{piece}\n")));
    let vocabulary = folder.path().join("vocab.txt");
    fs::write(&vocabulary, pieces).expect("a file");
    let other = folder.path().join("other");
    let given = ["finetune", "table", "--out", text(&other), "--model", text(&model), "--data", text(&data)];
    let (code, error) = refused(&[&given[..], &["--tokenizer", text(&vocabulary)]].concat());
    assert!(
        code == Some(2) && error.contains("20005 pieces") && error.contains("do not belong together"),
        "{error}"
    );
    let (code, error) =
        refused(&["finetune", "glue", "cola2", "--model", text(&model), "--data", text(&data)]);
    assert!(code == Some(2) && error.contains("there is no task `cola2`"), "{error}");
}

/// What a person is told, by commands that end well or not.
fn told(arguments: &[&str]) -> (Option<i32>, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_albert-train")).args(arguments).output().expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Rows that are left out are told of, from one file as from several.
#[test]
fn nothing_is_left_out_silently() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (pretrained(folder.path()), folder.path().join("run"));
    let row = |index: usize| format!("{index}\ta boat\ta hat {index}\t{}\n", index % 2);
    let rows: String = (0..20).map(row).collect();
    let pairs = folder.path().join("pairs.tsv");
    fs::write(&pairs, format!("id\tquestion1\tquestion2\tis_duplicate\n{rows}20\tshort\n")).expect("a file");
    let given =
        ["finetune", "glue", "qqp", "--out", text(&out), "--model", text(&model), "--data", text(&pairs)];
    let (code, said) = told(&[&given[..], &BRIEF].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("1 lines with too few columns are left out").count(), 1, "{said}");
}

/// An answer that no window holds teaches that there is none: nobody should have to find that out from the figures.
#[test]
fn answers_that_no_window_holds_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, out) = (pretrained(folder.path()), folder.path().join("run"));
    let long = "anna found the apple and ben found the boat and clara found the coat";
    let question = |id: &str, answer: &str| serde_json::json!({ "id": id, "question": "Who?", "answers": [{ "text": answer, "answer_start": 0 }] });
    let paragraph = serde_json::json!({ "context": long, "qas": [question("short", "anna"), question("part", "a"), question("long", long)] });
    let file = serde_json::json!({ "version": "1.1", "data": [{ "title": "t", "paragraphs": [paragraph] }] });
    let path = folder.path().join("questions.json");
    fs::write(&path, file.to_string()).expect("a file");
    let files = ["--model", text(&model), "--train", text(&path), "--dev", text(&path), "--steps", "1"];
    let learn = |out: &Path, more: &[&str]| {
        told(&[&["finetune", "squad", "--out", text(out)][..], &files, more].concat())
    };
    let (code, said) = learn(&out, &["--max-seq-length", "16", "--doc-stride", "4"]);
    assert!(code == Some(0) && said.contains("whole answer of 1 questions, such as \"long\""), "{said}");
    // A letter within a piece cannot be learnt by itself.
    assert!(
        said.contains("train: 1 answers begin or end within a piece, such as that of \"part\""),
        "{said}"
    );
    assert!(!said.contains("examples are cut"), "windows show all of a passage: {said}");
    let words = folder.path().join("words.tsv");
    let row =
        |index: usize| format!("{}\t{}\n", "anna found the apple ".repeat(1 + 19 * (index % 2)), index % 2);
    fs::write(&words, format!("text\tlabel\n{}", (0..20).map(row).collect::<String>())).expect("a file");
    let cut = folder.path().join("cut");
    let given_rows =
        ["finetune", "table", "--out", text(&cut), "--model", text(&model), "--data", text(&words)];
    let (code, said) = told(&[&given_rows[..], &BRIEF].concat());
    assert!(code == Some(0) && said.contains("train: 8 of 18 examples are cut"), "{said}");
    let on = ["evaluate", "table", "--model", text(&cut), "--data", text(&words), "--max-seq-length", "64"];
    assert!(told(&on).1.contains("dev: 10 of 20 examples are cut"));
    let (code, said) = learn(&folder.path().join("longer"), &["--max-seq-length", "64"]);
    assert!(code == Some(0) && !said.contains("no window"), "{said}");
}

/// An answer that does not stand where its file says is judged by its text, and takes no part in the loss: nobody knows its place.
#[test]
fn a_wrong_place_is_no_part_of_the_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data) = (pretrained(folder.path()), questions(folder.path(), false));
    let train = data.join("train-v1.1.json");
    let whole: Value = serde_json::from_slice(&fs::read(&train).expect("a file")).expect("JSON");
    let measured = |name: &str, change: &dyn Fn(&mut Vec<Value>)| {
        let (mut questions, dev) = (whole.clone(), folder.path().join(format!("{name}.json")));
        change(questions["data"][0]["paragraphs"].as_array_mut().expect("a list"));
        fs::write(&dev, questions.to_string()).expect("a file");
        let out = folder.path().join(name);
        let files = ["--model", text(&model), "--train", text(&train), "--dev", text(&dev)];
        albert(&[&["finetune", "squad", "--out", text(&out)], &files[..], &BRIEF].concat());
        results(&out)
    };
    let displace = |paragraph: &mut Value| {
        let start = &mut paragraph["qas"][0]["answers"][0]["answer_start"];
        *start = (start.as_u64().expect("a number") + 1).into();
    };
    let displaced = measured("displaced", &|all| all[32..].iter_mut().for_each(displace));
    let without = measured("without", &|all| all.truncate(32));
    let [displaced_loss, loss] = [&displaced, &without].map(|found| found["loss"].as_f64().expect("a loss"));
    assert!((displaced_loss - loss).abs() < 1e-5 * loss, "{displaced_loss} and {loss}");
    assert_eq!((&displaced["examples"], &without["examples"]), (&64.into(), &32.into()));
    let nowhere = measured("nowhere", &|all| all.iter_mut().for_each(displace));
    assert!(nowhere.get("loss").is_none() && nowhere["f1"].is_number(), "{nowhere}");
}

/// Predictions are told apart by their ids; what is learnt from needs none.
#[test]
fn ids_that_stand_twice_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = pretrained(folder.path());
    let path = folder.path().join("words.tsv");
    let learn = |ids: fn(usize) -> usize, out: &str, more: &[&str]| {
        let row = |index: usize| format!("{}\tanna found the apple\t{}\n", ids(index), index % 2);
        let rows = format!("id\ttext\tlabel\n{}", (0..40).map(row).collect::<String>());
        fs::write(&path, rows).expect("a file");
        let out = folder.path().join(out);
        let given =
            ["finetune", "table", "--out", text(&out), "--model", text(&model), "--data", text(&path)];
        told(&[&given[..], &BRIEF, more].concat()).1
    };
    // Every tenth row is held out: these two, and no other, have one id.
    let said = learn(|index| if index == 19 { 9 } else { index }, "twins", &[]);
    assert!(said.contains("dev: 1 of 4 examples have the id of an earlier one, such as \"9\""), "{said}");
    let said = learn(|index| if index == 19 { 9 } else { index }, "first", &["--eval-examples", "1"]);
    assert!(!said.contains("the id of an earlier one"), "the other is not measured on: {said}");
    let said = learn(|index| if index == 1 { 0 } else { index }, "learnt", &[]);
    assert!(!said.contains("the id of an earlier one"), "these are learnt from: {said}");
}

/// Who knows a passage from training answers better about it.
#[test]
fn passages_of_both_sets_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = pretrained(folder.path());
    let file = questions(folder.path(), false).join("train-v1.1.json");
    let learn = |out: &str| {
        let out = folder.path().join(out);
        let given =
            ["finetune", "squad", "--out", text(&out), "--model", text(&model), "--data", text(&file)];
        told(&[&given[..], &BRIEF].concat()).1
    };
    // 64 questions, each about a passage of its own.
    let said = learn("apart");
    assert!(!said.contains("passages"), "{said}");
    // The tenth, which is measured, becomes a second one about the passage before it.
    let mut all: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    let paragraphs = all["data"][0]["paragraphs"].as_array_mut().expect("a list");
    paragraphs.remove(9);
    let mut second = paragraphs[8]["qas"][0].clone();
    second["id"] = "q9".into();
    paragraphs[8]["qas"].as_array_mut().expect("a list").push(second);
    fs::write(&file, all.to_string()).expect("a file");
    let said = learn("together");
    assert!(
        said.contains("warning: dev: the passages of 1 of 6 questions are in the training set too"),
        "{said}"
    );
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, data, out) = (pretrained(folder.path()), table(folder.path()), folder.path().join("run"));
    let given = ["finetune", "table", "--out", text(&out), "--model", text(&model), "--data", text(&data)];
    for (flag, number) in
        [("--start-warmup-step", "1000"), ("--start-warmup-step", "2"), ("--warmup-steps", "3")]
    {
        let (code, said) = told(&[&given[..], &BRIEF, &[flag, number]].concat());
        assert!(code == Some(2) && said.contains("never come to its height"), "{flag}: {said}");
        assert!(said.contains("in the 2 steps of the run"), "{flag}: {said}");
    }
    let seeds = ["--seeds", "2", "--seed", "18446744073709551615"];
    let (code, said) = told(&[&given[..], &BRIEF, &seeds].concat());
    assert!(code == Some(2) && said.contains("no 1 seeds that follow it"), "{said}");
    assert!(!out.exists(), "nothing is begun");
    albert(&[&given[..], &BRIEF].concat());
    // As an earlier version began one: it goes on.
    let saved = out.join("config.toml");
    let config = fs::read_to_string(&saved).expect("saved");
    let late = config.replace("start_warmup_step = 0", "start_warmup_step = 1000");
    assert_ne!(late, config);
    fs::write(&saved, late).expect("a file");
    albert(&[&given[..], &BRIEF].concat());
    let on = ["evaluate", "table", "--model", text(&out), "--data", text(&data), "--max-seq-length"];
    for (length, part) in [("1", "8.."), ("10000000000000000000", "longer than the model's")] {
        let (code, said) = told(&[&on[..], &[length]].concat());
        assert!(code == Some(2) && said.contains(part), "{length}: {said}");
    }
    let nothing = folder.path().join("nothing.tsv");
    fs::write(&nothing, "text\tlabel\n").expect("a file");
    let written = folder.path().join("predictions");
    let on = ["predict", "table", "--model", text(&out), "--data", text(&nothing), "--out", text(&written)];
    let (code, said) = told(&on);
    assert!(code == Some(3) && said.contains("nothing.tsv: the file has no row"), "{said}");
}

/// Null scores belong to version 2.0, and so do questions without an answer.
#[test]
fn versions_of_questions_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second] = [false, true].map(|is_version2| questions(folder.path(), is_version2));
    let (first, second) = (first.join("dev-v1.1.json"), second.join("dev-v2.0.json"));
    let [answers, odds] = [("answers.json", "{}"), ("odds.json", "{}")].map(|(name, content)| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path
    });
    let score = ["evaluate", "squad", "--data", text(&first), "--predictions", text(&answers)];
    let (code, said) = told(&[&score[..], &["--null-odds", text(&odds)]].concat());
    assert!(code == Some(3) && said.contains("odds.json: null scores are of version 2.0"), "{said}");
    let score = ["evaluate", "squad", "--data", text(&second), "--predictions", text(&answers)];
    let (code, said) = told(&[&score[..], &["--version", "1.1"]].concat());
    assert!(code == Some(3) && said.contains("has no answers to compare with"), "{said}");
    let model = pretrained(folder.path());
    let out = folder.path().join("run");
    let given = ["finetune", "squad", "--version", "2.0", "--head", "span", "--out", text(&out)];
    albert(
        &[&given[..], &["--model", text(&model), "--data", text(&second), "--dev", text(&second)], &BRIEF]
            .concat(),
    );
    let on = ["--model", text(&out), "--data", text(&second)];
    let (code, said) = told(&[&["evaluate", "squad"], &on[..]].concat());
    assert!(
        code == Some(3) && said.contains("16 of 64 questions have no answer; that is SQuAD 2.0"),
        "{said}"
    );
    // The head is the one that the model has, unless another is asked for.
    let score = |head: &[&str]| {
        albert(&[&["evaluate", "squad", "--version", "2.0", "--json"], head, &on[..]].concat())
    };
    assert_eq!(score(&[]), score(&["--head", "span"]));
    let other = ["evaluate", "squad", "--version", "2.0", "--head", "answerable"];
    let (code, said) = told(&[&other, &on[..]].concat());
    assert!(
        code == Some(8) && said.contains("holds an AlbertForQuestionAnswering (squad --head span)"),
        "{said}"
    );
    // Where nothing is known of the answers, the threshold has to be.
    let unlabelled = folder.path().join("test.json");
    let text_of = fs::read_to_string(&second).expect("a file").replace("is_impossible", "was_impossible");
    fs::write(&unlabelled, text_of).expect("a file");
    let written = folder.path().join("predictions");
    let on = ["--version", "2.0", "--model", text(&out), "--data", text(&unlabelled)];
    let predict = [&["predict", "squad"], &on[..], &["--out", text(&written)]].concat();
    let advice = "--null-threshold takes the one that was best";
    assert!(told(&predict).1.contains(advice));
    assert!(!told(&[&predict[..], &["--null-threshold", "1"]].concat()).1.contains(advice));
}
