//! Heads for fine-tuning beside transformers: what we save gives the same logits there, and what it saves gives the same here;
//! models that were fine-tuned give the same answers.

#[path = "support/orders.rs"]
mod orders;
#[path = "support/python.rs"]
mod python;
mod support;
#[path = "support/tasks.rs"]
#[expect(dead_code, reason = "other tests have more kinds of tasks")]
mod tasks;

use std::path::{Path, PathBuf};

use engine::{Bindings, Device, PlanOptions, Recompute, Runtime, State};
use model::{Albert, AlbertConfig, Capacity, Head, LoadedModel, Mode};
use serde_json::{Value, json};
use support::{assert_close, devices, recorded};
use tasks::{albert, pretrained, questions, table, text};

/// Of the three sequences of `heads.py`, or of a question's three options.
const LENGTHS: [usize; 3] = [10, 7, 4];
const DROPOUT: f64 = 0.1;

fn token_id(row: usize, column: usize) -> i32 {
    (5 + (7 * row + 3 * column) % 59) as i32
}

/// The logits of a model's head for the batch of `heads.py`: the outputs' names and values.
fn logits(model: &LoadedModel, device: Device) -> Vec<(&'static str, Vec<f64>)> {
    let tokens: Vec<(usize, usize)> = LENGTHS
        .iter()
        .enumerate()
        .flat_map(|(row, &length)| (0..length).map(move |column| (row, column)))
        .collect();
    let list = |value: &dyn Fn(usize, usize) -> usize| -> Vec<i32> {
        tokens.iter().map(|&(row, column)| value(row, column) as i32).collect()
    };
    let ids = list(&|row, column| token_id(row, column) as usize);
    let mut order: Vec<i32> = (0..tokens.len() as i32).collect();
    order.sort_by_key(|&row| ids[row as usize]);
    let mut offsets = vec![0];
    LENGTHS.iter().for_each(|&length| offsets.push(offsets[offsets.len() - 1] + length as i32));
    let [positions, segments, owners] =
        [list(&|_, column| column), list(&|_, column| usize::from(column > 3)), list(&|row, _| row)];
    let integers: [(&str, &[i32]); 7] = [
        ("token_ids", &ids),
        ("position_ids", &positions),
        ("segment_ids", &segments),
        ("token_order", &order),
        ("offsets", &offsets),
        ("first_rows", &offsets[..LENGTHS.len()]),
        ("sequence_of_token", &owners),
    ];
    let excluded = vec![0.0; tokens.len()];
    let head = &model.albert.heads()[0];
    let (names, third): (&[&str], &[usize]) = match head {
        Head::Span => (&["start_logits", "end_logits"], &[]),
        Head::AnswerableSpan { .. } => (&["last_hidden_state"], &[]),
        Head::Choice { .. } => (&["logits"], &[1]),
        _ => (&["logits"], &[]),
    };
    let mut runtime = Runtime::new(device, model.albert.parameters().clone()).expect("memory");
    runtime.write(State::Values, &model.values);
    let capacity = Capacity { tokens: tokens.len(), sequences: LENGTHS.len(), masked: 0 };
    let options = PlanOptions { precision: runtime.precision(), recompute: Recompute::None };
    let plan = model.albert.plan(head, capacity, Mode::Prediction, options).expect("nothing is trained");
    let plan = runtime.load(plan).expect("memory");
    let lengths = [&[tokens.len(), LENGTHS.len()], third].concat();
    let reals: [(&str, &[f32]); 1] = [("excluded", &excluded)];
    let bindings = Bindings { lengths: &lengths, integers: &integers, reals: &reals, ..Bindings::default() };
    runtime.run(plan, &bindings).expect("a batch that fits");
    names.iter().map(|name| (*name, runtime.output(plan, name))).collect()
}

/// Compares the logits of real tokens with those that transformers recorded.
#[track_caller]
fn compare(folder: &Path, model: &LoadedModel) {
    let theirs = recorded(&folder.join("theirs.safetensors"));
    let ids: Vec<i32> = (0..30).map(|cell| token_id(cell / 10, cell % 10)).collect();
    assert_eq!(theirs["input_ids"].integer(), ids, "one batch");
    let found = devices().into_iter().flat_map(|(_, device)| logits(model, device));
    for (name, found) in found {
        let (expected, shape) = (theirs[name].real(), theirs[name].shape());
        let tokens: usize = LENGTHS.iter().sum();
        let expected: Vec<f32> = if shape[..2] == [3, 10] {
            let width = found.len() / tokens;
            let rows = LENGTHS
                .iter()
                .enumerate()
                .flat_map(|(row, length)| expected[row * 10 * width..][..length * width].iter().copied());
            rows.collect()
        } else {
            expected.to_vec()
        };
        let tolerance = orders::between_orders_of_summation(model.albert.config());
        assert_close(&found, &expected, tolerance, &format!("{}: {name}", folder.display()));
    }
}

