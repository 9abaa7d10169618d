//! Files of examples: the official layouts, the real data, and what is said about files that are not as they should be.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/data_folder.rs"]
mod data_folder;

use std::path::{Path, PathBuf};

use data_folder::data;
use proptest::prelude::*;
use train::finetuning::submission::glue;
use train::finetuning::tasks::{Columns, GLUE, Level, Race, Table, Wanted};
use train::finetuning::{
    Answer, Candidate, Example, Examples, Input, Limits, Split, Target, Task, baseline, features, task,
};
use train::tables::InputError;
use train::tokenizer::{Tokenizer, TrainOptions};

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

fn counts(read: &Examples) -> Vec<(usize, Option<usize>)> {
    read.files.iter().map(|file| (file.rows, file.official)).collect()
}

/// One labelled and one unlabelled row of every official layout; the label, the texts and the names of the files differ.
const LAYOUTS: [(&str, &str, &str, &str); 9] = [
    ("cola", "CoLA/train.tsv", "gj04\t1\t\tThe \"boat sank.\n", "gj04\t2\t*\tx\n"),
    ("sst-2", "SST-2/train.tsv", "sentence\tlabel\nThe \"boat sank.\t1\n", "sentence\tlabel\nx\tgood\n"),
    (
        "mrpc",
        "MRPC/train.tsv",
        "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tThe \"boat sank.\tIt sank.\n",
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n-\t7\t8\tx\ty\n",
    ),
    (
        "sts-b",
        "STS-B/train.tsv",
        "index\tsentence1\tsentence2\tscore\n0\tThe \"boat sank.\tIt sank.\t3.800\n",
        "index\tsentence1\tsentence2\tscore\n0\tx\ty\tmuch\n",
    ),
    (
        "qqp",
        "QQP/train.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\tThe \"boat sank.\tIt sank.\t1\n9\t1\n",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\tx\ty\t2\n",
    ),
    (
        "mnli",
        "MNLI/train.tsv",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tThe \"boat sank.\tIt sank.\tneutral\tentailment\n",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tx\ty\tneutral\t-\n",
    ),
    (
        "qnli",
        "QNLI/train.tsv",
        "index\tquestion\tsentence\tlabel\n0\tThe \"boat sank.\tIt sank.\tnot_entailment\n",
        "index\tquestion\tsentence\tlabel\n0\tx\ty\tneutral\n",
    ),
    (
        "rte",
        "RTE/train.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tThe \"boat sank.\tIt sank.\tnot_entailment\n",
        "index\tsentence1\tsentence2\tlabel\n0\tx\ty\t1\n",
    ),
    (
        "wnli",
        "WNLI/train.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tThe \"boat sank.\tIt sank.\t1\n",
        "index\tsentence1\tsentence2\tlabel\n0\tx\ty\tyes\n",
    ),
];

