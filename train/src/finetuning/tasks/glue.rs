//! GLUE: nine tasks and a diagnostic set, each a row of one table.
//!
//! The files are read as the site gives them out (TSV, quotation marks are text) and as the Hugging Face Hub keeps them
//! (Parquet; its order of the classes is not always the reference's, so its numbers are translated).

use super::score::Score;
use super::table::{Columns, Part, Table, Wanted};
use crate::finetuning::task::Split::{Dev, Test, Train};

/// One of GLUE's tasks.
#[derive(Debug)]
pub struct Glue {
    /// Its name.
    pub name: &'static str,
    /// The folder of its files on the site, and on the Hub.
    folders: &'static [&'static str; 2],
    /// Its columns in the site's files, and in the Hub's: first text, second text or nothing, label.
    columns: [[&'static str; 3]; 2],
    /// The names of the columns of a file without a line of names.
    names: Option<&'static [&'static str]>,
    /// Whether line feeds within its texts made lines with too few columns, which the reference leaves out.
    skip_short: bool,
    /// Its classes in the order of the reference; none for values.
    labels: &'static [&'static str],
    /// The same in the order of the Hub.
    hub_labels: &'static [&'static str],
    /// Its files.
    parts: &'static [Part],
    /// Its figures.
    scores: &'static [Score],
}

const SENTENCE: [&str; 3] = ["sentence", "", "label"];
const SENTENCES: [&str; 3] = ["sentence1", "sentence2", "label"];
const BINARY: &[&str] = &["0", "1"];
const ENTAILMENT: &[&str] = &["entailment", "not_entailment"];
/// In the order of the reference's outputs.
const INFERENCE: &[&str] = &["contradiction", "entailment", "neutral"];
/// In the order of the Hub's numbers.
const HUB_INFERENCE: &[&str] = &["entailment", "neutral", "contradiction"];

/// The usual three files.
const fn parts(rows: [usize; 3], submission: &'static str) -> [Part; 3] {
    [
        Part { split: Train, group: "", file: "train.tsv", hub: "train", rows: rows[0], submission },
        Part { split: Dev, group: "", file: "dev.tsv", hub: "validation", rows: rows[1], submission },
        Part { split: Test, group: "", file: "test.tsv", hub: "test", rows: rows[2], submission },
    ]
}

