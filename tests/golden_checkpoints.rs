//! TensorFlow's files: recorded checkpoints hold the weights of recorded models, whatever form they come in, and recorded
//! examples are what is written beside them. Damage never goes unnoticed.

#[path = "support/golden_folders.rs"]
mod golden_folders;

use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use golden_folders::golden_folders;
use model::wire::example::{Feature, features};
use model::wire::tfrecord::Records;
use model::{Head, LoadedModel};
use proptest::prelude::*;

/// Beginning of the names of the files of the checkpoints.
const CHECKPOINT: &str = "model.ckpt-best";

/// The recorded model that a recorded checkpoint was made of: the one with its weights and its activation, which the form of a
/// file does not change.
fn original(checkpoint: &Path) -> LoadedModel {
    let found = load(checkpoint);
    let models = golden_folders("pretraining").into_iter().map(|folder| load(&folder));
    let same = |model: &LoadedModel| {
        model.values == found.values && model.albert.config().hidden_act == found.albert.config().hidden_act
    };
    models
        .into_iter()
        .find(same)
        .unwrap_or_else(|| panic!("no model has the weights of {}", checkpoint.display()))
}

fn load(path: &Path) -> LoadedModel {
    model::load(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn assert_same(found: &LoadedModel, expected: &LoadedModel) {
    assert_eq!(found.albert.heads(), [Head::Pretraining]);
    assert_eq!(
        found.albert.config().hidden_act,
        expected.albert.config().hidden_act,
        "gelu is the tanh form there"
    );
    let names = |model: &LoadedModel| -> Vec<_> {
        model.albert.parameters().placed_parts().map(|(part, range)| (part.clone(), range)).collect()
    };
    assert_eq!(names(found), names(expected));
    assert!(found.values == expected.values, "the same weights to the bit");
    // Beside the weights there are a counter and, of some, an optimizer's slots, each called after its variable.
    let variables: Vec<&str> = found.report.mapped.iter().map(|(variable, _)| variable.as_str()).collect();
    let is_slot =
        |name: &str| name.rsplit_once('/').is_some_and(|(variable, _)| variables.contains(&variable));
    let mut bookkeeping = found.report.bookkeeping.iter();
    assert!(bookkeeping.all(|name| name == "global_step" || is_slot(name)), "{:?}", found.report.bookkeeping);
    assert_eq!(found.report.unmapped, [""; 0]);
    assert_eq!(found.report.mapped.len(), names(expected).len());
}

fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let path = entries.map(|entry| entry.expect("readable").path());
    path.map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), path)).collect()
}

#[test]
fn checkpoints_hold_the_recorded_weights() {
    for folder in golden_folders("tf_checkpoint") {
        let expected = original(&folder);
        let scratch = tempfile::tempdir().expect("a folder");
        // The folder; the beginning of the names; one of the files; the folder above.
        let above = scratch.path().join("above");
        let copy = above.join("albert_base");
        let hub = scratch.path().join("hub");
        for place in [&copy, &hub.join("assets"), &hub.join("variables")] {
            std::fs::create_dir_all(place).expect("created");
        }
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, path) in files(&folder) {
            std::fs::copy(&path, copy.join(&name)).expect("copied");
            let in_hub = match name.strip_prefix(CHECKPOINT) {
                Some(rest) => hub.join("variables").join(format!("variables{rest}")),
                None => hub.join("assets").join(&name),
            };
            std::fs::copy(&path, in_hub).expect("copied");
            tar.append_path_with_name(&path, format!("albert_base/{name}")).expect("memory");
        }
        let archive = scratch.path().join("albert_base_v2.tar.gz");
        std::fs::write(&archive, tar.into_inner().expect("memory").finish().expect("memory"))
            .expect("written");
        let index = folder.join(format!("{CHECKPOINT}.index"));
        for path in [folder.clone(), folder.join(CHECKPOINT), index, above, hub, archive] {
            assert_same(&load(&path), &expected);
        }
    }
}

#[test]
fn records_are_what_is_written_beside_them() {
    for folder in golden_folders("tf_checkpoint") {
        let expected = std::fs::read_to_string(folder.join("pretrain.json")).expect("there");
        let expected: Vec<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(&expected).expect("JSON");
        let file = std::fs::File::open(folder.join("pretrain.tfrecord")).expect("there");
        let records: Vec<_> =
            Records::new(std::io::BufReader::new(file)).map(|record| record.expect("whole")).collect();
        assert_eq!(records.len(), expected.len());
        for (record, expected) in records.iter().zip(expected) {
            let found = features(record).expect("an example");
            assert_eq!(found.len(), expected.len());
            for (name, feature) in found {
                let found = match feature {
                    Feature::Integers(integers) => serde_json::json!(integers),
                    Feature::Reals(reals) => serde_json::json!(reals),
                    Feature::Bytes(_) => panic!("{name} is no list of numbers"),
                };
                assert_eq!(found, expected[&name], "{name}");
            }
        }
    }
}

/// What is read of a copy of a recorded checkpoint in which the file with `part` in its name is changed.
fn damaged(change: impl FnOnce(&mut Vec<u8>), part: &str) -> Result<LoadedModel, String> {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut change = Some(change);
    for (name, path) in files(&golden_folders("tf_checkpoint")[0]) {
        let mut bytes = std::fs::read(path).expect("readable");
        if name.starts_with(CHECKPOINT) && name.contains(part) {
            change.take().expect("one such file")(&mut bytes);
        }
        std::fs::write(scratch.path().join(name), bytes).expect("written");
    }
    assert!(change.is_none(), "a file has {part} in its name");
    model::load(scratch.path()).map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A flipped bit is an error that names the file, or is where nothing is read: in an optimizer's slots, in the index of
    /// an index. No file that is cut off is read.
    #[test]
    fn damage_never_goes_unnoticed(at in any::<prop::sample::Index>(), bit in 0..8, of in prop::sample::select(vec![".index", ".data-"])) {
        let expected = load(&golden_folders("tf_checkpoint")[0]);
        let flipped = damaged(|bytes| { let at = at.index(bytes.len()); bytes[at] ^= 1_u8 << bit; }, of);
        match flipped {
            Ok(model) => prop_assert!(model.values == expected.values),
            Err(error) => prop_assert!(error.contains(CHECKPOINT), "{error}"),
        }
        let cut = damaged(|bytes| bytes.truncate(at.index(bytes.len())), of);
        prop_assert!(cut.is_err());
    }
}