#[test]
fn every_layout_of_glue_is_read_and_unknown_labels_are_refused() {
    for (name, file, good, bad) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let task = task(name).unwrap();
        let path = write(folder.path(), file, good);
        for source in [folder.path(), path.parent().unwrap(), &path] {
            let read = task.read(source, Split::Train).unwrap();
            let [example] = &read.examples[..] else { panic!("{name}: {:?}", read.examples) };
            let is_single = matches!(name, "cola" | "sst-2");
            let second = (!is_single).then(|| "It sank.".to_owned());
            assert_eq!(example.input, Input::Texts { first: "The \"boat sank.".into(), second }, "{name}");
            let target = if name == "sts-b" { Target::Value(3.8) } else { Target::Class(1) };
            assert_eq!(example.target, Some(target), "{name}");
            assert_eq!((read.files[0].rows, read.files[0].official.is_some()), (1, true), "{name}");
            assert_eq!(
                read.files[0].remarks.is_empty(),
                name != "qqp",
                "{name}: {:?}",
                read.files[0].remarks
            );
        }
        write(folder.path(), file, bad);
        let error = task.read(folder.path(), Split::Train).unwrap_err().to_string();
        let line = if name == "cola" { 1 } else { 2 };
        let fault = if name == "sts-b" { "is no number" } else { "unknown label" };
        assert!(error.contains(&format!("{file}:{line}: ")) && error.contains(fault), "{name}: {error}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str, split| task(name).unwrap().read(folder.path(), split).unwrap_err().to_string();
    let missing = error("rte", Split::Dev);
    assert!(missing.contains("the dev set is not there") && missing.contains("RTE/dev.tsv"), "{missing}");
    assert!(error("ax", Split::Train).contains("ax has no train set"));
    assert!(error("squad-2.0", Split::Train).contains("no train-v2.0.json"));
    assert!(error("race", Split::Test).contains("the test set is not there"));
    write(folder.path(), "RTE/train.tsv", "index\tsentence1\tlabel\n0\tx\tentailment\n");
    let column = error("rte", Split::Train);
    assert!(column.contains("train.tsv:2: there is no column \"sentence2\"; the columns are"), "{column}");
    write(folder.path(), "RTE/train.tsv", "index\tsentence1\tsentence2\tlabel\n0\tx\ty\n");
    let count = error("rte", Split::Train);
    assert!(count.contains("train.tsv:2: 3 columns where 4 are expected"), "{count}");
    // Half of MNLI's development set can be judged, but not silently.
    let mnli = "index\tsentence1\tsentence2\tgold_label\n0\tx\ty\tneutral\n";
    write(folder.path(), "MNLI/dev_matched.tsv", mnli);
    let read = task("mnli").unwrap().read(folder.path(), Split::Dev).unwrap();
    assert!(read.files[0].remarks[0].contains("dev_mismatched.tsv"), "{:?}", read.files[0].remarks);
    assert!(task("sst").err().unwrap().to_string().contains("the tasks are cola, sst-2"));
}

#[test]
fn predictions_have_the_sites_names_and_columns() {
    let folder = tempfile::tempdir().unwrap();
    let mnli = "index\tsentence1\tsentence2\n0\tx\ty\n1\tx\ty\n";
    write(folder.path(), "MNLI/test_matched.tsv", mnli);
    write(folder.path(), "MNLI/test_mismatched.tsv", mnli);
    let task = task("mnli").unwrap();
    let read = task.read(folder.path(), Split::Test).unwrap();
    let answers = [0, 1, 2, 1]
        .map(|class: u32| Answer::Scores((0..3).map(|c| f32::from(u8::from(c == class))).collect()));
    assert_eq!(task.score(&read.examples, &answers), [], "nothing is known of a test set");
    let files = task.write(&read.examples, &answers, Split::Test, folder.path()).unwrap();
    assert_eq!(files, [folder.path().join("MNLI-m.tsv"), folder.path().join("MNLI-mm.tsv")]);
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    assert_eq!(text(&files[0]), "index\tprediction\n0\tcontradiction\n1\tentailment\n");
    assert_eq!(text(&files[1]), "index\tprediction\n0\tneutral\n1\tentailment\n");
}

#[test]
fn figures_of_groups_stand_apart() {
    let example = |group, class| Example {
        id: String::new(),
        group,
        input: Input::Texts { first: String::new(), second: None },
        target: Some(Target::Class(class)),
    };
    let examples = [example("matched", 0), example("matched", 1), example("mismatched", 2)];
    let answers = [
        Answer::Scores(vec![1.0, 0.0, 0.0]),
        Answer::Scores(vec![1.0, 0.0, 0.0]),
        Answer::Scores(vec![0.0, 0.0, 1.0]),
    ];
    let mnli = task("mnli").unwrap();
    let figures = mnli.score(&examples, &answers);
    assert_eq!(figures, [("accuracy_matched".into(), 0.5), ("accuracy_mismatched".into(), 1.0)]);
    assert_eq!(mnli.selection(), "accuracy_matched");
    assert_eq!(baseline(&*mnli, &examples[1..2], &examples)[0].1, 0.5, "always class 1");
}

/// The real files: every row is an example, and the official ones are recognised as such.
#[test]
fn real_files_have_their_rows() {
    let Some(folder) = data("glue") else { return };
    let rows = |name: &str, split| counts(&task(name).unwrap().read(&folder, split).unwrap());
    for (name, train, dev, test) in [
        ("cola", 8551, 1043, 1063),
        ("sst-2", 67_349, 872, 1821),
        ("mrpc", 3668, 408, 1725),
        ("sts-b", 5749, 1500, 1379),
        ("rte", 2490, 277, 3000),
        ("wnli", 635, 71, 146),
    ] {
        assert_eq!(rows(name, Split::Train), [(train, Some(train))], "{name}");
        assert_eq!(rows(name, Split::Dev), [(dev, Some(dev))], "{name}");
        assert_eq!(rows(name, Split::Test), [(test, Some(test))], "{name}");
    }
    assert_eq!(rows("ax", Split::Test), [(1104, Some(1104))]);
    assert_eq!(rows("qnli", Split::Train), [(9999, Some(104_743))]);
    assert_eq!(rows("qnli", Split::Dev), [(5463, Some(5463))]);
    assert_eq!(rows("qqp", Split::Train), [(31_868, Some(363_846))]);
    assert_eq!(rows("qqp", Split::Dev), [(1000, Some(40_430))]);
    assert_eq!(rows("mnli", Split::Train), [(8999, Some(392_702))]);
    assert_eq!(rows("mnli", Split::Dev), [(1000, Some(9815)), (1000, Some(9832))]);
}

#[test]
fn race_is_read_by_passages_and_from_one_file() {
    let passage = |id: &str| {
        format!(
            "{{\"article\": \"A boat.\", \"questions\": [\"It is a _ .\", \"Why?\"], \"id\": \"{id}\", \
             \"options\": [[\"boat\", \"dog\", \"cat\", \"cow\"], [\"a\", \"b\", \"c\", \"d\"]], \"answers\": [\"A\", \"C\"]}}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "dev/high/12.txt", &passage("high12.txt"));
    write(folder.path(), "dev/high/2.txt", &passage(""));
    write(folder.path(), "dev/middle/all.txt", &[passage("m1"), passage("m2")].concat());
    let read = task("race").unwrap().read(folder.path(), Split::Dev).unwrap();
    let ids: Vec<&str> = read.examples.iter().map(|example| example.id.as_str()).collect();
    assert_eq!(ids, ["m1-0", "m1-1", "m2-0", "m2-1", "2-0", "2-1", "high12.txt-0", "high12.txt-1"]);
    assert_eq!(counts(&read), [(4, Some(1436)), (4, Some(3451))]);
    let Input::Options { passage: first, options } = &read.examples[0].input else { panic!() };
    assert_eq!((&**first, options[1].as_str()), ("A boat.", "It is a dog ."));
    let Input::Options { passage: second, options } = &read.examples[1].input else { panic!() };
    assert!(std::sync::Arc::ptr_eq(first, second), "questions about one passage share it");
    assert_eq!(options[3], "Why? d");
    assert_eq!(read.examples[1].target, Some(Target::Class(2)));
    let high = Race::new(Level::High).read(folder.path(), Split::Dev).unwrap();
    assert_eq!(high.examples.len(), 4);

    let bad = |content: &str| {
        let path = write(folder.path(), "bad.txt", &(passage("x") + "\n" + content));
        Race::new(Level::Both).read(&path, Split::Dev).unwrap_err().to_string()
    };
    for (content, expected) in [
        (
            passage("x").replace("\"C\"", "\"E\""),
            "bad.txt:3: question 2 of x: unknown answer \"E\"; an answer is one letter, A to D",
        ),
        (passage("x").replace(", \"d\"", ""), "bad.txt:3: question 2 of x has 3 options, 4 are expected"),
        (passage("x").replace("[\"A\", \"C\"]", "[\"A\"]"), "bad.txt:3: 2 questions with 1 answers"),
        (passage("x")[..40].to_owned(), "bad.txt:3: no passage as RACE's are"),
    ] {
        let error = bad(&content);
        assert!(error.contains(expected), "{error}");
    }
    let three = passage("x").replace(", \"cow\"", "").replace(", \"d\"", "");
    let path = write(folder.path(), "three.txt", &three);
    let race = Race::new(Level::Both).with_options(3);
    assert_eq!(race.read(&path, Split::Dev).unwrap().examples.len(), 2);
}

#[test]
fn the_real_race_has_its_questions() {
    let Some(folder) = data("race") else { return };
    let race = task("race").unwrap();
    let dev = race.read(&folder, Split::Dev).unwrap();
    assert_eq!(counts(&dev), [(1436, Some(1436))]);
    assert!(dev.files[0].remarks.iter().any(|remark| remark.contains("no high passages")), "{:?}", dev.files);
    let train = race.read(&folder, Split::Train).unwrap();
    assert_eq!(train.files.len(), 2);
}

const SQUAD: &str = r#"{"version": "v2.0", "data": [{"title": "T", "paragraphs": [
{"context": "Zoë's boat sank in 1912 — off Crete.", "qas": [
{"id": "q1", "question": "When?", "answers": [{"text": "1912", "answer_start": 19}], "is_impossible": false},
{"id": "q2", "question": "Who sank it?", "answers": [], "is_impossible": true},
{"id": "q3", "question": "Where?", "answers": [{"text": "off Crete", "answer_start": 26}], "is_impossible": false}]}]}]}"#;

