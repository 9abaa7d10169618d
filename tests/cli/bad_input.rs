//! Input that cannot be used: a clear error, the right exit code, and nothing lost.

use train::exit::ExitCode;
use train::run::directory::RunDirectory;

use crate::program::{Run, Scene, run};

/// A run of `prepare` on one file of this content.
fn prepare(scene: &Scene, content: impl AsRef<[u8]>) -> Run {
    let (text, model, out) = (scene.file("bad.txt", content), scene.arg("model"), scene.arg("shards"));
    run(&["prepare", "--input", &text, "--tokenizer", &model, "--out", &out])
}

fn fill(scene: &Scene) -> Run {
    run(&["fill-mask", "--model", &scene.arg("model"), "the [MASK]"])
}

/// Cuts a file in half.
fn truncate(scene: &Scene, name: &str) {
    let bytes = std::fs::read(scene.path(name)).unwrap();
    std::fs::write(scene.path(name), &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn text_that_is_none() {
    let scene = Scene::new();
    let missing = scene.arg("missing.txt");
    let arguments =
        ["prepare", "--input", &missing, "--tokenizer", &scene.arg("model"), "--out", &scene.arg("shards")];
    let error = run(&arguments).failed(ExitCode::Io);
    assert_eq!(error.matches("No such file").count(), 1, "said once: {error}");
    let pretrain = ["pretrain", "--train", &missing, "--out", &scene.arg("run")];
    run(&pretrain).complains(ExitCode::Io, &["missing.txt"]);
    prepare(&scene, "").complains(ExitCode::Data, &["bad.txt", "no text to learn from"]);
    prepare(&scene, "\n \n\n").complains(ExitCode::Data, &["no text to learn from"]);
}

#[test]
fn bytes_that_are_no_text() {
    let scene = Scene::new();
    prepare(&scene, b"one\ntwo\nthr\xff\xfe").complains(ExitCode::Data, &["bad.txt:3", "byte 4", "iconv"]);
    let endless = [&b"{\"text\": \""[..], &vec![b'a'; 24 << 20]].concat();
    prepare(&scene, endless).complains(ExitCode::Data, &["bad.txt:1", "longer than 16 MiB"]);
}

#[test]
fn shards_of_another_tokenizer() {
    let scene = Scene::new();
    let (text, out) = (scene.arg("text.txt"), scene.arg("shards"));
    run(&["prepare", "--input", &text, "--vocab-size", "45", "--out", &out]).done();
    let complaint = ["shards was prepared with tokenizer", "prepare it again"];
    let model = scene.arg("model");
    run(&["evaluate", "--model", &model, "--data", &out]).complains(ExitCode::Usage, &complaint);
    let run_directory = scene.arg("run");
    run(&["pretrain", "--train", &out, "--tokenizer", &model, "--out", &run_directory])
        .complains(ExitCode::Usage, &complaint);
    // The folder of one tokenizer's shards does not become another's.
    run(&["prepare", "--input", &text, "--tokenizer", &model, "--out", &out])
        .complains(ExitCode::Usage, &["prepared with another tokenizer"]);
}

#[test]
fn tokenizers_that_do_not_fit() {
    let scene = Scene::new();
    let mut pieces: String =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|piece| format!("{piece}\n")).concat();
    pieces.extend((0..70_000).map(|n| format!("w{n}\n")));
    let large = scene.file("vocab.txt", pieces);
    let text = scene.arg("text.txt");
    run(&["prepare", "--input", &text, "--tokenizer", &large, "--out", &scene.arg("shards")])
        .complains(ExitCode::Data, &["vocab.txt", "pieces", "at most 65536"]);
    assert!(!scene.path("shards").exists());
    run(&["fill-mask", "--model", &scene.arg("model"), "--tokenizer", &large, "[MASK]"])
        .complains(ExitCode::Data, &["vocab.txt", "pieces", "at most 65536"]);
    let other: String = (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).into_iter())
        .chain((0..70).map(|n| format!("w{n}")))
        .map(|piece| piece + "\n")
        .collect();
    let other = scene.file("vocab.txt", other);
    run(&["fill-mask", "--model", &scene.arg("model"), "--tokenizer", &other, "[MASK]"])
        .complains(ExitCode::Usage, &["75 pieces", "rows for 50", "do not belong together"]);
}

