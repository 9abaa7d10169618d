//! Which models the commands of fine-tuning take, and what they say of them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use train::exit::ExitCode;
use train::tokenizer::{Tokenizer, TrainOptions};

use crate::program::{Run, Scene, run, text};

/// A table of 20 texts with one of these labels each.
fn table(scene: &Scene, name: &str, labels: &[&str]) -> String {
    let rows: String = (0..20)
        .map(|n| format!("the {}\t{}\n", ["cat", "dog", "bird"][n % labels.len()], labels[n % labels.len()]))
        .collect();
    scene.file(name, format!("text\tlabel\n{rows}"))
}

/// A run of two steps.
fn finetune(model: &str, data: &str, out: &str, more: &[&str]) -> Run {
    let given = ["finetune", "table", "--model", model, "--data", data, "--out", out];
    run(&[&given[..], &["--steps", "2", "--max-seq-length", "16"], more].concat())
}

/// Its model, where it is a success.
fn finetuned(scene: &Scene, name: &str, model: &str, data: &str, more: &[&str]) -> String {
    finetune(model, data, &scene.arg(name), more).done();
    scene.arg(&format!("{name}/model"))
}

fn copy(from: &str, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Changes a model's configuration.
fn configure(model: &str, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let path = Path::new(model).join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    fs::write(path, config.to_string()).unwrap();
}

/// Takes from a model the tensors whose names begin so.
fn take_away(model: &str, prefix: &str) {
    let path = Path::new(model).join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let rest: HashMap<String, TensorView<'_>> =
        tensors.tensors().into_iter().filter(|(name, _)| !name.starts_with(prefix)).collect();
    let rest = safetensors::serialize(rest, None).unwrap();
    fs::write(&path, rest).unwrap();
}

/// The same model with other weights, at `name`.
fn with_other_weights(scene: &Scene, name: &str) -> String {
    let model = scene.arg(name);
    copy(&scene.arg("model"), &scene.path(name));
    let albert = model::load(&scene.path(name)).unwrap().albert;
    model::save(&scene.path(name), &albert, &albert.parameters().initial_values(2).unwrap()).unwrap();
    model
}

#[test]
fn a_tokenizer_of_another_model_is_refused_by_every_command() {
    let scene = Scene::new();
    let known = scene.arg("known");
    // The model of the scene does not say which tokenizer it was trained with; what is converted does.
    run(&["convert", &scene.arg("model"), "--out", &known]).done();
    let options = TrainOptions { vocabulary_size: 40, ..TrainOptions::default() };
    let other = Tokenizer::train("other words make other pieces of them".split(' '), &options).unwrap();
    other.save(&scene.path("other")).unwrap();
    let (data, other) = (table(&scene, "table.tsv", &["no", "yes"]), scene.arg("other"));
    let tuned = finetuned(&scene, "tuned", &known, &data, &[]);
    finetuned(&scene, "unknown", &scene.arg("model"), &data, &["--tokenizer", &other]);

    let refused = |run: Run| run.complains(ExitCode::Checkpoint, &["not the one", "fingerprint"]);
    refused(finetune(&known, &data, &scene.arg("run"), &["--tokenizer", &other]));
    let (text_file, out) = (scene.arg("text.txt"), scene.arg("out"));
    let pretrain =
        ["pretrain", "--init", &known, "--tokenizer", &other, "--train", &text_file, "--out", &out];
    refused(run(&[&pretrain[..], &["--steps", "1", "--max-seq-length", "32", "--batch", "2"]].concat()));
    copy(&tuned, &scene.path("swapped"));
    for entry in fs::read_dir(scene.path("other")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, scene.path("swapped").join(path.file_name().unwrap())).unwrap();
    }
    let swapped = scene.arg("swapped");
    refused(run(&["predict", "--model", &swapped, "the cat"]));
    refused(run(&["predict", "table", "--model", &swapped, "--data", &data, "--out", &out]));
    refused(run(&["evaluate", "table", "--model", &swapped, "--data", &data]));
    let converted = scene.arg("converted");
    refused(run(&["convert", &swapped, "--out", &converted]));
    assert!(!Path::new(&converted).exists());
}

