//! Models and tokenizers beside transformers: somebody else's mean the same here, and ours mean the same there.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/orders.rs"]
mod orders;
#[path = "support/python.rs"]
mod python;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Output};

use model::{Albert, AlbertConfig, Head};
use orders::between_orders_of_summation;
use safetensors::SafeTensors;
use train::stories::{Split, story};
use train::tokenizer::{Tokenizer, TrainOptions};

fn program(arguments: &[&str]) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("albert-train"));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// `encode` with everything it gives; what it warned of.
fn encode(model: &Path, input: &Path, output: &Path) -> String {
    let [model, input, output] = [model, input, output].map(|path| path.to_str().unwrap());
    let done = program(&["encode", "--model", model, "--input", input, "--output", output, "--logits"]);
    String::from_utf8(done.stderr).unwrap()
}

/// Shape and values of the tensors of a file.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap();
    let values = |data: &[u8]| data.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(view.data())))).collect()
}

/// ‖found − expected‖ / ‖expected‖.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let apart = square(&mut found.iter().zip(expected).map(|(f, e)| f64::from(*f) - f64::from(*e)));
    (apart / square(&mut expected.iter().map(|&e| f64::from(e)))).sqrt()
}

/// Every kind of ALBERT, with every head, in every form of file that is read.
#[test]
fn somebody_elses_models_mean_the_same_here() {
    let Some(python) = python::python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let names = python.run("albert_models.py", &[&scratch.path()]);
    assert!(names.lines().count() > 20, "{names}");
    let unused = HashMap::from([("untied", "predictions.bias"), ("untied_equal_widths", "predictions.bias")]);
    for name in names.lines() {
        let folder = scratch.path().join(name);
        let output = folder.join("out.safetensors");
        let warned = encode(&folder, &folder.join("in.safetensors"), &output);
        match unused.get(name) {
            Some(names) => assert!(warned.contains(&format!("not used: {names}\n")), "{name}: {warned}"),
            None => assert!(!warned.contains("not used"), "{name}: {warned}"),
        }
        let tolerance = between_orders_of_summation(&model::config_in(&folder).unwrap());
        let (found, expected) = (tensors(&output), tensors(&folder.join("expected.safetensors")));
        assert!(found.keys().eq(expected.keys()), "{name}: {:?}", found.keys());
        for (tensor, (shape, expected)) in &expected {
            let (found_shape, found) = &found[tensor];
            assert_eq!(found_shape, shape, "{name}: {tensor}");
            assert_eq!(found.len(), expected.len(), "{name}: {tensor}");
            let distance = distance(found, expected);
            assert!(distance <= tolerance, "{name}: {tensor}: {distance:e} apart, {tolerance:e} at most");
        }
    }
}

fn sentences() -> impl Iterator<Item = String> {
    (0..60).flat_map(|index| story(7, Split::Training, index))
}

fn tokenizer() -> Tokenizer {
    let options = TrainOptions { vocabulary_size: 400, ..TrainOptions::default() };
    Tokenizer::train(sentences().collect::<Vec<_>>(), &options).unwrap()
}

/// A model with the names that transformers' files have, far from anything trained: every value tells.
fn save_random(folder: &Path, tokenizer: &Tokenizer, change: impl FnOnce(&mut AlbertConfig)) {
    let mut config = AlbertConfig {
        vocab_size: tokenizer.vocabulary_size(),
        embedding_size: 16,
        hidden_size: 32,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        intermediate_size: 48,
        max_position_embeddings: 96,
        initializer_range: 0.25,
        ..AlbertConfig::default()
    };
    change(&mut config);
    let albert = Albert::new(config, &[Head::Pretraining]).unwrap();
    let mut values = albert.parameters().initial_values(5).unwrap();
    // Biases and norms start at constants that hide mistakes.
    values.iter_mut().enumerate().for_each(|(index, value)| *value += 0.05 * (index as f32).sin());
    tokenizer.save_for(folder, Some(albert.config().max_position_embeddings)).unwrap();
    let notes = [(model::TOKENIZER_HASH, &*tokenizer.fingerprint_text())];
    model::save_from(folder, &albert, &notes, &mut |range, into| into.extend_from_slice(&values[range]))
        .unwrap();
}

/// Sentences with a word masked, or two, whatever stands around it.
fn masked() -> Vec<String> {
    let mask = |sentence: String, word: usize| {
        let mut words: Vec<_> = sentence.split(' ').map(str::to_owned).collect();
        let at = word % words.len();
        let letters: String = words[at].chars().skip_while(|c| !c.is_alphabetic()).collect();
        let letters: String = letters.chars().take_while(|c| c.is_alphabetic()).collect();
        if !letters.is_empty() {
            words[at] = words[at].replacen(&letters, "[MASK]", 1);
        }
        words.join(" ")
    };
    let masked = sentences().enumerate().map(|(index, sentence)| {
        let once = mask(sentence, 3 * index);
        if index % 5 == 0 { mask(once, 3 * index + 4) } else { once }
    });
    let masked: Vec<_> = masked.filter(|text| text.contains("[MASK]")).take(50).collect();
    assert_eq!(masked.len(), 50);
    assert!(
        masked.iter().any(|text| text.contains("[MASK].")) && masked.iter().any(|t| t.starts_with("[MASK]"))
    );
    masked
}

