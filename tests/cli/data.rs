//! prepare, tokenizer, evaluate, inspect batches.

use std::process::{Command, Stdio};
use std::time::Duration;

use train::exit::ExitCode;

use crate::program::{Scene, program, run, run_with, sentences};
use crate::support::recorded;

#[test]
fn text_is_prepared_once() {
    let scene = Scene::new();
    let (text, model, out) = (scene.arg("text.txt"), scene.arg("model"), scene.arg("shards"));
    let prepare = ["prepare", "--input", &text, "--tokenizer", &model, "--out", &out, "--threads", "2"];
    let first = run(&prepare).done();
    assert!(first.starts_with("120 documents, 360 sentences, "), "{first}");
    for part in [
        "% unknown",
        "in 1 shards",
        "of the input's 0.0 MB",
        "MB/s",
        "next, a first model: albert-train pretrain --train",
        "--preset micro --batch 16 --steps 1000 --out runs/shards",
    ] {
        assert!(first.contains(part), "`{part}` is not in: {first}");
    }
    let again = run(&prepare).done();
    assert!(again.contains("everything was there already"), "{again}");
}

#[test]
fn a_vocabulary_is_trained_on_the_way() {
    let scene = Scene::new();
    let (text, out) = (scene.arg("text.txt"), scene.arg("shards"));
    run(&["prepare", "--input", &text, "--vocab-size", "48", "--out", &out]).done();
    let shown = run(&["tokenizer", "inspect", "--tokenizer", &scene.arg("shards/tokenizer")]).done();
    assert!(shown.starts_with("pieces          48, of which "), "{shown}");
    // The text has words for some hundred pieces, fewer than would suit a text of any size.
    let neither = run(&["prepare", "--input", &text, "--out", &scene.arg("default")]);
    assert!(neither.err.contains("training a vocabulary of 1000 pieces"), "{}", neither.err);
    assert!(neither.done().contains("120 documents"));
}

/// Its vocabulary is trained once, however often a preparation is continued.
#[test]
fn a_preparation_keeps_its_vocabulary() {
    let scene = Scene::new();
    let (text, out) = (scene.arg("text.txt"), scene.arg("shards"));
    let prepare = |size: &str| run(&["prepare", "--input", &text, "--vocab-size", size, "--out", &out]);
    for (size, text) in [("48", &text), ("60000", &text)] {
        let out = scene.arg(size);
        let prepare = || run(&["prepare", "--input", text, "--vocab-size", size, "--out", &out]);
        assert!(prepare().err.contains("training a vocabulary"));
        let again = prepare();
        assert!(!again.err.contains("training a vocabulary"), "{}", again.err);
        assert!(again.done().contains("everything was there already"));
    }
    prepare("48").done();
    let other = prepare("47");
    assert!(!other.err.contains("training a vocabulary"), "trained in vain: {}", other.err);
    other.complains(ExitCode::Usage, &["another --vocab-size (48)"]);
}

#[test]
fn a_vocabulary_is_trained_tried_and_looked_at() {
    let scene = Scene::new();
    let out = scene.arg("vocabulary");
    let text = scene.arg("text.txt");
    let trained = run(&["tokenizer", "train", "--input", &text, "--out", &out, "--vocab-size", "45"]).done();
    assert!(trained.starts_with("a vocabulary of 45 pieces is in "), "{trained}");
    let encode = |arguments: &[&str], input: &str| {
        run_with(&[&["tokenizer", "encode", "--tokenizer", &out], arguments].concat(), input).done()
    };
    let pieces = encode(&["The cat slept."], "");
    assert_eq!(pieces.replace(' ', "").trim(), "▁the▁cat▁slept.");
    assert_eq!(encode(&[], "The cat slept.\n"), pieces, "from standard input");
    // Line n of the answer is that of line n; a line ends with LF or CR LF and nowhere else.
    let (cat, slept) = (encode(&["the cat"], ""), encode(&["slept"], ""));
    let lines = encode(&[], "\u{feff}the cat\r\n\n \t\nthe\rcat\nthe\u{2028}cat\nthe\u{85}cat\nslept");
    assert_eq!(lines, format!("{cat}\n\n{cat}{cat}{cat}{slept}"));
    let covered =
        run(&["tokenizer", "inspect", "--tokenizer", &out, "--text", &text, "--beside", &scene.arg("model")]);
    let covered = covered.done();
    assert_eq!(covered.matches("  words ").count(), 2, "{covered}");
    assert!(covered.contains("unknown       0.000% of"), "{covered}");
    let latin1 = run_with(&["tokenizer", "encode", "--tokenizer", &out], b"The cat\nslept \xe0\n");
    latin1.complains(ExitCode::Data, &["standard input:2: byte 7 of the line is not valid UTF-8"]);
    let object: serde_json::Value = serde_json::from_str(&encode(&["--json", "The cat slept."], "")).unwrap();
    let ids: Vec<String> = object["ids"].as_array().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(encode(&["--ids", "The cat slept."], "").trim(), ids.join(" "));
    let listed = run(&["tokenizer", "inspect", "--tokenizer", &out, "--pieces"]).done();
    assert_eq!(listed.lines().count(), 45);
    assert!(listed.starts_with("0\t<pad>\n1\t<unk>\n2\t[CLS]\n3\t[SEP]\n4\t[MASK]\n"), "{listed}");
}

