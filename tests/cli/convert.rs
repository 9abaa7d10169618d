//! Models of others, converted.

use std::fs;

use flate2::Compression;
use flate2::write::GzEncoder;
use model::{Fresh, Head, LoadedModel};
use train::exit::ExitCode;
use train::tokenizer::{Tokenizer, TrainOptions};

use crate::program::{Scene, program, run, sentences, text};

/// A recorded TensorFlow checkpoint with a tokenizer beside it, as releases have one.
pub fn checkpoint() -> Scene {
    let scene = Scene::new();
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tf_checkpoint");
    fs::create_dir(scene.path("release")).unwrap();
    for entry in fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, scene.path("release").join(path.file_name().unwrap())).unwrap();
    }
    let pieces = size(&scene, "vocab_size").min(50);
    let options = TrainOptions { vocabulary_size: pieces, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(sentences().lines(), &options).unwrap();
    tokenizer.save(&scene.path("tokenizer")).unwrap();
    fs::copy(scene.path("tokenizer/tokenizer.json"), scene.path("release/tokenizer.json")).unwrap();
    scene
}

/// One of the checkpoint's sizes.
fn size(checkpoint: &Scene, name: &str) -> usize {
    let config = fs::read(checkpoint.path("release/albert_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config[name].as_u64().unwrap() as usize
}

#[test]
fn a_checkpoint_becomes_a_model() {
    let scene = checkpoint();
    let out = scene.path("converted");
    let printed = run(&["convert", &scene.arg("release"), "--out", text(&out)]).done();
    let line = |parts: &[&str]| printed.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(line(&["mapped", "bert/pooler/dense/kernel", "albert.pooler.weight"]), "{printed}");
    assert!(line(&[" mapped, 0 unmapped, 0 missing"]), "{printed}");
    assert!(
        line(&["left out", "optimizer"]) && line(&["AlbertForPreTraining and its tokenizer"]),
        "{printed}"
    );
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pretraining_gelu_new");
    let [found, expected] = [&out, &golden].map(|folder| model::load(folder).unwrap());
    assert!(found.values == expected.values && found.report.unmapped.is_empty());
    assert!(found.tokenizer.is_some(), "the weights know their tokenizer");
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.starts_with("---\nlibrary_name: transformers\npipeline_tag: fill-mask\n"), "{card}");
    // It is a model like any other.
    run(&["fill-mask", "--model", text(&out), "The [MASK]."]).done();

    run(&["convert", &scene.arg("release"), "--out", text(&out)])
        .complains(ExitCode::Io, &["not empty", "new folder"]);
    let again = scene.path("again");
    let json = run(&["convert", text(&out), "--out", text(&again), "--json"]).done();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["architectures"], serde_json::json!(["AlbertForPreTraining"]));
    assert_eq!(json["missing"], serde_json::json!([]));
    let weights = |folder: &std::path::Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(&again), "converting what is converted changes nothing");
}

/// What a folder is called need not be text, as what is printed must be.
#[cfg(unix)]
#[test]
fn folders_of_any_name_are_told_in_json() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let folder = |name: &[u8]| scene.path("").join(std::ffi::OsStr::from_bytes(name));
    let printed = |command: &mut std::process::Command| -> serde_json::Value {
        let output = command.arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let out = folder(b"model-\xff");
    let converted = printed(program().args(["convert", &scene.arg("model"), "--out"]).arg(&out));
    assert!(converted["out"].as_str().unwrap().ends_with("model-\u{fffd}"), "{converted}");
    let runs = folder(b"runs-\xff");
    fs::create_dir_all(runs.join("rte")).unwrap();
    fs::write(runs.join("rte/config.toml"), "[task]\ntask = \"rte\"\n").unwrap();
    fs::write(runs.join("rte/eval_results.json"), "{\"accuracy\": 0.5}").unwrap();
    let table = printed(program().args(["runs", "table"]).arg(&runs));
    assert!(table["runs"][0]["run"].as_str().unwrap().ends_with("runs-\u{fffd}/rte"), "{table}");
}

/// Packs a folder's files as `albert_base/…`, in the form of a release.
pub fn pack(scene: &Scene, folder: &str, archive: &str) -> String {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.append_dir_all("albert_base", scene.path(folder)).unwrap();
    scene.file(archive, tar.into_inner().unwrap().finish().unwrap())
}

