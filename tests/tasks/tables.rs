//! Tables of one's own: classes, values, words.

use train::finetuning::tasks::{Columns, Table, Wanted};
use train::finetuning::{Answer, Limits, Split, Target, Task, features, task};
use train::tokenizer::{Tokenizer, TrainOptions};

use crate::write;

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
    // Numbers with parts may be classes, but hardly anybody means them so.
    let stars = Table::own(columns("stars"), Wanted::Classes, None, folder.path()).unwrap();
    let remarks = stars.read(folder.path(), Split::Train).unwrap().files[0].remarks.join("; ");
    assert!(remarks.contains("numbers, learnt as 3 classes: --kind value"), "{remarks}");
    assert!(read.files[0].remarks.is_empty(), "{:?}", read.files[0].remarks);
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

/// A label that is not there is no label of its own.
#[test]
fn what_has_no_label_is_no_class() {
    let folder = tempfile::tempdir().unwrap();
    let columns = |label: &str| Columns { first: "text".into(), second: None, label: label.into() };
    let classes = |path| Table::own(columns("label"), Wanted::Classes, None, path).unwrap_err().to_string();
    let path = write(folder.path(), "x.csv", "text,label\r\na,good\r\nb,bad\r\nc, \r\n");
    let error = classes(&path);
    assert!(error.contains("x.csv:4: there is no label in column \"label\"; give the row one"), "{error}");
    for (tags, part) in [
        ("\"\"", "there is no label in column"),
        ("null", "holds null within a list"),
        ("{}", "holds an object"),
    ] {
        let line = format!("{{\"text\": [\"a\", \"b\"], \"tags\": [\"O\", {tags}]}}\n");
        let path = write(folder.path(), "x.jsonl", &line);
        let error = Table::own(columns("tags"), Wanted::WordClasses, None, &path).unwrap_err().to_string();
        assert!(error.contains("x.jsonl:1: ") && error.contains(part), "{error}");
    }
}

/// A prediction file has two columns and a line for each example, whatever they and the classes are called.
#[test]
fn no_name_breaks_a_prediction_file() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"id\": \"x\\ny\", \"text\": \"a\", \"label\": \"one\\ttwo\"}\n{\"id\": 7, \"text\": \"b\", \"label\": \"z\"}\n";
    let path = write(folder.path(), "x.jsonl", rows);
    let columns = Columns { first: "text".into(), second: None, label: "label".into() };
    let table = Table::own(columns, Wanted::Classes, None, &path).unwrap();
    let read = table.read(&path, Split::Dev).unwrap();
    let answers = [Answer::Scores(vec![1.0, 0.0]), Answer::Scores(vec![0.0, 1.0])];
    let files = table.write(&read.examples, &answers, Split::Dev, folder.path()).unwrap();
    let written = std::fs::read_to_string(&files[0]).unwrap();
    assert_eq!(written, "index\tprediction\nx\\ny\tone\\ttwo\n7\tz\n");
}

/// To answer a test set its labels need not be known; each row of it is answered.
#[test]
fn rows_of_a_test_set_need_no_labels() {
    let folder = tempfile::tempdir().unwrap();
    let columns = |label: &str| Columns { first: "text".into(), second: None, label: label.into() };
    let labels = Some(vec!["bad".to_owned(), "good".to_owned()]);
    let table = Table::own(columns("label"), Wanted::Classes, labels.clone(), folder.path()).unwrap();
    let path = write(folder.path(), "x.csv", "text,label\na,good\nb,\nc,?\nd, \n");
    let read = table.read(&path, Split::Test).unwrap();
    let targets: Vec<_> = read.examples.iter().map(|example| example.target.clone()).collect();
    assert_eq!(targets, [Some(Target::Class(1)), None, None, None]);
    let [remark] = &read.files[0].remarks[..] else { panic!("{:?}", read.files) };
    assert!(remark.starts_with("1 examples are answered, but not judged"), "{remark}");
    assert!(remark.contains("x.csv:4: unknown label \"?\""), "{remark}");
    let error = table.read(&path, Split::Dev).unwrap_err().to_string();
    assert!(error.contains("x.csv:3: unknown label \"\""), "{error}");
    let values = Table::own(columns("label"), Wanted::Value, None, folder.path()).unwrap();
    assert_eq!(values.read(&path, Split::Test).unwrap().files[0].remarks.len(), 1);
    // In a table of one column an empty line might be meant for an empty text.
    let path = write(folder.path(), "one.tsv", "text\na\n\nb\n");
    let read = table.read(&path, Split::Test).unwrap();
    assert_eq!(
        (read.examples.len(), &read.files[0].remarks[..]),
        (2, &["1 empty lines are no examples".to_owned()][..])
    );
    let words = Table::own(columns("tags"), Wanted::WordClasses, labels, folder.path()).unwrap();
    let path = write(folder.path(), "x.jsonl", "{\"text\": [\"a\"], \"tags\": []}\n{\"text\": [\"a\"]}\n");
    let read = words.read(&path, Split::Test).unwrap();
    assert!(read.examples.iter().all(|example| example.target.is_none()) && read.files[0].remarks.is_empty());
    // The reference leaves short lines of QQP out where it learns and measures, never where it answers.
    let qqp = "id\tquestion1\tquestion2\tis_duplicate\n0\tx\ty\t1\n1\tx\n";
    let path = write(folder.path(), "qqp.tsv", qqp);
    let qqp = task("qqp").unwrap();
    assert_eq!(qqp.read(&path, Split::Dev).unwrap().examples.len(), 1);
    let error = qqp.read(&path, Split::Test).unwrap_err().to_string();
    assert!(error.contains("qqp.tsv:3: 2 columns where 4 are expected"), "{error}");
    assert!(error.ends_with("(if it is a development set: --split dev)"), "{error}");
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