/// Loaded by transformers as it is: nothing is missing, nothing is made at random, and the same words fill the masks.
#[track_caller]
fn means_the_same_elsewhere(python: &python::Python, folder: &Path, texts: &[String], limit: usize) {
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), texts.join("\n")).unwrap();
    let theirs = python.run("fill_masks.py", &[&folder, &list.path()]);
    let (loaded, theirs) = theirs.split_once('\n').unwrap();
    let loaded: serde_json::Value = serde_json::from_str(loaded).unwrap();
    let name = folder.display();
    assert_eq!(loaded["missing"], serde_json::json!([]), "{name}");
    assert_eq!(loaded["unexpected"], serde_json::json!([]), "{name}");
    assert_eq!(loaded["limit"], limit, "{name}");
    let types: Vec<u64> = serde_json::from_value(loaded["types"].clone()).unwrap();
    assert!(types.is_sorted() && types.first() == Some(&0) && types.last() == Some(&1), "{types:?}");

    let mut arguments = vec!["fill-mask", "--json", "--top", "3", "--model", folder.to_str().unwrap()];
    arguments.extend(texts.iter().map(String::as_str));
    let ours = String::from_utf8(program(&arguments).stdout).unwrap();
    assert_eq!(ours.lines().count(), theirs.lines().count());
    // A probability moves by at most a quarter of what its logit does, and logits are below 16 here.
    let tolerance = 16.0 / 4.0 * between_orders_of_summation(&model::config_in(folder).unwrap());
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        let ours: serde_json::Value = serde_json::from_str(ours).unwrap();
        let theirs: Vec<Vec<(u64, f64)>> = serde_json::from_str(theirs).unwrap();
        let masks = ours["masks"].as_array().unwrap();
        assert_eq!(masks.len(), theirs.len(), "{ours}");
        for (mask, theirs) in masks.iter().zip(theirs) {
            let candidates = mask["candidates"].as_array().unwrap();
            assert_eq!((candidates.len(), theirs.len()), (3, 3), "{ours}");
            for (candidate, (id, score)) in candidates.iter().zip(theirs) {
                assert_eq!(candidate["id"], id, "{name}: {ours}");
                let probability = candidate["probability"].as_f64().unwrap();
                assert!((probability - score).abs() < tolerance, "{name}: {ours}");
            }
        }
    }
}

/// Fifty texts, and every shape of model.
#[test]
fn our_models_mean_the_same_elsewhere() {
    let Some(python) = python::python() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (tokenizer, texts) = (tokenizer(), masked());
    type Change = fn(&mut AlbertConfig);
    let kinds: [(&str, Change); 4] = [
        ("widths", |_| ()),
        ("equal_widths", |config| config.embedding_size = config.hidden_size),
        ("groups", |config| config.num_hidden_groups = 2),
        ("inner_groups", |config| (config.inner_group_num, config.num_hidden_layers) = (2, 2)),
    ];
    for (name, change) in kinds {
        let folder = scratch.path().join(name);
        save_random(&folder, &tokenizer, change);
        means_the_same_elsewhere(&python, &folder, &texts, 96);
    }
}

/// The built-in model, and one whose embedding is narrower than its layers, each trained a little: as `pretrain` leaves them.
#[test]
fn trained_models_mean_the_same_elsewhere() {
    let Some(python) = python::python() else { return };
    let (scratch, texts) = (tempfile::tempdir().unwrap(), masked());
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let pretrain = |name: &str, more: &[&str]| {
        let out = path(name);
        let given = ["pretrain", "--out", &out, "--steps", "150", "--eval-sequences", "32", "--threads", "2"];
        program(&[&given, more].concat());
        means_the_same_elsewhere(&python, &scratch.path().join(name).join("model"), &texts, 128);
    };
    pretrain("built-in", &[]);
    let [training, held_out] = ["training", "held-out"].map(|part| path(&format!("built-in/data/{part}")));
    let narrow = "--preset micro --embedding-size 48 --max-seq-length 64 --batch 16 --learning-rate 5e-3";
    let data = ["--train", &training, "--held-out", &held_out];
    pretrain("narrow", &[&data[..], &narrow.split(' ').collect::<Vec<_>>()].concat());
}

/// Versions before 0.2 wrote no embedding_hidden_mapping_in where the widths are equal, and the reference has none: what
/// such a file computes is what it was trained to compute, to the bit.
#[test]
fn a_file_without_a_mapping_has_none() {
    let scratch = tempfile::tempdir().unwrap();
    let [new, old] = ["new", "old"].map(|name| scratch.path().join(name));
    save_random(&new, &tokenizer(), |config| config.embedding_size = config.hidden_size);
    std::fs::create_dir(&old).unwrap();
    std::fs::copy(new.join("config.json"), old.join("config.json")).unwrap();
    let bytes = std::fs::read(new.join("model.safetensors")).unwrap();
    let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let before = tensors.len();
    tensors.retain(|(name, _)| !name.contains("mapping_in"));
    assert_eq!(tensors.len(), before - 2);
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(format), &old.join("model.safetensors")).unwrap();
    let ids: Vec<u8> = (0..24i64).flat_map(|id| (id + 5).to_le_bytes()).collect();
    let ids = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![2, 12], &ids).unwrap();
    let input = scratch.path().join("in.safetensors");
    safetensors::serialize_to_file([("input_ids", ids)], None, &input).unwrap();
    let outputs = [new, old].map(|folder| {
        let output = folder.join("out.safetensors");
        encode(&folder, &input, &output);
        std::fs::read(output).unwrap()
    });
    assert!(outputs[0] == outputs[1], "the identity of the new file is what the old one means");
    assert!(model::load(&scratch.path().join("new")).unwrap().albert.config().maps_equal_widths);
    assert!(!model::load(&scratch.path().join("old")).unwrap().albert.config().maps_equal_widths);
}