fn squad_error(task: &dyn Task, content: &str, split: Split) -> String {
    let folder = tempfile::tempdir().unwrap();
    task.read(&write(folder.path(), "q.json", content), split)
        .map(|_| ())
        .map_err(|e: InputError| e.to_string())
        .unwrap_err()
}

#[test]
fn questions_are_read_and_bad_ones_refused() {
    let squad = task("squad-2.0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let read = squad.read(&write(folder.path(), "q.json", SQUAD), Split::Train).unwrap();
    let gold: Vec<Vec<(String, usize)>> = (read.examples.iter())
        .map(|example| match &example.target {
            Some(Target::Answers(gold)) => gold.iter().map(|gold| (gold.text.clone(), gold.start)).collect(),
            other => panic!("{other:?}"),
        })
        .collect();
    // In bytes: two characters before take more than one.
    assert_eq!(gold, [vec![("1912".to_owned(), 20)], vec![], vec![("off Crete".to_owned(), 29)]]);
    for (content, expected) in [
        (
            SQUAD.replace(": 26", ": 27"),
            "q.json:5: question \"q3\": the answer \"off Crete\" does not stand at character 27",
        ),
        (SQUAD.replace(": 26", ": 2600"), "q.json:5: question \"q3\": the answer"),
        (
            SQUAD.replace(", \"is_impossible\": true", ""),
            "q.json:4: question \"q2\": it has no answer to learn from",
        ),
        (SQUAD[..200].to_owned(), "not a file of questions"),
        (SQUAD.replace("\"id\": \"q2\", ", ""), "q.json:4: not a file of questions as SQuAD's are (column"),
        ("{\"data\": []}".to_owned(), "the file has no question"),
    ] {
        let error = squad_error(&*squad, &content, Split::Train);
        assert!(error.contains(expected) && error.contains("; "), "{error}");
    }
    let error = squad_error(&*squad, &SQUAD[..200], Split::Train);
    assert!(error.contains("the file ends too early"), "{error}");
    let error = squad_error(&*task("squad-1.1").unwrap(), SQUAD, Split::Train);
    assert!(error.contains("that is SQuAD 2.0"), "{error}");
    // What is only to be scored needs no places.
    let read =
        squad.read(&write(folder.path(), "q.json", &SQUAD.replace(": 26", ": 27")), Split::Dev).unwrap();
    assert!(read.files[0].remarks[0].contains("1 answers do not stand at their answer_start"));
}

#[test]
fn answers_become_official_files() {
    let folder = tempfile::tempdir().unwrap();
    let squad = task("squad-2.0").unwrap();
    let read = squad.read(&write(folder.path(), "q.json", SQUAD), Split::Dev).unwrap();
    let candidate = |text: &str, start: f32| Candidate { text: text.to_owned(), start, end: 0.0 };
    let answers = [
        Answer::Spans { best: vec![candidate("1912", -0.5), candidate("in 1912", -1.5)], null: -3.0 },
        Answer::Spans { best: vec![candidate("Zoë", -0.5)], null: 2.0 },
        Answer::Spans { best: vec![candidate("Crete", -0.5)], null: -1.0 },
    ];
    let figures = squad.score(&read.examples, &answers);
    let figure = |name: &str| figures.iter().find(|(known, _)| known == name).unwrap().1;
    // F1 of "Crete" for "off Crete" is 2/3; the threshold that is found leaves q2 unanswered and answers the one it lies at.
    assert!((figure("f1") - 100.0 * (2.0 + 2.0 / 3.0) / 3.0).abs() < 1e-9, "{figures:?}");
    assert!((figure("NoAns_f1") - 100.0).abs() < 1e-9);
    let files = squad.write(&read.examples, &answers, Split::Dev, folder.path()).unwrap();
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["predictions.json", "nbest_predictions.json", "null_odds.json"]);
    let text = |at: usize| std::fs::read_to_string(&files[at]).unwrap();
    assert_eq!(text(0), "{\n    \"q1\": \"1912\",\n    \"q2\": \"\",\n    \"q3\": \"Crete\"\n}\n");
    let nbest: serde_json::Value = serde_json::from_str(&text(1)).unwrap();
    let (first, second) = (&nbest["q1"][0], &nbest["q1"][1]);
    assert_eq!((first["text"].as_str(), first["start_log_prob"].as_f64()), (Some("1912"), Some(-0.5)));
    let probability = |entry: &serde_json::Value| entry["probability"].as_f64().unwrap();
    assert!((probability(first) / probability(second) - 1f64.exp()).abs() < 1e-9);
    assert!((probability(first) + probability(second) - 1.0).abs() < 1e-9);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text(2)).unwrap()["q2"], 2.0);
}

