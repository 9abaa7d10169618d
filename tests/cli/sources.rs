//! Text and folders as people have them: what lies in them, and what is said before the work.

use train::exit::ExitCode;

use crate::program::{Run, Scene, run, run_with, sentences};

/// A run of two steps in the scene's folder `run`.
fn pretrain(scene: &Scene, input: &str, arguments: &[&str]) -> Run {
    const SIZES: &str = "--preset micro --hidden-size 16 --embedding-size 8 --intermediate-size 24 --num-hidden-layers 1 \
                         --max-seq-length 32 --batch 4 --steps 2 --eval-sequences 8 --threads 1";
    let out = scene.arg("run");
    let sizes: Vec<&str> = SIZES.split_whitespace().collect();
    run_with(&[&["pretrain", "--out", &out], arguments, &sizes].concat(), input)
}

/// What the user says of a text counts for more than its first line.
#[test]
fn plain_text_may_begin_with_an_object() {
    let scene = Scene::new();
    let (model, out) = (scene.arg("model"), scene.arg("shards"));
    let text = scene.file("front.txt", "{\"a\": 1}\n".to_owned() + &sentences());
    let prepare = ["prepare", "-i", &text, "--tokenizer", &model, "-o", &out];
    run(&prepare).complains(ExitCode::Data, &["front.txt:1: ", "only \"a\"", "--format sentences"]);
    let prepared = run(&[&prepare[..], &["--format", "sentences"]].concat()).done();
    assert!(prepared.starts_with("120 documents, 361 sentences, "), "{prepared}");
}

/// A folder with a manifest of another program is a folder of text.
#[test]
fn manifests_of_other_programs_are_files() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("app")).unwrap();
    scene.file("app/manifest.json", "{\"text\": \"An app is described here.\"}\n");
    scene.file("app/words.txt", sentences());
    let (app, model, out) = (scene.arg("app"), scene.arg("model"), scene.arg("shards"));
    let prepared = run(&["prepare", "-i", &app, "--tokenizer", &model, "-o", &out]).done();
    assert!(prepared.starts_with("121 documents, 361 sentences, "), "{prepared}");
    run(&["prepare", "-i", &scene.arg("text.txt"), "--tokenizer", &model, "-o", &app])
        .complains(ExitCode::Usage, &["app already holds"]);
}

/// A vocabulary takes up to an hour: a folder that cannot be had is told before.
#[test]
fn the_folder_is_looked_at_before_the_work() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("foreign")).unwrap();
    scene.file("foreign/thesis.doc", "years of work");
    let prepare = |input: &str, out: &str| {
        run_with(&["prepare", "-i", input, "--vocab-size", "40", "-o", &scene.arg(out)], sentences())
    };
    let text = scene.arg("text.txt");
    for (out, complaint) in [
        ("foreign", "foreign already holds thesis.doc"),
        ("text.txt", "text.txt is a file, not a folder to write in"),
    ] {
        let error = prepare(&text, out).failed(ExitCode::Usage);
        assert!(error.contains(complaint) && !error.contains("training a vocabulary"), "{error}");
    }
    // Text that is piped in is copied where there is room for shards, and the copy goes.
    prepare("-", "piped").done();
    let mut left: Vec<_> =
        std::fs::read_dir(scene.path("piped")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["00000.shard", "manifest.json", "report.json", "tokenizer"]);
    prepare(&scene.arg("missing.txt"), "new/folder").complains(ExitCode::Io, &["missing.txt"]);
    assert!(!scene.path("new").exists());
}

#[test]
fn too_little_text_is_told_before_the_work() {
    let scene = Scene::new();
    let one = scene.file("one.txt", "Only one sentence.\n");
    let told = |run: Run, part: &str| {
        let error = run.failed(ExitCode::Data);
        assert!(error.contains(part) && !error.contains("training a vocabulary"), "{error}");
    };
    told(pretrain(&scene, "", &["--train", &one]), "it has fewer than two sentences");
    told(pretrain(&scene, "", &["--train", "-"]), "standard input: there is no text to learn from");
    let shards = scene.arg("one");
    run(&["prepare", "-i", &one, "--tokenizer", &scene.arg("model"), "-o", &shards]).done();
    told(pretrain(&scene, "", &["--train", &shards]), "it has fewer than two sentences");
}

#[test]
fn standard_input_is_read_once() {
    let scene = Scene::new();
    pretrain(&scene, &sentences(), &["--train", "-", "--held-out", "-"])
        .complains(ExitCode::Usage, &["data.held_out", "standard input (-) is named twice"]);
    run_with(&["prepare", "-i", "-", "-", "-o", &scene.arg("shards")], sentences())
        .complains(ExitCode::Usage, &["standard input can be read once only"]);
}

/// No name of a file adds lines to a message.
#[cfg(unix)]
#[test]
fn names_forge_no_messages() {
    let scene = Scene::new();
    let name = "x\nerror: all is lost\n  help: run something";
    let (text, model, out) = (scene.file(name, b"caf\xe9\n"), scene.arg("model"), scene.arg("shards"));
    let error = run(&["prepare", "-i", &text, "--tokenizer", &model, "-o", &out]).failed(ExitCode::Data);
    assert!(error.contains("x\\u{a}error: all is lost") && !error.contains("\nerror: all"), "{error}");
    std::fs::create_dir(scene.path("run")).unwrap();
    scene.file(&format!("run/{name}"), "");
    let error = pretrain(&scene, "", &["--train", &scene.arg("text.txt")]).failed(ExitCode::Usage);
    assert!(error.contains("x\\u{a}error: all is lost") && !error.contains("\nerror: all"), "{error}");
}

/// Settings that the data leave nothing to do for are told of, and the advice fits the data.
#[test]
fn what_changes_nothing_is_told() {
    let scene = Scene::new();
    let long =
        (0..4).map(|n| sentences().replace('\n', " ") + &format!("The end of {n}.\n")).collect::<String>();
    let (text, model, shards) = (scene.file("long.txt", long), scene.arg("model"), scene.arg("shards"));
    run(&["prepare", "-i", &text, "--tokenizer", &model, "-o", &shards]).done();
    let held_out = scene.arg("text.txt");
    let on = |data: &str| {
        let more = ["--format", "sentences", "--skip-bad-lines", "--held-out-every", "7", "--dry-run"];
        let data = ["--train", data, "--tokenizer", &model];
        pretrain(&scene, "", &[&data[..], &more].concat()).err
    };
    let (of_shards, of_text) = (on(&shards), on(&text));
    for (flag, reason) in [("--format", "when it was prepared"), ("--skip-bad-lines", "when it was prepared")]
    {
        let told = format!("warning: {flag} changes nothing: the text was read {reason}");
        assert!(of_shards.contains(&told) && !of_text.contains(&told), "{of_shards}{of_text}");
    }
    assert!(!of_shards.contains("--held-out-every changes nothing"), "{of_shards}");
    assert!(
        of_shards.contains("(prepared again with --format prose, `prepare` divides them)"),
        "{of_shards}"
    );
    assert!(of_text.contains("(--format prose divides them)"), "{of_text}");
    let divided = pretrain(
        &scene,
        "",
        &[
            "--train",
            &text,
            "--held-out",
            &held_out,
            "--tokenizer",
            &model,
            "--held-out-every",
            "7",
            "--dry-run",
        ],
    );
    assert!(divided.err.contains("warning: --held-out-every changes nothing"), "{}", divided.err);
}