#[test]
fn settings_that_do_not_fit() {
    let scene = Scene::new();
    let pretrain = |more: &[&str]| run(&[&["pretrain", "--out", &scene.arg("run")], more].concat());
    pretrain(&["--num-attention-heads", "7"])
        .complains(ExitCode::Usage, &["num_attention_heads", "the heads must divide hidden_size = 128"]);
    pretrain(&["--max-seq-length", "1024"])
        .complains(ExitCode::Usage, &["1024 tokens are longer than the model's 128 positions"]);
    let config = scene.file("run.toml", "[training]\nsteps = 10\nbacth = 4\n");
    pretrain(&["--config", &config])
        .complains(ExitCode::Usage, &["unknown-key", "`bacth`", "run.toml:3", "`training.batch`"]);
    pretrain(&["--batch", "9000000000000"])
        .complains(ExitCode::Usage, &["`training.batch`", "at most 1048576"]);
    let long = ["--max-position-embeddings", "4096", "--max-seq-length", "4096"];
    pretrain(&[&["--batch", "1000000", "--micro-batch", "1000000"], &long[..]].concat())
        .complains(ExitCode::Usage, &["`training.micro_batch`", "too many", "at most 262144"]);
    assert!(!scene.path("run").exists(), "nothing is begun");
}

#[test]
fn a_second_process_in_the_run_directory() {
    let scene = Scene::new();
    let _first = RunDirectory::open(&scene.path("run"), &[]).unwrap();
    run(&["pretrain", "--train", &scene.arg("text.txt"), "--out", &scene.arg("run")])
        .complains(ExitCode::Usage, &[&std::process::id().to_string()]);
}