#[test]
fn a_table_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "train.csv",
        "review,stars,verdict\n\"Good, very\",4.5,good\nBad,1,bad\nFine,3,fine\n",
    );
    let columns = |label: &str| Columns { first: "review".into(), second: None, label: label.into() };
    let classes = Table::own(columns("verdict"), Wanted::Classes, None, folder.path()).unwrap();
    assert_eq!(classes.labels(), ["bad", "fine", "good"]);
    let read = classes.read(folder.path(), Split::Train).unwrap();
    assert_eq!(read.examples[0].target, Some(Target::Class(2)));
    let values = Table::own(columns("stars"), Wanted::Value, None, folder.path()).unwrap();
    assert_eq!(
        values.read(folder.path(), Split::Train).unwrap().examples[0].target,
        Some(Target::Value(4.5))
    );
    // GLUE's mark of what is kept back is a number like any other here.
    let one = write(folder.path(), "minus.csv", "review,stars,verdict\nx,-1,-1\ny,1,1\n");
    let values = values.read(&one, Split::Test).unwrap();
    assert_eq!(values.examples[0].target, Some(Target::Value(-1.0)));
    let signs = Table::own(columns("verdict"), Wanted::Classes, None, &one).unwrap();
    assert_eq!(signs.read(&one, Split::Test).unwrap().examples[0].target, Some(Target::Class(0)));
    std::fs::remove_file(one).unwrap();
    let path = write(folder.path(), "dev.csv", "review,stars,verdict\nx,1,goood\n");
    let error = classes.read(folder.path(), Split::Dev).unwrap_err().to_string();
    assert!(error.contains("dev.csv:2: unknown label \"goood\" in column \"verdict\"; the labels of table are bad, fine, good"), "{error}");
    std::fs::remove_file(path).unwrap();
    let error = classes.read(folder.path(), Split::Dev).unwrap_err().to_string();
    assert!(error.contains("the dev set is not there (no file such as dev.tsv)"), "{error}");
    let one = write(folder.path(), "one.tsv", "review\tverdict\nx\tgood\ny\tgood\n");
    let error = Table::own(columns("verdict"), Wanted::Classes, None, &one).unwrap_err().to_string();
    assert!(error.contains("holds one label only (good)"), "{error}");
}