/// Text and the shards made of it give the same figures, and nothing is written that was not asked for.
#[test]
fn a_model_is_evaluated() {
    let scene = Scene::new();
    let (text, model, out) = (scene.arg("text.txt"), scene.arg("model"), scene.arg("shards"));
    run(&["prepare", "--input", &text, "--tokenizer", &model, "--out", &out]).done();
    let files = || std::fs::read_dir(scene.path("")).unwrap().count();
    let before = files();
    let evaluate = |data: &str, more: &[&str]| {
        run(&[&["evaluate", "--model", &model, "--data", data, "--sequences", "50"], more].concat()).done()
    };
    let of_text = evaluate(&text, &["--json"]);
    assert_eq!(of_text, evaluate(&out, &["--json", "--threads", "1"]));
    assert_eq!(files(), before);
    let figures: serde_json::Value = serde_json::from_str(&of_text).unwrap();
    let figure = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name} is not in {figures}"));
    assert_eq!(figure("sequences"), 50.0);
    // With random weights about as good as guessing: ln(50) and ln(2).
    assert!((figure("masked_lm_loss") - 50f64.ln()).abs() < 0.3, "{figures}");
    assert!((figure("sentence_order_loss") - 2f64.ln()).abs() < 0.1, "{figures}");
    assert!((figure("loss") - figure("masked_lm_loss") - figure("sentence_order_loss")).abs() < 1e-9);
    for name in ["masked_lm_accuracy", "sentence_order_accuracy", "majority_masked_lm_accuracy"] {
        assert!((0.0..=1.0).contains(&figure(name)), "{name}");
    }
    let shown = evaluate(&text, &["--output", &scene.arg("eval_results.json")]);
    assert!(shown.contains("masked_lm_accuracy"), "{shown}");
    let written = std::fs::read(scene.path("eval_results.json")).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).unwrap(), figures);
    assert_ne!(evaluate(&text, &["--json", "--seed", "2"]), of_text);
    let every: serde_json::Value =
        serde_json::from_str(&evaluate(&text, &["--json", "--held-out-every", "60"])).unwrap();
    assert!(every["sequences"].as_u64().unwrap() < 10, "two of 120 documents: {every}");
}

#[test]
fn batches_are_shown_and_written() {
    let scene = Scene::new();
    let data =
        ["--train", &scene.arg("text.txt"), "--tokenizer", &scene.arg("model"), "--max-seq-length", "32"];
    let inspect = |more: &[&str]| {
        let run_directory = scene.arg("no-such-run");
        run(&[&["inspect", "batches", "--out", &run_directory], &data[..], more].concat()).done()
    };
    let shown = inspect(&["--count", "3", "--batch", "8"]);
    assert_eq!(shown.matches("  A  [CLS]").count(), 3, "{shown}");
    for part in [
        "[MASK]{",
        "step 0, epoch 0, from sequence 0",
        "masked  ",
        "swapped  ",
        "single sentences",
        "unknown",
    ] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    assert!(!scene.path("no-such-run").exists());
    // The second batch begins where the first ends.
    let examples = |text: &str| -> Vec<String> {
        text.split("document ").skip(1).map(|example| example.lines().take(3).collect::<String>()).collect()
    };
    let first = examples(&inspect(&["--count", "10", "--batch", "8"]));
    let second = examples(&inspect(&["--count", "2", "--batch", "8", "--step", "1"]));
    assert_eq!(second, first[8..]);

    let output = scene.arg("batch.safetensors");
    inspect(&["--count", "3", "--output", &output]);
    let tensors = recorded(output.as_ref());
    let shape = tensors["input_ids"].shape();
    assert_eq!((shape[0], tensors["sentence_order_label"].shape()), (3, &[3][..]));
    for name in ["attention_mask", "token_type_ids", "labels"] {
        assert_eq!(tensors[name].shape(), shape, "{name}");
    }
    let (mask, labels) = (tensors["attention_mask"].integer(), tensors["labels"].integer());
    let predicted = labels.iter().zip(mask).filter(|&(&label, &real)| label >= 0 && real == 1).count();
    assert!(predicted > 3 && labels.iter().zip(mask).all(|(&label, &real)| label == -100 || real == 1));
    // It is what `encode` reads.
    let (model, encoded) = (scene.arg("model"), scene.arg("encoded.safetensors"));
    run(&["encode", "--model", &model, "--input", &output, "--output", &encoded]).done();
}