#[test]
fn damaged_models() {
    let scene = Scene::new();
    fill(&scene).done();
    let whole = std::fs::read(scene.path("model/model.safetensors")).unwrap();
    truncate(&scene, "model/model.safetensors");
    fill(&scene).complains(ExitCode::Checkpoint, &["model.safetensors is not a whole safetensors file"]);
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(scene.path("model/model.safetensors"), flipped).unwrap();
    fill(&scene).complains(ExitCode::Checkpoint, &["model.safetensors is damaged", "weights_blake3"]);
    std::fs::write(scene.path("model/model.safetensors"), &whole).unwrap();

    let config = std::fs::read_to_string(scene.path("model/config.json")).unwrap();
    scene.file(
        "model/config.json",
        config.replace(r#""num_attention_heads": 3"#, r#""num_attention_heads": 5"#),
    );
    fill(&scene).complains(
        ExitCode::Checkpoint,
        &["num_attention_heads = 5", "the heads must divide hidden_size = 24"],
    );
    // What no weights have room for is not asked of the machine.
    scene.file("model/config.json", config.replace(r#""hidden_size": 24"#, r#""hidden_size": 999999"#));
    fill(&scene).complains(
        ExitCode::Checkpoint,
        &["has shape", "where the configuration asks for", "copy both again"],
    );
    scene.file("model/config.json", config.replace("gelu_new", "gelu"));
    let noted = fill(&scene);
    assert!(noted.err.starts_with("warning: hidden_act is \"gelu\""), "{}", noted.err);
    noted.done();
    scene.file("model/config.json", &config);
    truncate(&scene, "model/config.json");
    fill(&scene).complains(ExitCode::Checkpoint, &["config.json is not a model configuration", "line"]);
    std::fs::write(scene.path("model/config.json"), b"{\"hidden_act\": \"\xff\"}").unwrap();
    fill(&scene).complains(ExitCode::Checkpoint, &["config.json", "UTF-8"]);
    std::fs::remove_file(scene.path("model/config.json")).unwrap();
    fill(&scene).complains(ExitCode::Io, &["config.json", "No such file"]);
}

#[test]
fn damaged_tokenizers_and_shards() {
    let scene = Scene::new();
    let (text, model, out) = (scene.arg("text.txt"), scene.arg("model"), scene.arg("shards"));
    run(&["prepare", "--input", &text, "--tokenizer", &model, "--out", &out]).done();
    let evaluate = ["evaluate", "--model", &model, "--data", &out];
    let mut shard = std::fs::read(scene.path("shards/00000.shard")).unwrap();
    let middle = shard.len() / 2;
    shard[middle] ^= 1;
    std::fs::write(scene.path("shards/00000.shard"), shard).unwrap();
    run(&evaluate).complains(ExitCode::Data, &["00000.shard is damaged", "prepare the data again"]);
    truncate(&scene, "shards/00000.shard");
    run(&evaluate).complains(ExitCode::Data, &["00000.shard is damaged"]);
    truncate(&scene, "model/tokenizer.json");
    fill(&scene).complains(ExitCode::Data, &["tokenizer.json is not a usable tokenizer"]);
    std::fs::remove_file(scene.path("model/tokenizer.json")).unwrap();
    fill(&scene).complains(ExitCode::Data, &["holds no tokenizer"]);
}

/// What is refused before it began leaves nothing that somebody would have to remove, not even the folders on the way to it.
#[test]
fn a_start_that_is_refused_leaves_nothing() {
    let scene = Scene::new();
    let latin = scene.file("latin.txt", b"Un caf\xe9.\n\nUn th\xe9.\n");
    for line in [
        "prepare --input LATIN --tokenizer MODEL",
        "prepare --input LATIN",
        "pretrain --train LATIN --tokenizer MODEL",
        "pretrain --train TEXT --tokenizer MODEL --held-out /none",
        "finetune glue mrpc --model /none --data /none",
        "finetune glue mrpc --model MODEL --data /none --seeds 2",
        "finetune squad --model MODEL --data /none",
        "finetune race --model hf:me/none --data /none",
        "finetune table --model MODEL --train /none.csv --text a --label b",
        "finetune stories --model hf:me/none",
        "finetune stories --model /none",
        "pretrain --train /none",
        "pretrain --train TEXT --tokenizer /none",
        "pretrain --train TEXT --tokenizer hf:me/none",
        "pretrain --train TEXT --tokenizer MODEL --init hf:me/none",
        "pretrain --train TEXT --tokenizer MODEL --init /none",
        "prepare --input /none",
        "prepare --input TEXT --tokenizer /none",
        "predict glue mrpc --model MODEL --data /none",
        "tokenizer train --input /none",
        "submit glue --predictions /none",
        "convert /none",
    ] {
        let line = line.replace("MODEL", &scene.arg("model")).replace("TEXT", &scene.arg("text.txt"));
        let line = line.replace("LATIN", &latin);
        let out = scene.arg("new/deep/out");
        let arguments: Vec<_> = line.split(' ').chain(["--out", &out]).collect();
        let run = run(&arguments);
        assert!(run.code > 1 && run.code < 10, "{line}: {} {}", run.code, run.err);
        assert!(!scene.path("new").exists(), "{line}");
    }
}

/// An address is no folder: one of its name would be made here, and found by nobody.
#[test]
fn nothing_is_written_to_an_address() {
    let scene = Scene::new();
    for line in [
        "pretrain --out gs://bucket/run",
        "prepare --input TEXT --tokenizer MODEL --out s3://bucket/data",
        "finetune stories --model MODEL --out=gs://bucket/run",
        "convert MODEL --out hdfs://node/model",
        "tokenizer train --input TEXT -o gs://bucket/tokenizer",
        "predict glue mrpc --model MODEL --data /none --out gs://bucket/out",
        "recipes copy base gs://bucket/base.toml",
        "man gs://bucket/man",
    ] {
        let line = line.replace("MODEL", &scene.arg("model")).replace("TEXT", &scene.arg("text.txt"));
        let words: Vec<_> = line.split(' ').collect();
        run(&words).complains(ExitCode::Usage, &["://", "everything is written on this machine"]);
    }
    for line in ["prepare --input", "pretrain --train"] {
        let (model, out) = (scene.arg("model"), scene.arg("out"));
        let words = ["gs://bucket/a.txt", "--tokenizer", &model, "--out", &out];
        let words: Vec<_> = line.split(' ').chain(words).collect();
        run(&words).complains(ExitCode::Io, &["cannot read gs://bucket/a.txt: ", "copy it here first"]);
    }
    run(&["pretrain", "--out=~/run"]).complains(ExitCode::Usage, &["a shell replaces ~", "write $HOME"]);
    assert!(["gs:", "s3:", "hdfs:", "~"].iter().all(|name| !std::path::Path::new(name).exists()));
}