#[test]
fn words_with_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "train.jsonl",
        "{\"tokens\": [\"Ann\", \"met\", \"Bobby\"], \"tags\": [\"B-PER\", \"O\", \"B-PER\"]}\n",
    );
    let columns = Columns { first: "tokens".into(), second: None, label: "tags".into() };
    let table = Table::own(columns, Wanted::WordClasses, None, &path).unwrap();
    assert_eq!((table.labels(), table.selection()), (&["B-PER".to_owned(), "O".to_owned()][..], "f1"));
    let read = table.read(&path, Split::Train).unwrap();
    let text = ["Ann met Bobby", "Bob and Ann met"];
    let tokenizer =
        Tokenizer::train(text, &TrainOptions { vocabulary_size: 26, ..TrainOptions::default() }).unwrap();
    let limits = Limits::new(64);
    let features = features::build(&table, &read.examples, &tokenizer, &limits, &|| false).unwrap();
    let ids = features[0].sequences[0].first.as_slice();
    for (&row, word) in features[0].rows.iter().zip(["ann", "met", "bobby"]) {
        let piece = tokenizer.piece(ids[row as usize - 1]).unwrap();
        let first = piece.trim_start_matches('▁');
        assert!(word.starts_with(first) || piece == "▁", "{word} begins with {piece}");
    }
    // Words beyond the end have no row, and count as wrong.
    let short = features::build(&table, &read.examples, &tokenizer, &Limits::new(4), &|| false).unwrap();
    assert!(short[0].rows.len() < 3 && short[0].tokens() <= 4);
    let figures = table.score(&read.examples, &[Answer::Words(vec![0, 1])]);
    assert_eq!(figures, [("f1".into(), 2.0 / 3.0), ("accuracy".into(), 2.0 / 3.0)]);
    let files =
        table.write(&read.examples, &[Answer::Words(vec![0, 1])], Split::Test, folder.path()).unwrap();
    let line = std::fs::read_to_string(&files[0]).unwrap();
    assert_eq!(line, "{\"tags\":[\"B-PER\",\"O\",null],\"tokens\":[\"Ann\",\"met\",\"Bobby\"]}\n");
    let bad = write(folder.path(), "bad.jsonl", "{\"tokens\": [\"Ann\"], \"tags\": [\"O\", \"O\"]}\n");
    let error = table.read(&bad, Split::Dev).unwrap_err().to_string();
    assert!(error.contains("bad.jsonl:1: 1 words in \"tokens\" and 2 in \"tags\""), "{error}");
}

