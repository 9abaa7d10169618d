//! GLUE: its official layouts, the real files, the site's files.

use std::path::{Path, PathBuf};

use train::finetuning::submission::glue;
use train::finetuning::tasks::GLUE;
use train::finetuning::{Answer, Example, Input, Split, Target, baseline, task};

use crate::data_folder::data;
use crate::{counts, write};

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

/// What MNLI's file is named after is what it is judged and written as.
#[test]
fn a_file_of_one_group_is_of_that_group() {
    let folder = tempfile::tempdir().unwrap();
    let mnli = task("mnli").unwrap();
    let rows = "index\tsentence1\tsentence2\tgold_label\n0\tx\ty\tneutral\n";
    let answers = [Answer::Scores(vec![0.0, 0.0, 1.0])];
    for (name, split, figure, written) in [
        ("dev_matched.tsv", Split::Dev, "accuracy_matched", "MNLI-m.tsv"),
        ("dev_mismatched.tsv", Split::Dev, "accuracy_mismatched", "MNLI-mm.tsv"),
        ("Mis-Matched.tsv", Split::Test, "accuracy_mismatched", "MNLI-mm.tsv"),
        ("pairs.tsv", Split::Dev, "accuracy_matched", "MNLI-m.tsv"),
        ("dev_mismatched.tsv", Split::Train, "accuracy", "predictions.tsv"),
    ] {
        let read = mnli.read(&write(folder.path(), name, rows), split).unwrap();
        assert_eq!(mnli.score(&read.examples, &answers), [(figure.into(), 1.0)], "{name}");
        let files = mnli.write(&read.examples, &answers, split, folder.path()).unwrap();
        assert_eq!(files, [folder.path().join(written)], "{name}");
        let [file] = &read.files[..] else { panic!("{:?}", read.files) };
        assert_eq!(file.remarks.len(), usize::from(name == "pairs.tsv"), "{:?}", file.remarks);
    }
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
