//! The text of a run: pipes, folders that hold more than text, text that was changed or cannot be masked.

use std::fs;

use train::exit::ExitCode;

use crate::program::{Run, Scene, run, run_with, sentences};

/// Of a small run.
const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 24 --num-hidden-layers 1 \
                 --max-seq-length 32 --batch 1 --steps 4 --eval-sequences 8 --held-out-every 4 --log-every 1 --threads 1";

/// `pretrain` into the scene's `run`.
fn pretrain(scene: &Scene, more: &[&str], input: impl AsRef<[u8]>) -> Run {
    let out = scene.arg("run");
    let sizes: Vec<&str> = SIZES.split_whitespace().collect();
    run_with(&[&["pretrain", "--out", &out], &sizes[..], more].concat(), input)
}

/// Documents of three lines, each a single word of so many bases.
fn dna(length: usize) -> String {
    let mut state = 7_u64;
    let mut base = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        b"acgt"[(state >> 62) as usize] as char
    };
    let mut text = String::new();
    for _ in 0..40 {
        for _ in 0..3 {
            text.extend((0..length).map(|_| base()));
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// Where words have more pieces than are predicted, none is masked: that is said before the run, and no figure of nothing is
/// shown.
#[test]
fn text_that_cannot_be_masked() {
    let scene = Scene::new();
    let (long, model) = (scene.file("long.txt", dna(3000)), scene.arg("model"));
    let whole = ["--train", &long, "--tokenizer", &model];
    let advice = "--whole-word false";
    pretrain(&scene, &whole, "").complains(
        ExitCode::Data,
        &["samples of the training data are masked, which is nothing to learn from", advice],
    );
    let shown = run(&["evaluate", "--model", &model, "--data", &long, "--sequences", "8"]).done();
    assert!(shown.contains("Masked pieces: none") && !shown.contains("NaN"), "{shown}");
    pretrain(&scene, &[&whole[..], &["--whole-word", "false"]].concat(), "").done();
    fs::remove_dir_all(scene.path("run")).unwrap();

    // In one document of eight there are words that can be masked: most steps have none.
    let few: String = dna(3000)
        .split("\n\n")
        .enumerate()
        .map(|(n, document)| match n % 8 {
            0 => format!("{}\n\n", document.replace('\n', " the cat sat there.\n")),
            _ => format!("{document}\n\n"),
        })
        .collect();
    let few = scene.file("few.txt", few);
    let run =
        pretrain(&scene, &["--train", &few, "--tokenizer", &model, "--held-out", &scene.arg("text.txt")], "");
    let warning = "% of the tokens of the training data are masked, where 1";
    assert!(run.err.contains(warning) && run.err.contains(advice), "{}", run.err);
    assert!(!run.err.contains("held-out data are masked"), "{}", run.err);
    let journal = fs::read_to_string(scene.path("run/metrics.jsonl")).unwrap();
    let is_without = |line: &str| line.contains("\"train\"") && !line.contains("masked_lm_loss");
    assert!(journal.lines().any(is_without), "each step has masked words: {journal}");
    assert!(!run.err.contains("NaN") && !journal.contains("NaN"), "{}\n{journal}", run.err);
    run.done();
}

/// Until a run has begun, the text is what is piped in now.
#[test]
fn a_pipe_can_be_mended() {
    let scene = Scene::new();
    let (model, text) = (scene.arg("model"), sentences());
    let piped = |input: &[u8]| pretrain(&scene, &["--train", "-", "--tokenizer", &model], input);
    let latin1 = [text.as_bytes(), b"caf\xe9 au lait.\n"].concat();
    piped(&latin1).complains(ExitCode::Data, &["not valid UTF-8"]);
    piped(&latin1[..0]).complains(ExitCode::Data, &["not valid UTF-8", "that was piped in"]);
    let mended = piped(text.as_bytes());
    assert!(mended.err.contains("reading the training text from standard input"), "{}", mended.err);
    assert!(mended.err.contains("takes the place of an earlier start's"), "{}", mended.err);
    let figures = mended.done();
    // Now it is the run's.
    let again = piped(b"Something else.\nThat was all.\n");
    assert!(again.err.contains("using the training text that was piped in"), "{}", again.err);
    assert_eq!(again.done(), figures);
    let kept = fs::read(scene.path("run/data/training-text/standard input")).unwrap();
    assert_eq!(kept, text.as_bytes());
}

/// What a start made of a pipe's text is made anew of another's, the vocabulary too.
#[test]
fn a_pipe_of_other_text_is_prepared_anew() {
    let scene = Scene::new();
    let piped = |input: String| pretrain(&scene, &["--train", "-", "--vocab-size", "40"], input);
    piped(dna(3000)).complains(
        ExitCode::Data,
        &["samples of the training data are masked, which is nothing to learn from"],
    );
    assert!(scene.path("run/data/training/manifest.json").exists());
    let same = piped(dna(3000));
    assert!(!same.err.contains("training a vocabulary"), "{}", same.err);
    same.complains(
        ExitCode::Data,
        &["that was piped in", "samples of the training data are masked, which is nothing to learn from"],
    );
    piped(sentences()).done();
    let vocabulary = fs::read_to_string(scene.path("run/model/tokenizer.json")).unwrap();
    assert!(vocabulary.contains("▁the"), "of the text before: {vocabulary}");
}

/// Output may lie in the folder of text.
#[test]
fn what_the_program_made_is_no_text() {
    let scene = Scene::new();
    let texts = scene.path("texts");
    fs::create_dir(&texts).unwrap();
    fs::write(texts.join("a.txt"), sentences()).unwrap();
    let (folder, prepared) = (scene.arg("texts"), scene.arg("texts/prepared"));
    let prepare = || run(&["prepare", "--input", &folder, "--out", &prepared, "--vocab-size", "48"]);
    let first = prepare().done();
    let again = prepare();
    assert!(
        again.err.contains("texts/prepared is left out of the text: it is prepared data"),
        "{}",
        again.err
    );
    let again = again.done();
    assert!(again.contains("everything was there already"), "{again}");
    assert_eq!(first.lines().next(), again.lines().next());
    let tokenizer = scene.arg("texts/tokenizer");
    let train =
        || run(&["tokenizer", "train", "--input", &folder, "--out", &tokenizer, "--vocab-size", "45"]);
    train().done();
    train().complains(ExitCode::Usage, &["is in the way"]); // the text was no trouble
    let out = scene.arg("texts/run");
    let sizes: Vec<&str> = SIZES.split_whitespace().collect();
    let train = ["pretrain", "--train", &folder, "--out", &out, "--tokenizer", &tokenizer];
    let train = || run(&[&train[..], &sizes[..]].concat());
    let begun = train();
    for what in
        ["prepared is left out of the text: it is prepared data", "tokenizer is left out", "run is left out"]
    {
        assert!(begun.err.contains(what), "{what}: {}", begun.err);
    }
    assert_eq!(begun.done(), train().done());
}

/// A run that is finished stays so whatever becomes of a later start.
#[test]
fn a_finished_run_stays_finished() {
    let scene = Scene::new();
    let (text, model) = (scene.arg("text.txt"), scene.arg("model"));
    let again = || pretrain(&scene, &["--train", &text, "--tokenizer", &model], "");
    let status = || {
        let info: serde_json::Value =
            serde_json::from_slice(&fs::read(scene.path("run/run.json")).unwrap()).unwrap();
        (info["status"].clone(), info["sessions"].as_array().unwrap().len())
    };
    let figures = again().done();
    let moved = scene.path("moved.txt");
    fs::rename(scene.path("text.txt"), &moved).unwrap();
    scene.file("text.txt", sentences().replace("moon", "tree"));
    again().complains(ExitCode::Usage, &["was begun with other training data"]);
    assert_eq!(status(), ("finished".into(), 2));
    let shown = run(&["runs", "show", &scene.arg("run")]).done();
    assert!(!shown.contains("Failed"), "{shown}");
    fs::rename(&moved, scene.path("text.txt")).unwrap();
    assert_eq!(again().done(), figures);
    assert_eq!(status(), ("finished".into(), 3));
}

/// What is measured on may change, what is learnt from may not.
#[test]
fn a_run_may_be_measured_on_other_text() {
    let scene = Scene::new();
    let held_out = [
        scene.file("one.txt", sentences().replace("moon", "tree")),
        scene.file("two.txt", sentences().replace("garden", "river")),
    ];
    let (text, model) = (scene.arg("text.txt"), scene.arg("model"));
    let measured = |held_out: &str| {
        pretrain(&scene, &["--train", &text, "--tokenizer", &model, "--held-out", held_out], "")
    };
    let identity = |run: Run| {
        let journal = fs::read_to_string(scene.path("run/eval_results.json")).unwrap();
        (journal, run.done())
    };
    let first = identity(measured(&held_out[0]));
    let other = measured(&held_out[1]);
    assert!(other.err.contains("preparing held-out text anew"), "{}", other.err);
    assert_ne!(identity(other), first);
    assert_eq!(identity(measured(&held_out[0])), first);
    fs::write(scene.path("text.txt"), sentences().replace("moon", "zoo")).unwrap();
    let refused = measured(&held_out[0]);
    assert!(!refused.err.contains("delete this one"), "{}", refused.err);
    refused.complains(
        ExitCode::Usage,
        &[
            "was begun with other training data",
            "its data were prepared with another ",
            "start another run with --out",
        ],
    );
}