#[test]
fn features_do_not_depend_on_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String =
        (0..700).map(|n| format!("{n}\tthe boat number {n}\tit sank {}\tentailment\n", n % 7)).collect();
    write(folder.path(), "RTE/train.tsv", &format!("index\tsentence1\tsentence2\tlabel\n{rows}"));
    let rte = task("rte").unwrap();
    let read = rte.read(folder.path(), Split::Train).unwrap();
    let options = TrainOptions { vocabulary_size: 40, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(["the boat number it sank"], &options).unwrap();
    let with = |threads: usize| {
        let pool = train::threads::pool(threads).unwrap();
        pool.install(|| features::build(&*rte, &read.examples, &tokenizer, &Limits::new(20), &|| false))
            .unwrap()
    };
    let text = |features: &[train::finetuning::Feature]| format!("{features:?}");
    assert_eq!(text(&with(1)), text(&with(3)));
    assert!(
        features::build(&*rte, &read.examples, &tokenizer, &Limits::new(20), &|| true).is_none(),
        "stopped"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damaged files of questions and passages are read or refused; nothing else happens.
    #[test]
    fn damaged_json_is_refused_or_harmless(cut in 0usize..600, bit in 0usize..4800) {
        let folder = tempfile::tempdir().unwrap();
        let squad = task("squad-2.0").unwrap();
        let race = Race::new(Level::Both);
        let passage = "{\"article\": \"A\", \"questions\": [\"_\"], \"options\": [[\"a\", \"b\", \"c\", \"d\"]], \"answers\": [\"A\"]}";
        let path = folder.path().join("x.txt");
        for (task, whole) in [(&*squad, SQUAD), (&race as &dyn Task, passage)] {
            let mut bytes = whole.as_bytes().to_vec();
            std::fs::write(&path, &bytes[..cut.min(bytes.len() - 1)]).unwrap();
            prop_assert!(task.read(&path, Split::Train).is_err());
            let bit = bit % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            let _ = task.read(&path, Split::Train);
        }
    }
}

/// What `predict` would write for the whole test set of each of GLUE's tasks.
fn all_predictions(folder: &Path) {
    for (name, rows, labels) in GLUE.iter().flat_map(train::finetuning::tasks::Glue::submissions) {
        let label = |row: usize| labels.get(row % labels.len().max(1)).copied().unwrap_or("2.500");
        let rows: String = (0..rows).map(|row| format!("{row}\t{}\n", label(row))).collect();
        write(folder, &format!("{}/{name}.tsv", &name[..2]), &format!("index\tprediction\n{rows}"));
    }
}

#[test]
fn a_submission_is_complete_checked_and_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let (place, out) = (folder.path().join("predictions"), folder.path().join("out.zip"));
    all_predictions(&place);
    let folders = [place.clone()];
    let parts = glue(&folders, false, &out).unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let wanted = "CoLA SST-2 MRPC STS-B QQP MNLI-m MNLI-mm QNLI RTE WNLI AX";
    assert_eq!(names, wanted.split(' ').map(|name| format!("{name}.tsv")).collect::<Vec<_>>());
    assert_eq!(parts.iter().map(|part| part.rows).sum::<usize>(), 426_309);
    let zip = std::fs::read(&out).unwrap();
    for name in &names {
        assert!(zip.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{name}");
    }
    glue(&folders, false, &out).unwrap();
    assert!(zip == std::fs::read(&out).unwrap(), "the same bytes");

    let refused = |incomplete| glue(&folders, incomplete, &out).unwrap_err().to_string();
    for (content, expected) in [
        ("index\tprediction\n0\t1\n2\t1\n", "WN/WNLI.tsv:3: index \"2\" where 1 is expected"),
        ("index\tprediction\n0\tyes\n", "WN/WNLI.tsv:2: prediction \"yes\"; the site wants 0, 1"),
        ("id\tlabel\n0\t1\n", "WN/WNLI.tsv:2: the columns are id, label"),
        ("index\tprediction\n0\t1\n", "WN/WNLI.tsv: 1 predictions, the official test set has 146"),
    ] {
        write(&place, "WN/WNLI.tsv", content);
        let error = refused(false);
        assert!(error.contains(expected), "{error}");
    }
    std::fs::remove_file(place.join("WN/WNLI.tsv")).unwrap();
    let error = refused(false);
    assert!(error.contains("1 of 11 files of predictions are missing: WNLI.tsv"), "{error}");
    assert_eq!(glue(&folders, true, &out).unwrap().iter().filter(|part| part.path.is_none()).count(), 1);
    write(&place, "AX.tsv", "");
    assert!(refused(true).contains("AX.tsv is also in"), "two of one name");
}