#[test]
fn a_run_goes_on_with_no_other_weights() {
    let scene = Scene::new();
    let (mine, other) = (scene.arg("model"), with_other_weights(&scene, "other"));
    let (data, out) = (table(&scene, "table.tsv", &["no", "yes"]), scene.arg("run"));
    let settings = || fs::read_to_string(scene.path("run/config.toml")).unwrap();
    finetune(&mine, &data, &out, &[]).done();
    let begun_with = settings();
    finetune(&other, &data, &out, &[]).complains(ExitCode::Usage, &["another tokenizer or model"]);
    assert_eq!(settings(), begun_with);
    finetune(&mine, &data, &out, &[]).done();

    let (text_file, out) = (scene.arg("text.txt"), scene.arg("pretrained"));
    let few = ["--batch", "2", "--eval-sequences", "8", "--held-out-every", "4", "--max-seq-length", "32"];
    let pretrain = |init: &str| {
        let given = ["pretrain", "--init", init, "--train", &text_file, "--out", &out, "--steps", "1"];
        run(&[&given[..], &few].concat())
    };
    pretrain(&mine).done();
    pretrain(&other).complains(ExitCode::Usage, &["another tokenizer or model"]);
    copy(&mine, &scene.path("copy"));
    pretrain(&scene.arg("copy")).done();
}

#[test]
fn what_a_model_may_have_wrong_is_said_once_by_every_command() {
    let scene = Scene::new();
    let (model, data) = (scene.arg("model"), table(&scene, "table.tsv", &["no", "yes"]));
    configure(&model, |config| drop(config.insert("hidden_act".into(), "gelu".into())));
    take_away(&model, "albert.pooler.");
    let says = |run: Run, words: &[&str]| {
        for words in words {
            assert_eq!(run.err.matches(words).count(), 1, "{words}: {}", run.err);
        }
        run.done();
    };
    let (form, lack) =
        ("the erf form", "warning: the model's files lack albert.pooler.weight, albert.pooler.bias");
    // What the head reads is not left at random, unless that is allowed by name.
    finetune(&model, &data, &scene.arg("run"), &[])
        .complains(ExitCode::Checkpoint, &["lacks 2 of", "albert.pooler.weight", "--allow-missing"]);
    finetune(&model, &data, &scene.arg("run"), &["--allow-missing", ""])
        .complains(ExitCode::Checkpoint, &["albert.pooler.weight"]);
    let allowed = ["--allow-missing", "albert.pooler"];
    says(finetune(&model, &data, &scene.arg("run"), &allowed), &[form, lack]);
    let tuned = scene.arg("run");
    says(run(&["predict", "--model", &tuned, "the cat"]), &[form]);
    says(run(&["evaluate", "table", "--model", &tuned, "--data", &data]), &[form]);
    let out = scene.arg("out");
    says(run(&["predict", "table", "--model", &tuned, "--data", &data, "--out", &out]), &[form]);
    let (text_file, out) = (scene.arg("text.txt"), scene.arg("pretrained"));
    let pretrain = ["pretrain", "--init", &model, "--train", &text_file, "--out", &out, "--steps", "1"];
    let few = ["--batch", "2", "--eval-sequences", "8", "--held-out-every", "4", "--max-seq-length", "32"];
    says(run(&[&pretrain[..], &few].concat()), &[form, lack]);
}