/// Whatever `--model` takes is a model with its tokenizer: the released archive, a folder with the release in it, the beginning
/// of the checkpoint's names.
#[test]
fn a_release_is_a_model_to_every_command() {
    let scene = checkpoint();
    let archive = pack(&scene, "release", "albert_base_v2.tar.gz");
    let positions = size(&scene, "max_position_embeddings");
    let [short, long] = [16, 32].map(|length| positions.min(length).to_string());
    let rows: String = (0..20).map(|n| format!("the {}\t{}\n", ["cat", "dog"][n % 2], n % 2)).collect();
    let table = scene.file("pets.tsv", format!("text\tlabel\n{rows}"));
    let (tuned, text_file) = (scene.arg("tuned"), scene.arg("text.txt"));
    fs::create_dir(scene.path("above")).unwrap();
    fs::rename(scene.path("release"), scene.path("above/albert_base")).unwrap();
    let (above, prefix) = (scene.arg("above"), scene.arg("above/albert_base/model.ckpt-best"));
    let mut filled = Vec::new();
    for model in [&archive, &above, &prefix] {
        filled.push(run(&["fill-mask", "--model", model, "The [MASK]."]).done());
        let given = ["finetune", "table", "--model", model, "--data", &table, "--out", &tuned];
        run(&[&given[..], &["--steps", "1", "--max-seq-length", &short]].concat()).done();
        let card = fs::read_to_string(scene.path("tuned/model/README.md")).unwrap();
        let named = std::path::Path::new(model).file_name().unwrap().to_str().unwrap();
        assert!(card.contains(named), "{named}: {card}");
        fs::remove_dir_all(&tuned).unwrap();
    }
    assert!(filled.iter().all(|other| *other == filled[0]), "{filled:?}");
    let evaluate = ["evaluate", "--model", &archive, "--data", &text_file, "--sequences", "8"];
    run(&evaluate).done();
    let given = ["pretrain", "--init", &archive, "--train", &text_file, "--out", &tuned, "--steps", "1"];
    let few = ["--batch", "2", "--eval-sequences", "8", "--held-out-every", "4", "--max-seq-length", &long];
    run(&[&given[..], &few].concat()).done();
}

/// The vocabulary of the released Chinese models has a name of its own.
#[test]
fn the_released_chinese_vocabulary_is_found() {
    let scene = checkpoint();
    let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u{4e2d}", "\u{6587}"];
    fs::remove_file(scene.path("release/tokenizer.json")).unwrap();
    fs::write(scene.path("release/vocab_chinese.txt"), pieces.join("\n") + "\n").unwrap();
    let (archive, out) = (pack(&scene, "release", "albert_base_zh.tar.gz"), scene.arg("converted"));
    run(&["convert", &archive, "--out", &out]).done();
    let filled = run(&["fill-mask", "--model", &archive, "\u{4e2d}[MASK]"]).done();
    assert_eq!(filled, run(&["fill-mask", "--model", &out, "\u{4e2d}[MASK]"]).done());
}

/// The tensors of a value and of a choice are the same, and TensorFlow's files never say which they are.
#[test]
fn a_classifier_with_one_output_is_what_it_is_said_to_be() {
    let scene = Scene::new();
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/multiple_choice");
    fs::create_dir(scene.path("silent")).unwrap();
    fs::copy(golden.join("model.safetensors"), scene.path("silent/model.safetensors")).unwrap();
    let config = fs::read(golden.join("config.json")).unwrap();
    let mut config: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&config).unwrap();
    config.retain(|key, _| key != "architectures" && key != "problem_type");
    scene.file("silent/config.json", serde_json::Value::from(config).to_string());
    // What is read, and what is warned of.
    let convert = |input: &str, out: &str, more: &[&str]| {
        let converted = run(&[&["convert", &scene.arg(input), "--out", &scene.arg(out)], more].concat());
        let is_warned = converted.err.contains("warning") && converted.err.contains("--head choice");
        converted.done();
        (model::load(&scene.path(out)).unwrap(), is_warned)
    };
    let is_choice = |model: &LoadedModel| matches!(model.albert.heads(), [Head::Choice { .. }]);
    let is_value =
        |model: &LoadedModel| matches!(model.albert.heads(), [Head::Classification { outputs: 1, .. }]);
    let (guessed, is_warned) = convert("silent", "guessed", &[]);
    assert!(is_value(&guessed) && is_warned);
    let (value, is_warned) = convert("silent", "value", &["--head", "regression"]);
    assert!(is_value(&value) && !is_warned);
    // Also of what was guessed wrong.
    for (input, out) in [("silent", "choice"), ("guessed", "mended")] {
        let (choice, is_warned) = convert(input, out, &["--head", "choice"]);
        assert!(is_choice(&choice) && !is_warned && choice.values == guessed.values, "{input}");
        // As `evaluate race` does.
        model::expect_head(&scene.path(out), &Head::Choice { dropout: 0.0 }, Fresh::Nothing).unwrap();
        assert!(!fs::read_to_string(scene.path(out).join("config.json")).unwrap().contains("regression"));
    }
    // Nobody has to say again what is said once.
    let (again, is_warned) = convert("mended", "again", &[]);
    assert!(is_choice(&again) && !is_warned);
    let (again, is_warned) = convert("guessed", "guessed again", &[]);
    assert!(is_value(&again) && !is_warned);
    run(&["convert", &scene.arg("model"), "--out", &scene.arg("out"), "--head", "choice"])
        .complains(ExitCode::Usage, &["--head choice", "has none", "leave it out"]);
}