#[test]
fn heads_mean_the_same_here_and_there() {
    let Some(python) = python::python() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let heads = [
        Head::Classification { outputs: 3, dropout: DROPOUT },
        Head::Classification { outputs: 1, dropout: DROPOUT },
        Head::Choice { dropout: DROPOUT },
        Head::Span,
        Head::AnswerableSpan { dropout: DROPOUT },
        Head::TokenClassification { outputs: 5, dropout: DROPOUT },
    ];
    let mut written: Vec<Vec<f32>> = Vec::new();
    for (index, head) in heads.iter().enumerate() {
        let mut config = AlbertConfig {
            vocab_size: 64,
            embedding_size: 16,
            hidden_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            intermediate_size: 48,
            max_position_embeddings: 24,
            initializer_range: 0.3,
            ..AlbertConfig::default()
        };
        // A model that had other classes before.
        config.set_labels(&["no", "yes", "perhaps"].map(str::to_owned));
        let albert = Albert::new(config, std::slice::from_ref(head)).expect("valid");
        let mut values = albert.parameters().initial_values(index as u64).expect("memory");
        values.iter_mut().enumerate().for_each(|(index, value)| *value += 0.05 * (index as f32).sin());
        model::save(&scratch.path().join("ours").join(index.to_string()), &albert, &values).expect("written");
        written.push(values);
    }
    python.run("heads.py", &[&scratch.path()]);

    for (index, head) in heads.iter().enumerate() {
        let folder = scratch.path().join("ours").join(index.to_string());
        let read = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(folder.join(name)).expect("there")).expect("JSON")
        };
        let (config, loading) = (read("config.json"), read("loading.json"));
        assert_eq!(config["architectures"], serde_json::json!([head.architecture()]));
        if let Head::AnswerableSpan { .. } = head {
            // It loads as an encoder, whose pooler is its own affair, and comes back here whole.
            let unexpected = loading["unexpected_keys"].as_array().expect("a list");
            assert!(
                unexpected.iter().all(|name| !name.as_str().expect("a name").contains("encoder")),
                "{loading}"
            );
        } else {
            assert_eq!(loading["missing_keys"], serde_json::json!([]), "{head:?}");
            assert_eq!(loading["unexpected_keys"], serde_json::json!([]), "{head:?}");
        }
        let names = config["id2label"].as_object().map_or(0, serde_json::Map::len);
        match head {
            Head::Classification { outputs, .. } | Head::TokenClassification { outputs, .. } => {
                assert_eq!(names, *outputs);
            }
            _ => assert_eq!(names, 0, "{head:?} has no classes"),
        }
        assert_eq!(config["id2label"]["2"] == "perhaps", *head == heads[0], "names are kept where they fit");
        let problem = match head {
            Head::Classification { outputs: 1, .. } => serde_json::json!("regression"),
            Head::Classification { .. } => serde_json::json!("single_label_classification"),
            _ => serde_json::Value::Null,
        };
        assert_eq!(config["problem_type"], problem);
        let model = model::load(&folder).expect("a model directory");
        assert_eq!(model.albert.heads(), std::slice::from_ref(head));
        for (part, range) in model.albert.parameters().placed_parts() {
            assert!(model.values[range.clone()] == written[index][range], "{head:?}: {}", part.name);
        }
        compare(&folder, &model);
    }
    for (name, head) in [
        ("sequences", heads[0].clone()),
        ("number", heads[1].clone()),
        ("options", heads[2].clone()),
        ("spans", heads[3].clone()),
        ("tokens", heads[5].clone()),
    ] {
        let folder = scratch.path().join("theirs").join(name);
        let model = model::load(&folder).expect("a model directory");
        assert_eq!(model.albert.heads(), [head], "{name}");
        assert_eq!(model.report.unmapped, [""; 0], "{name}");
        compare(&folder, &model);
    }
}