/// GLUE's tasks, in the order of its table.
pub const GLUE: [Glue; 10] = [
    Glue {
        name: "cola",
        folders: &["CoLA", "cola"],
        columns: [SENTENCE, SENTENCE],
        names: Some(&["source", "label", "mark", "sentence"]),
        skip_short: false,
        labels: BINARY,
        hub_labels: BINARY,
        parts: &parts([8551, 1043, 1063], "CoLA"),
        scores: &[Score::Matthews, Score::Accuracy],
    },
    Glue {
        name: "sst-2",
        folders: &["SST-2", "sst2"],
        columns: [SENTENCE, SENTENCE],
        names: None,
        skip_short: false,
        labels: BINARY,
        hub_labels: BINARY,
        parts: &parts([67_349, 872, 1821], "SST-2"),
        scores: &[Score::Accuracy],
    },
    Glue {
        name: "mrpc",
        folders: &["MRPC", "mrpc"],
        columns: [["#1 String", "#2 String", "Quality"], SENTENCES],
        names: None,
        skip_short: false,
        labels: BINARY,
        hub_labels: BINARY,
        parts: &parts([3668, 408, 1725], "MRPC"),
        scores: &[Score::Accuracy, Score::F1],
    },
    Glue {
        name: "sts-b",
        folders: &["STS-B", "stsb"],
        columns: [["sentence1", "sentence2", "score"], SENTENCES],
        names: None,
        skip_short: false,
        labels: &[],
        hub_labels: &[],
        parts: &parts([5749, 1500, 1379], "STS-B"),
        scores: &[Score::Pearson, Score::Spearman],
    },
    Glue {
        name: "qqp",
        folders: &["QQP", "qqp"],
        columns: [["question1", "question2", "is_duplicate"], ["question1", "question2", "label"]],
        names: None,
        skip_short: true,
        labels: BINARY,
        hub_labels: BINARY,
        parts: &parts([363_846, 40_430, 390_965], "QQP"),
        scores: &[Score::Accuracy, Score::F1],
    },
    Glue {
        name: "mnli",
        folders: &["MNLI", "mnli"],
        columns: [["sentence1", "sentence2", "gold_label"], ["premise", "hypothesis", "label"]],
        names: None,
        skip_short: false,
        labels: INFERENCE,
        hub_labels: HUB_INFERENCE,
        parts: &MNLI,
        scores: &[Score::Accuracy],
    },
    Glue {
        name: "qnli",
        folders: &["QNLI", "qnli"],
        columns: [["question", "sentence", "label"]; 2],
        names: None,
        skip_short: false,
        labels: ENTAILMENT,
        hub_labels: ENTAILMENT,
        parts: &parts([104_743, 5463, 5463], "QNLI"),
        scores: &[Score::Accuracy],
    },
    Glue {
        name: "rte",
        folders: &["RTE", "rte"],
        columns: [SENTENCES, SENTENCES],
        names: None,
        skip_short: false,
        labels: ENTAILMENT,
        hub_labels: ENTAILMENT,
        parts: &parts([2490, 277, 3000], "RTE"),
        scores: &[Score::Accuracy],
    },
    Glue {
        name: "wnli",
        folders: &["WNLI", "wnli"],
        columns: [SENTENCES, SENTENCES],
        names: None,
        skip_short: false,
        labels: BINARY,
        hub_labels: BINARY,
        parts: &parts([635, 71, 146], "WNLI"),
        scores: &[Score::Accuracy],
    },
    Glue {
        name: "ax",
        folders: &["diagnostic", "ax"],
        columns: [SENTENCES, ["premise", "hypothesis", "label"]],
        names: None,
        skip_short: false,
        labels: INFERENCE,
        hub_labels: HUB_INFERENCE,
        parts: &[Part {
            split: Test,
            group: "",
            file: "diagnostic.tsv",
            hub: "test",
            rows: 1104,
            submission: "AX",
        }],
        scores: &[Score::Matthews, Score::Accuracy],
    },
];

/// MNLI is judged twice: on texts of the kinds that were trained on, and on others.
const MNLI: [Part; 5] = {
    let (matched, mismatched) = ("matched", "mismatched");
    [
        Part { split: Train, group: "", file: "train.tsv", hub: "train", rows: 392_702, submission: "" },
        Part {
            split: Dev,
            group: matched,
            file: "dev_matched.tsv",
            hub: "validation_matched",
            rows: 9815,
            submission: "MNLI-m",
        },
        Part {
            split: Dev,
            group: mismatched,
            file: "dev_mismatched.tsv",
            hub: "validation_mismatched",
            rows: 9832,
            submission: "MNLI-mm",
        },
        Part {
            split: Test,
            group: matched,
            file: "test_matched.tsv",
            hub: "test_matched",
            rows: 9796,
            submission: "MNLI-m",
        },
        Part {
            split: Test,
            group: mismatched,
            file: "test_mismatched.tsv",
            hub: "test_mismatched",
            rows: 9847,
            submission: "MNLI-mm",
        },
    ]
};

impl Glue {
    /// Whether it has a training set: the diagnostic set is only answered.
    pub fn is_trained(&self) -> bool {
        self.parts.iter().any(|part| part.split == Train)
    }