/// What an encoder lacks is an error, unless it is allowed by name.
#[test]
fn nothing_is_left_at_random_unless_it_is_allowed() {
    let scene = Scene::new();
    let path = scene.path("model/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept = tensors.tensors().into_iter().filter(|(name, _)| !name.starts_with("albert.pooler."));
    let rest = safetensors::serialize(kept, None).unwrap();
    fs::write(&path, rest).unwrap();
    let (model, out) = (scene.arg("model"), scene.arg("out"));
    let convert = |more: &[&str]| run(&[&["convert", &model, "--out", &out], more].concat());
    convert(&[]).complains(ExitCode::Checkpoint, &["lacks 2 of", "albert.pooler.weight", "--allow-missing"]);
    convert(&["--allow-missing", "albert.encoder"])
        .complains(ExitCode::Checkpoint, &["albert.pooler.weight"]);
    let printed = convert(&["--allow-missing", "albert.pooler"]).done();
    assert!(
        printed.contains("albert.pooler.weight, drawn anew") && printed.contains("2 missing"),
        "{printed}"
    );
}

#[test]
fn what_is_no_model_is_refused_with_the_way_out() {
    let scene = checkpoint();
    let out = scene.arg("out");
    let refused = |input: &str, parts: &[&str]| {
        run(&["convert", input, "--out", &out]).complains(ExitCode::Checkpoint, parts);
    };
    for name in ["pytorch_model.bin", "model.pt", "model.ckpt"] {
        refused(&scene.file(name, b"PK\x03\x04"), &["PyTorch's pickled weights", "torch.load", name]);
    }
    refused(&scene.file("text.md", b"# no model"), &["text.md is no model", ".tar.gz"]);
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "albert_base/albert_config.json", "/etc/passwd").unwrap();
    let archive = tar.into_inner().unwrap().finish().unwrap();
    refused(&scene.file("hostile.tar.gz", archive), &["hostile.tar.gz", "is a link", "tar -xzf"]);
    // Two releases are one too many; which is meant is said of a folder.
    for name in ["first", "second"] {
        fs::create_dir_all(scene.path("both").join(name)).unwrap();
        for entry in fs::read_dir(scene.path("release")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, scene.path("both").join(name).join(path.file_name().unwrap())).unwrap();
        }
    }
    refused(&pack(&scene, "both", "deep.tar.gz"), &["deep.tar.gz", "there is no model in it", "tar -xzf"]);
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.append_dir_all(".", scene.path("both")).unwrap();
    let both = scene.file("both.tar.gz", tar.into_inner().unwrap().finish().unwrap());
    refused(&both, &["both.tar.gz", "holds several models", "it/first, it/second", "tar -xzf"]);
    run(&["convert", &scene.arg("nothing"), "--out", &out]).complains(ExitCode::Io, &["nothing"]);
    // Cut off, wherever it is cut.
    let values = scene.path("release/model.ckpt-best.data-00000-of-00001");
    let whole = fs::read(&values).unwrap();
    fs::write(&values, &whole[..whole.len() - 1]).unwrap();
    refused(&scene.arg("release"), &["cut off", "model.ckpt-best", "copy it again"]);
    fs::write(&values, whole).unwrap();
    let config = fs::read(scene.path("release/albert_config.json")).unwrap();
    let mut other: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let wider = 2 * other["hidden_size"].as_u64().unwrap();
    other["hidden_size"] = wider.into();
    fs::write(scene.path("release/albert_config.json"), other.to_string()).unwrap();
    let parts = ["has shape", "where the configuration asks for", &wider.to_string(), "copy both again"];
    refused(&scene.arg("release"), &parts);
    assert!(!scene.path("out").exists(), "nothing is begun that cannot be finished");
}