/// The class of a word that begins at `start`: that of its first piece, which may be the space before it.
fn class_of_word(pieces: &Value, start: usize) -> &Value {
    let pieces = pieces.as_array().expect("a list");
    let first = pieces.iter().find(|piece| piece[1].as_u64().expect("a number") as usize >= start.max(1));
    &first.expect("a piece")[2]
}

/// As `finetune` leaves them, loaded by the code that stands in their cards.
#[test]
fn fine_tuned_models_answer_the_same_here_and_there() {
    let Some(python) = python::python() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let place = |name: &str| scratch.path().join(name);
    let (model, table, questions) =
        (pretrained(scratch.path()), table(scratch.path()), questions(scratch.path(), true));
    let learnt = |name: &str, words: &[&str], data: &Path| -> PathBuf {
        let out = place(name);
        let given = ["--out", text(&out), "--model", text(&model), "--data", text(data)];
        let settings =
            ["--steps", "200", "--batch", "16", "--learning-rate", "1e-3", "--max-seq-length", "32"];
        let steady = ["--head-dropout", "0", "--bias-correction", "--clip-norm", "1", "--eval-every", "200"];
        albert(&[&["finetune"], words, &given, &settings, &steady].concat());
        out.join("model")
    };
    let classes = learnt("classes", &["table"], &table);
    let tags = learnt("tags", &["table", "--kind", "tags"], &table);
    let spans = learnt("spans", &["squad", "--version", "2.0", "--head", "span"], &questions);
    let sentences = ["yesterday anna lost the boat", "the hat surprised ben", "hugo found the egg"];
    let asked = [
        ("Who found it?", "In the morning anna found the apple in the garden."),
        ("Who sold the house?", "In the morning hugo found the egg in the garden."),
        ("Where was it found?", "In the morning ben found the boat in the garden."),
    ];
    let asked_there =
        json!({ text(&classes): sentences, text(&tags): sentences, text(&spans): asked }).to_string();
    std::fs::write(place("asked.json"), asked_there).expect("written");
    let there = python.run("fine_tuned.py", &[&place("asked.json")]);
    let there: Value = serde_json::from_str(&there).expect("JSON");
    let here = |model: &Path, texts: &[&str]| -> Vec<Value> {
        let lines = albert(&[&["predict", "--model", text(model)], texts].concat());
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    // Of a logit, which is below 16 here; a probability moves by a quarter of it at most, and four logits make a null score.
    let of_logit = 16.0 * orders::between_orders_of_summation(&model::config_in(&spans).expect("sizes"));
    let assert_near = |here: &Value, there: &Value, tolerance: f64| {
        let [ours, theirs] = [here, there].map(|value| value.as_f64().expect("a number"));
        assert!((ours - theirs).abs() <= tolerance, "{ours} here, {theirs} there");
    };
    for (at, answer) in here(&classes, &sentences).iter().enumerate() {
        for class in ["no", "yes"] {
            let theirs = &there[text(&classes)][at][class];
            assert_near(&answer["probabilities"][class], theirs, of_logit / 4.0);
        }
    }
    for ((at, sentence), answer) in sentences.iter().enumerate().zip(here(&tags, &sentences)) {
        let start = |word: &str| word.as_ptr() as usize - sentence.as_ptr() as usize;
        let theirs: Vec<&Value> =
            sentence.split(' ').map(|word| class_of_word(&there[text(&tags)][at], start(word))).collect();
        assert_eq!(json!(theirs), answer["tags"], "{sentence}");
        assert!(
            theirs.iter().any(|&tag| tag == "B-PER") && theirs.iter().any(|&tag| tag == "O"),
            "{theirs:?}"
        );
    }
    let texts = asked.map(|(question, passage)| format!("{question} [SEP] {passage}"));
    let answers = here(&spans, &texts.each_ref().map(String::as_str));
    for (at, answer) in answers.iter().enumerate() {
        let theirs = &there[text(&spans)][at];
        assert_eq!(answer["answer"], theirs["answer"], "{}", texts[at]);
        assert_near(&answer["null_score"], &theirs["null_score"], 4.0 * of_logit);
    }
    assert_eq!([&answers[0]["answer"], &answers[2]["answer"]], ["anna", "the garden"]);
    assert!(answers[1]["null_score"].as_f64() > Some(0.0), "{}", answers[1]);
}