#[test]
fn a_model_without_names_for_its_classes_is_measured_and_predicts() {
    let scene = Scene::new();
    let tuned = finetuned(&scene, "run", &scene.arg("model"), &table(&scene, "t.tsv", &["bad", "good"]), &[]);
    configure(&tuned, |config| config.retain(|key, _| key != "id2label" && key != "label2id"));
    // There is no training set, and none is needed.
    let (folder, out) = (scene.arg("sets"), scene.arg("out"));
    fs::create_dir(&folder).unwrap();
    table(&scene, "sets/dev.tsv", &["sad", "happy"]);
    let measured = run(&["evaluate", "table", "--model", &tuned, "--data", &folder]);
    assert!(measured.err.contains("LABEL_0, LABEL_1: they are taken for happy, sad"), "{}", measured.err);
    measured.done();
    run(&["predict", "table", "--model", &tuned, "--data", &folder, "--split", "dev", "--out", &out]).done();
    let predicted = fs::read_to_string(scene.path("out/predictions.tsv")).unwrap();
    let is_named = |line: &&str| line.ends_with("\tsad") || line.ends_with("\thappy");
    assert_eq!(predicted.lines().filter(is_named).count(), 20, "{predicted}");
    // Rows of a test set may have no label.
    let partly = scene.file("partly.tsv", "text\tlabel\nthe cat\tsad\nthe dog\thappy\nthe bird\t\n");
    let on = ["--model", &tuned, "--data", &partly, "--split", "test"];
    run(&[&["evaluate", "table"][..], &on].concat()).done();
    // Of a set that lacks a class, the training set beside it has the names.
    table(&scene, "sets/train.tsv", &["sad", "happy"]);
    table(&scene, "sets/dev.tsv", &["sad"]);
    let measured = run(&["evaluate", "table", "--model", &tuned, "--data", &folder]);
    assert!(measured.err.contains("LABEL_0, LABEL_1: they are taken for happy, sad"), "{}", measured.err);
    measured.done();
    let three = table(&scene, "three.tsv", &["a", "b", "c"]);
    run(&["evaluate", "table", "--model", &tuned, "--data", &three])
        .complains(ExitCode::Data, &["3 different labels", "2 classes", "id2label"]);
    let unlabelled = scene.file("sets/test.tsv", "text\nthe cat\nthe dog\n");
    for data in [&folder, &unlabelled] {
        run(&["predict", "table", "--model", &tuned, "--data", data, "--out", &out]).done();
        let predicted = fs::read_to_string(scene.path("out/predictions.tsv")).unwrap();
        assert_eq!(predicted.lines().filter(|line| line.contains("LABEL_")).count(), 2, "{predicted}");
    }
}

/// The tensors of a value and of a choice are the same: what only the form suggests is told to who asks for answers.
#[test]
fn a_value_that_no_file_speaks_of_is_told_as_a_guess() {
    let scene = Scene::new();
    let data = table(&scene, "values.tsv", &["0.5", "2"]);
    let tuned = finetuned(&scene, "run", &scene.arg("model"), &data, &["--kind", "value"]);
    let is_warned = || {
        let answered = run(&["predict", "--model", &tuned, "the cat"]);
        let is_warned = answered.err.contains("warning") && answered.err.contains("--head choice");
        assert!(answered.done().contains("\"value\""));
        is_warned
    };
    assert!(!is_warned());
    configure(&tuned, |config| config.retain(|key, _| key != "architectures" && key != "problem_type"));
    assert!(is_warned());
}

/// Classifiers of texts, of words and of options have the same names, and often the same shapes.
#[test]
fn a_head_of_another_task_is_not_taken_for_the_one_that_is_needed() {
    let scene = Scene::new();
    let model = scene.arg("model");
    let words: String = (0..20)
        .map(|n| {
            format!("{{\"tokens\": [\"the\", \"{}\"], \"tags\": [\"O\", \"B\"]}}\n", ["cat", "dog"][n % 2])
        })
        .collect();
    let (words, data) = (scene.file("words.jsonl", words), table(&scene, "t.tsv", &["no", "yes"]));
    let tags = ["--text", "tokens", "--label", "tags", "--kind", "tags"];
    let of_words = finetuned(&scene, "words", &model, &words, &tags);
    let of_texts = finetuned(&scene, "texts", &model, &data, &[]);
    let of_values =
        finetuned(&scene, "values", &model, &table(&scene, "values.tsv", &["1", "2"]), &["--kind", "value"]);
    let evaluate = |words: &[&str], model: &str, data: &str| {
        run(&[&["evaluate"], words, &["--model", model, "--data", data]].concat())
    };
    let refused = |run: Run, found: &str| run.complains(ExitCode::Checkpoint, &[found, "fine-tuned for"]);
    refused(evaluate(&["table"], &of_words, &data), "AlbertForTokenClassification");
    let of_tags = [&["table"][..], &tags].concat();
    refused(evaluate(&of_tags, &of_texts, &words), "AlbertForSequenceClassification");
    let passage = r#"{"article": "The cat.", "questions": ["Who?"], "options": [["cat", "dog", "bird", "moon"]], "answers": ["A"], "id": "1"}"#;
    fs::create_dir_all(scene.path("race/dev/middle")).unwrap();
    scene.file("race/dev/middle/1.txt", passage);
    refused(
        evaluate(&["race", "--level", "middle"], &of_values, &scene.arg("race")),
        "AlbertForSequenceClassification",
    );

    // What is learnt anew begins as if there were no such head.
    let allowed = ["--allow-missing", "albert.pooler"]; // of which classifiers of words have none
    let after_words = finetuned(&scene, "after", &of_words, &data, &allowed);
    take_away(&of_words, "classifier.");
    let after_none = finetuned(&scene, "anew", &of_words, &data, &allowed);
    let weights = |model: &str| fs::read(Path::new(model).join("model.safetensors")).unwrap();
    assert!(weights(&after_words) == weights(&after_none));
}