/// What cannot be is said before the work, not after it or never.
#[test]
fn what_cannot_be_is_said_at_once() {
    let scene = Scene::new();
    let (text, out) = (scene.arg("text.txt"), scene.arg("new"));
    run(&["prepare", "-i", &text, "--vocab-size", "70000", "-o", &out])
        .complains(ExitCode::Usage, &["70000 is not in 1..=65536"]);
    let train = |out: &str, text: &str| {
        run(&["tokenizer", "train", "-i", &scene.arg("text.txt"), text, "-o", out, "--vocab-size", "1000000"])
    };
    train(&scene.arg("model"), &text).complains(ExitCode::Usage, &["model/tokenizer.json is in the way"]);
    let empty = scene.file("empty.txt", "");
    run(&["tokenizer", "train", "-i", &empty, "-o", &out])
        .complains(ExitCode::Data, &["empty.txt: there is no text"]);
    train(&out, &scene.arg("missing")).complains(ExitCode::Io, &["missing: No such file"]);
    let inspect = |more: [&str; 2]| {
        let arguments = ["inspect", "batches", "--train", &text, "--out", &scene.arg("no-run")];
        run(&[&arguments[..], &more].concat())
    };
    inspect(["--step", "1000000000000"])
        .complains(ExitCode::Usage, &["step = 1000000000000", "training.steps"]);
    inspect(["--count", "1000000000000"]).complains(ExitCode::Usage, &["1000000000000 is not in 0..=100000"]);
    let few = inspect(["--held-out-every", "121"]);
    assert!(
        few.err.contains("has 120 documents, fewer than --held-out-every 121: its last sentences"),
        "{}",
        few.err
    );
    assert!(!scene.path("new").exists());
}

