//! Files of examples: the official layouts, the real data, and what is said about files that are not as they should be.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "../support/data_folder.rs"]
mod data_folder;
mod glue;
mod race;
mod squad;
mod tables;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use train::finetuning::tasks::{Level, Race};
use train::finetuning::{Examples, Limits, Split, Task, features, task};
use train::tokenizer::{Tokenizer, TrainOptions};

use squad::SQUAD;

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

fn counts(read: &Examples) -> Vec<(usize, Option<usize>)> {
    read.files.iter().map(|file| (file.rows, file.official)).collect()
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