/// The program where no file can be made longer than it is: to it the disk is full.
#[cfg(unix)]
fn run_on_full_disk(temporary: &Path, arguments: &[&str]) -> Run {
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let program = crate::program::program();
    let output = std::process::Command::new("sh")
        .args(["-c", limited, "sh"])
        .arg(program.get_program())
        .args(arguments)
        .env("TMPDIR", temporary)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_remains() {
    let scene = crate::convert::checkpoint();
    let archive = crate::convert::pack(&scene, "release", "albert_base_v2.tar.gz");
    let (temporary, out) = (scene.path("temporary"), scene.arg("out"));
    fs::create_dir(&temporary).unwrap();
    let inside = |folder: &Path| fs::read_dir(folder).unwrap().count();
    let error = run_on_full_disk(&temporary, &["convert", &archive, "--out", &out]).failed(ExitCode::Io);
    assert!(error.contains("TMPDIR") && error.contains(text(&temporary)), "{error}");
    assert!(!error.contains("copy it again"), "the archive is sound: {error}");
    assert_eq!(inside(&temporary), 0);

    let release = scene.arg("release");
    run_on_full_disk(&temporary, &["convert", &release, "--out", &out]).failed(ExitCode::Io);
    assert!(!Path::new(&out).exists());
    // What was there before is there again, and the remains of one that was killed are in nobody's way.
    fs::create_dir_all(scene.path("out/.model.staging")).unwrap();
    scene.file("out/.model.staging/model.safetensors", "a part");
    run_on_full_disk(&temporary, &["convert", &release, "--out", &out]).failed(ExitCode::Io);
    assert_eq!(inside(&scene.path("out")), 0);
    fs::create_dir(scene.path("out/.model.staging")).unwrap();
    run(&["convert", &release, "--out", &out]).done();
    assert!(!scene.path("out/.model.staging").exists());

    fs::create_dir(scene.path("predictions")).unwrap();
    let rows: String = (0..146).map(|index| format!("{index}\t0\n")).collect();
    scene.file("predictions/WNLI.tsv", format!("index\tprediction\n{rows}"));
    let (predictions, zip) = (scene.arg("predictions"), scene.arg("zips/all.zip"));
    fs::create_dir(scene.path("zips")).unwrap();
    let submit = ["submit", "glue", "--predictions", &predictions, "--incomplete", "--out", &zip];
    let error = run_on_full_disk(&temporary, &submit).failed(ExitCode::Io);
    assert!(!error.contains("ZipWriter"), "{error}");
    assert_eq!(inside(&scene.path("zips")), 0);
    run(&submit).done();
}

/// Archives made on a Mac have a hidden file beside each, `._` and its name.
#[test]
fn hidden_files_are_no_part_of_a_model() {
    let scene = crate::convert::checkpoint();
    for name in ["model.ckpt-best.index", "model.ckpt-best.data-00000-of-00001", "30k-clean.model"] {
        scene.file(&format!("release/._{name}"), b"\0\x05\x16\x07");
    }
    let archive = crate::convert::pack(&scene, "release", "albert_base_v2.tar.gz");
    let printed = run(&["convert", &archive, "--out", &scene.arg("out")]).done();
    assert!(printed.contains("and its tokenizer"), "{printed}");
}

/// Where classes stand for themselves, each has a probability of its own, here as in transformers.
#[test]
fn classes_that_stand_for_themselves_are_not_read_as_one_of_many() {
    let scene = Scene::new();
    let data = table(&scene, "table.tsv", &["bad", "good"]);
    let tuned = finetuned(&scene, "run", &scene.arg("model"), &data, &[]);
    let predicted = |model: &str| -> serde_json::Value {
        serde_json::from_str(&run(&["predict", "--model", model, "the cat"]).done()).unwrap()
    };
    let of = |answer: &serde_json::Value| {
        ["bad", "good"].map(|name| answer["probabilities"][name].as_f64().unwrap())
    };
    let one = of(&predicted(&tuned));
    let told = |problem: &str| {
        configure(&tuned, |config| drop(config.insert("problem_type".into(), problem.into())))
    };
    told("multi_label_classification");
    let answer = predicted(&tuned);
    let each = of(&answer);
    let logit = |probability: f64| (probability / (1.0 - probability)).ln();
    let (ratio, difference) = ((one[1] / one[0]).ln(), logit(each[1]) - logit(each[0]));
    assert!((ratio - difference).abs() < 1e-5, "{one:?}, {each:?}");
    let said: Vec<&str> =
        ["bad", "good"].into_iter().zip(each).filter(|pair| pair.1 > 0.5).map(|pair| pair.0).collect();
    assert_eq!(answer["labels"], serde_json::json!(said));
    run(&["evaluate", "table", "--model", &tuned, "--data", &data])
        .complains(ExitCode::Usage, &["multi_label_classification", "predict text"]);
    run(&["convert", &tuned, "--out", &scene.arg("converted")]).done();
    let config = fs::read_to_string(scene.path("converted/config.json")).unwrap();
    assert!(config.contains("\"problem_type\": \"multi_label_classification\""), "{config}");
    // What is learnt from it is what is learnt.
    let again = finetuned(&scene, "again", &tuned, &data, &[]);
    let config = fs::read_to_string(Path::new(&again).join("config.json")).unwrap();
    assert!(config.contains("\"problem_type\": \"single_label_classification\""), "{config}");
    told("regression");
    run(&["predict", "--model", &tuned, "the cat"]).complains(ExitCode::Checkpoint, &["2 values"]);
}

/// To a model that tells no segments apart two texts are one.
#[test]
fn two_texts_need_a_model_of_two_segments() {
    let scene = Scene::new();
    let model = scene.arg("single");
    copy(&scene.arg("model"), Path::new(&model));
    let loaded = model::load(Path::new(&model)).unwrap();
    let config = model::AlbertConfig { type_vocab_size: 1, ..loaded.albert.config().clone() };
    let albert = model::Albert::new(config, loaded.albert.heads()).unwrap();
    model::save(Path::new(&model), &albert, &albert.parameters().initial_values(3).unwrap()).unwrap();
    let data = table(&scene, "table.tsv", &["bad", "good"]);
    let pair = ["--pair", "label"];
    finetune(&model, &data, &scene.arg("pairs"), &pair)
        .complains(ExitCode::Usage, &["type_vocab_size 1", "two segments"]);
    let tuned = finetuned(&scene, "run", &model, &data, &[]);
    run(&[&["evaluate", "table", "--model", &tuned, "--data", &data], &pair[..]].concat())
        .complains(ExitCode::Usage, &["type_vocab_size 1", "two segments"]);
    run(&["predict", "--model", &tuned, "the cat[SEP]the dog"])
        .complains(ExitCode::Usage, &["type_vocab_size 1", "two segments"]);
}

/// transformers makes of weights what their configuration says they are: half of their bits, if that was true of the model that
/// these were learnt from.
#[test]
fn what_is_written_in_f32_is_said_to_be() {
    let scene = Scene::new();
    let (model, data) = (scene.arg("model"), table(&scene, "table.tsv", &["bad", "good"]));
    configure(&model, |config| {
        config.insert("torch_dtype".into(), "float16".into());
        config.insert("dtype".into(), "bfloat16".into());
    });
    run(&["convert", &model, "--out", &scene.arg("converted")]).done();
    let tuned = finetuned(&scene, "run", &model, &data, &[]);
    for folder in [scene.arg("converted"), tuned] {
        let config = fs::read(Path::new(&folder).join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert!(config["torch_dtype"] == "float32" && config["dtype"] == "float32", "{folder}: {config}");
    }
}