/// What looks wrong is said by `prepare`, kept in its folder, and said again by `pretrain`, before it trains.
#[test]
fn a_text_is_looked_at_as_a_whole() {
    let scene = Scene::new();
    let sentence = |n: usize| format!("Sentence number {n} speaks of the garden, the river and the moon.");
    let articles: String =
        (0..8).map(|a| (0..40).map(|s| sentence(a * 40 + s)).collect::<Vec<_>>().join(" ") + "\n").collect();
    let (text, out) = (scene.file("articles.txt", articles), scene.arg("shards"));
    let report = run(&["prepare", "-i", &text, "--vocab-size", "60", "-o", &out]).done();
    let advice =
        ["one article a line (8 lines", "--format prose", "letters           Latin 100.0%", "never seen"];
    assert!(advice.iter().all(|part| report.contains(part)), "{report}");
    let kept = std::fs::read(scene.path("shards/report.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["documents"], 1);
    assert!(kept["warnings"][0].as_str().unwrap().contains("one article a line"));
    let again = run(&["prepare", "-i", &text, "--vocab-size", "60", "-o", &out]).done();
    assert!(again.contains("one article a line"));
    let settings = [
        "--preset",
        "micro",
        "--max-seq-length",
        "32",
        "--steps",
        "2",
        "--batch",
        "2",
        "--eval-sequences",
        "4",
    ];
    let vocabulary = ["--vocab-size", "60"];
    for (data, run_directory, vocabulary) in [(&text, "of-text", &vocabulary[..]), (&out, "of-shards", &[])] {
        let run_directory = scene.arg(run_directory);
        let pretrain = ["pretrain", "--train", data, "--out", &run_directory];
        let trained = run(&[&pretrain[..], &settings, vocabulary].concat());
        let said = [trained.out.clone(), trained.err.clone()].concat();
        for part in ["one article a line", "its last sentences are held out", "never seen in sequences of 32"]
        {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        trained.done();
    }
    // Held-out text that is trained on.
    let both = ["inspect", "batches", "--out", "no-run", "--train", &text, "--held-out", &text];
    let same = run(&[&both[..], &settings, &vocabulary].concat());
    assert!(
        same.err.contains("of the held-out text in long sentences is in the training text too"),
        "{}",
        same.err
    );
}

/// Outside English the reference takes middles of words for words.
#[test]
fn words_of_other_scripts_are_masked_whole_on_request() {
    let scene = Scene::new();
    let words = ["работать", "работник", "работница", "писатель", "письменный", "переписать"];
    let line = |n: usize| (0..5).map(|w| words[(n * 7 + w * w) % 6]).collect::<Vec<_>>().join(" ") + ".\n";
    let lines = (0..400).map(|n| line(n) + if n % 4 == 3 { "\n" } else { "" });
    let text = scene.file("russian.txt", lines.collect::<String>());
    let vocabulary = scene.arg("vocabulary");
    run(&["tokenizer", "train", "-i", &text, "--vocab-size", "33", "--keep-accents", "-o", &vocabulary])
        .done();
    let inspect = |more: &[&str]| {
        let data = ["inspect", "batches", "--train", &text, "--tokenizer", &vocabulary, "--out", "no-run"];
        run(&[&data[..], &["--max-seq-length", "64", "--held-out-every", "10"], more].concat())
    };
    let reference = inspect(&[]);
    for part in ["whole-word masking has little effect", "--words-by-space"] {
        assert!(reference.err.contains(part), "{}", reference.err);
    }
    let by_space = inspect(&["--words-by-space"]);
    assert!(!by_space.err.contains("whole-word masking"), "{}", by_space.err);
    // Between one ▁ and the next either all pieces are masked or none.
    let shown = by_space.done();
    let mut masked = 0;
    for segment in shown.lines().filter(|line| line.starts_with("  A  ") || line.starts_with("  B  ")) {
        let (mut words, mut after_special): (Vec<Vec<bool>>, bool) = (Vec::new(), true);
        for shown in segment.split_whitespace().skip(1) {
            let piece = shown.split_once('{').map_or(shown, |(_, label)| label.trim_end_matches('}'));
            let begins = piece.starts_with(['▁', '[']) || piece == "." || after_special;
            after_special = piece.starts_with('[');
            match words.last_mut() {
                Some(word) if !begins => word.push(shown.contains('{')),
                _ => words.push(vec![shown.contains('{')]),
            }
        }
        for word in words {
            assert!(word.iter().all(|&is_masked| is_masked == word[0]), "{segment}");
            masked += usize::from(word[0] && word.len() > 1);
        }
    }
    assert!(masked > 0, "{shown}");
}

/// What was finished before an interruption is kept, and the end is what it would have been.
#[cfg(unix)]
#[test]
fn an_interrupted_preparation_goes_on() {
    let scene = Scene::new();
    let text = scene.file("long.txt", sentences().repeat(30 * (1 << 20) / sentences().len()));
    let prepare = |out: &str| {
        let arguments =
            ["prepare", "-i", &text, "--tokenizer", &scene.arg("model"), "--threads", "1", "-o", out];
        let mut command = program();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let out = scene.arg("stopped");
    let mut process = prepare(&out).spawn().unwrap();
    while !scene.path("stopped/00000.shard").exists() {
        assert_eq!(process.try_wait().unwrap(), None, "it ended and made no shard");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap().success());
    let stopped = process.wait_with_output().unwrap();
    let message = String::from_utf8(stopped.stderr).unwrap();
    assert_eq!(stopped.status.code(), Some(75), "{message}");
    assert!(message.contains("what is finished is kept"), "{message}");
    let resumed = String::from_utf8(prepare(&out).output().unwrap().stdout).unwrap();
    assert!(resumed.contains(" shards were there already"), "{resumed}");
    assert!(prepare(&scene.arg("whole")).status().unwrap().success());
    for file in ["manifest.json", "00000.shard", "00001.shard", "00002.shard"] {
        let read = |folder: &str| std::fs::read(scene.path(folder).join(file)).unwrap();
        assert!(read("stopped") == read("whole"), "{file}");
    }
}

/// At a limit of the file system: an error that names the file, and going on where there is room again.
#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing() {
    let scene = Scene::new();
    let binary = program().get_program().to_str().unwrap().to_owned();
    let (text, model, out) = (scene.arg("text.txt"), scene.arg("model"), scene.arg("shards"));
    let command = format!("ulimit -f 1; exec {binary} prepare -i {text} --tokenizer {model} -o {out}");
    let full = Command::new("sh").args(["-c", &command]).output().unwrap();
    let message = String::from_utf8(full.stderr).unwrap();
    assert_eq!(full.status.code(), Some(i32::from(ExitCode::Io.code())), "{message}");
    assert!(message.contains("shards/") && message.contains("File too large"), "{message}");
    run(&["prepare", "-i", &text, "--tokenizer", &model, "-o", &out]).done();
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scene = Scene::new();
    let mut listing = program();
    listing.args(["tokenizer", "inspect", "--pieces", "--tokenizer", &scene.arg("model")]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = listing.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}