    /// The names of its files in a submission, without `.tsv`, with their rows and their labels.
    pub fn submissions(&self) -> impl Iterator<Item = (&'static str, usize, &'static [&'static str])> {
        let labels = self.labels;
        let tests = self.parts.iter().filter(|part| part.split == Test);
        tests.map(move |part| (part.submission, part.rows, labels))
    }

    /// The figure by which the best model is chosen: the first, on the first of several groups.
    fn selection(&self) -> String {
        let group = self.parts.iter().find(|part| part.split == Dev).map_or("", |part| part.group);
        match (self.scores[0].name(), group) {
            (score, "") => score.to_owned(),
            (score, group) => format!("{score}_{group}"),
        }
    }

    /// The task.
    pub fn table(&'static self) -> Table {
        Table {
            name: self.name.to_owned(),
            folders: self.folders,
            columns: self.columns.map(Columns::from),
            names: self.names,
            skip_short: self.skip_short,
            wanted: if self.labels.is_empty() { Wanted::Value } else { Wanted::Classes },
            labels: self.labels.iter().map(|&label| label.to_owned()).collect(),
            hub_labels: self.hub_labels.iter().map(|&label| label.to_owned()).collect(),
            parts: self.parts,
            scores: self.scores.to_vec(),
            selection: self.selection(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetuning::task::{Input, Target, Task};
    use crate::tables::parquet_bytes;

    /// The Hub numbers MNLI's classes in another order than the reference.
    #[test]
    fn the_hubs_numbers_are_translated() {
        let folder = tempfile::tempdir().unwrap();
        let task = GLUE.iter().find(|row| row.name == "mnli").unwrap().table();
        let rows = [["p", "h", "0"], ["p", "h", "1"], ["p", "h", "2"], ["p", "h", "-1"]];
        let names = ["premise", "hypothesis", "label"];
        let place = folder.path().join("mnli");
        std::fs::create_dir(&place).unwrap();
        for name in ["train-00000-of-00001", "test_matched-00000-of-00001"] {
            let rows = if name.starts_with("train") { &rows[..3] } else { &rows[3..] };
            std::fs::write(place.join(format!("{name}.parquet")), parquet_bytes(&names, rows)).unwrap();
        }
        let read = task.read(folder.path(), Train).unwrap();
        let targets: Vec<&str> = (read.examples.iter())
            .map(|example| match example.target {
                Some(Target::Class(class)) => task.labels()[class as usize].as_str(),
                _ => "none",
            })
            .collect();
        assert_eq!(targets, ["entailment", "neutral", "contradiction"]);
        assert_eq!(read.examples[0].input, Input::Texts { first: "p".into(), second: Some("h".into()) });
        let test = task.read(folder.path(), Test).unwrap();
        assert_eq!(test.examples[0].target, None, "kept back");
    }

    /// A set that is divided over files is one set, and a part of them is no set.
    #[test]
    fn all_files_of_a_set_are_read_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("sst2");
        std::fs::create_dir(&place).unwrap();
        let task = GLUE.iter().find(|row| row.name == "sst-2").unwrap().table();
        let rows = [["fine", "1"], ["bad", "0"]];
        let part = parquet_bytes(&["sentence", "label"], &rows);
        std::fs::write(place.join("train-00000-of-00002.parquet"), &part).unwrap();
        let error = task.read(folder.path(), Train).unwrap_err().to_string();
        assert!(error.contains("sst2: 1 of the 2 files of the train set are there; fetch all"), "{error}");
        std::fs::write(place.join("train-00001-of-00002.parquet"), &part).unwrap();
        let read = task.read(folder.path(), Train).unwrap();
        let ids: Vec<&str> = read.examples.iter().map(|example| example.id.as_str()).collect();
        assert_eq!(ids, ["0", "1", "2", "3"]);
        std::fs::remove_file(place.join("train-00001-of-00002.parquet")).unwrap();
        std::fs::write(place.join("train-00000-of-00001.parquet"), &part).unwrap();
        let error = task.read(folder.path(), Train).unwrap_err().to_string();
        assert!(
            error.contains("2 files of the train set are there, of which one says that it is of 1"),
            "{error}"
        );
    }
}
