//! Text in all its forms: JSON lines, gzip, folders of files, standard input; and lines that cannot be read.

use std::io::Write;

use train::exit::ExitCode;

use crate::program::{Scene, run, run_with, sentences};

#[test]
fn jsonl_and_gzip_are_known_by_their_content() {
    let scene = Scene::new();
    let lines: String = sentences()
        .split("\n\n")
        .filter(|document| !document.is_empty())
        .map(|document| format!("{}\n", serde_json::json!({ "text": document })))
        .collect();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(lines.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let (text, model) = (scene.arg("text.txt"), scene.arg("model"));
    let figures = |data: &str| run(&["evaluate", "--model", &model, "--data", data, "--json"]).done();
    for (name, content) in
        [("text.jsonl", lines.as_bytes()), ("records", lines.as_bytes()), ("packed", &packed)]
    {
        let (records, out) = (scene.file(name, content), scene.arg(&format!("shards-{name}")));
        let report = run(&["prepare", "-i", &records, "--tokenizer", &model, "-o", &out]).done();
        assert!(report.starts_with("120 documents, 360 sentences, "), "{report}");
        assert_eq!(figures(&records), figures(&text));
        let trained = [
            "tokenizer",
            "train",
            "-i",
            &records,
            "--vocab-size",
            "45",
            "-o",
            &scene.arg(&format!("v-{name}")),
        ];
        assert!(run(&trained).done().starts_with("a vocabulary of 45 pieces"));
        let shown = run(&[
            "inspect",
            "batches",
            "--train",
            &records,
            "--tokenizer",
            &model,
            "--out",
            "no-run",
            "--max-seq-length",
            "32",
        ]);
        assert!(shown.done().contains("unknown           0.00%"));
    }
    // Files of both layouts together.
    let both =
        run(&["prepare", "-i", &text, &scene.arg("packed"), "--tokenizer", &model, "-o", &scene.arg("both")]);
    assert!(both.done().starts_with("240 documents, 720 sentences, "));
}

/// JSON is not learnt as if it were text.
#[test]
fn jsonl_is_not_read_as_plain_text() {
    let scene = Scene::new();
    let (model, out) = (scene.arg("model"), scene.arg("shards"));
    let lines = scene.file("text.txt", "{\"text\": \"The cat slept.\"}\n");
    let complaint = ["text.txt holds JSON lines", "is to be read as sentences", "jsonl"];
    let prepare = ["prepare", "-i", &lines, "-o", &out, "--format", "sentences"];
    run(&[&prepare[..], &["--tokenizer", &model]].concat()).complains(ExitCode::Usage, &complaint);
    run(&[&prepare[..], &["--vocab-size", "48"]].concat()).complains(ExitCode::Usage, &complaint);
    assert!(!scene.path("shards").exists());
    let pretrain = ["pretrain", "--train", &lines, "--tokenizer", &model, "--out", &scene.arg("run")];
    run(&[&pretrain[..], &["--format", "sentences"]].concat()).complains(ExitCode::Usage, &complaint);
}

/// What cannot be read is an error in a reader's words, or on request left out and counted.
#[test]
fn bad_records_are_told_or_left_out() {
    let scene = Scene::new();
    let (model, out) = (scene.arg("model"), scene.arg("shards"));
    let good: String =
        (0..20).map(|n| format!("{{\"text\": \"The cat {n} slept.\", \"score\": NaN}}\n")).collect();
    let prepare = |content: &str, more: &[&str]| {
        let _ = std::fs::remove_dir_all(&out);
        let text = scene.file("records.jsonl", content);
        run(&[&["prepare", "-i", &text, "--tokenizer", &model, "-o", &out], more].concat())
    };
    assert!(prepare(&good, &[]).done().starts_with("20 documents, 20 sentences"));
    let lone = format!("{good}{{\"text\": \"The \\ud83d cat.\"}}\n");
    assert!(prepare(&lone, &[]).done().starts_with("21 documents, 21 sentences"));
    for (bad, complaint) in [
        ("{\"text\": null}", "its \"text\" is null, not a string"),
        ("{\"body\": \"a\"}", "it has no \"text\", only \"body\""),
        ("[\"The cat.\"]", "it is an array, not an object"),
        ("{\"text\": \"The ca", "it ends in the middle"),
        ("The cat slept.", "it is not JSON from column 1 on"),
    ] {
        let content = format!("{good}{bad}\n{good}");
        prepare(&content, &[]).complains(
            ExitCode::Data,
            &["records.jsonl:21: ", complaint, "--skip-bad-lines leaves such lines out"],
        );
        assert!(prepare(&content, &["--skip-bad-lines"]).done().starts_with("40 documents, 40 sentences"));
    }
    prepare(&format!("[{}]", good.trim().replace('\n', ",")), &[]).complains(
        ExitCode::Data,
        &["records.jsonl holds one JSON array, not one object a line", "jq -c '.[]'"],
    );
}

#[test]
fn text_comes_from_standard_input() {
    let scene = Scene::new();
    let (text, model) = (scene.arg("text.txt"), scene.arg("model"));
    let shard = |out: &str| std::fs::read(scene.path(out).join("00000.shard")).unwrap();
    run(&["prepare", "-i", &text, "--tokenizer", &model, "-o", &scene.arg("of-file")]).done();
    for (out, vocabulary) in [("piped", ["--tokenizer", &model]), ("trained", ["--vocab-size", "48"])] {
        let folder = scene.arg(out);
        let prepare = ["prepare", "-i", "-", vocabulary[0], vocabulary[1], "-o", &folder];
        assert!(run_with(&prepare, sentences()).done().starts_with("120 documents, 360 sentences"));
        let again = run_with(&prepare, sentences()).done();
        assert!(again.contains("everything was there already"), "{again}");
        run_with(&prepare, "Some other text.\nAnd more.\n").complains(ExitCode::Usage, &["another text"]);
    }
    assert!(shard("piped") == shard("of-file"));
    let evaluate = |data: &str, input: String| {
        run_with(&["evaluate", "--model", &model, "--data", data, "--json"], input).done()
    };
    assert_eq!(evaluate("-", sentences()), evaluate(&text, String::new()));
    let train = ["tokenizer", "train", "-i", "-", "--vocab-size", "45", "-o", &scene.arg("vocabulary")];
    run_with(&train, sentences()).done();
    let run_directory = scene.arg("run");
    let pretrain = |steps: &str, input: String| {
        let settings =
            ["--preset", "micro", "--max-seq-length", "32", "--batch", "2", "--eval-sequences", "4"];
        let arguments =
            ["pretrain", "--train", "-", "--vocab-size", "48", "--steps", steps, "--out", &run_directory];
        run_with(&[&arguments[..], &settings, &["--allow-schedule-change"]].concat(), input)
    };
    pretrain("2", sentences()).done();
    pretrain("3", String::new()).done(); // what was read then is kept
}

#[test]
fn a_folder_of_files_is_text() {
    let scene = Scene::new();
    std::fs::create_dir_all(scene.path("books/more")).unwrap();
    for name in ["books/b.txt", "books/more/c.txt", "books/a.txt", "books/.hidden"] {
        scene.file(name, format!("{name} is here.\nIt has a text.\n"));
    }
    scene.file("books/empty.txt", "\u{FEFF} \n\n");
    let (books, model, out) = (scene.arg("books"), scene.arg("model"), scene.arg("shards"));
    let report = run(&["prepare", "-i", &books, "--tokenizer", &model, "-o", &out]).done();
    assert!(report.starts_with("3 documents, 6 sentences") && report.contains("in 1 shards"), "{report}");
    let remark = format!("remark            1 file holds no text: {}\n", scene.arg("books/empty.txt"));
    assert!(report.contains(&remark), "{report}");
    run(&["prepare", "-i", &out, "--tokenizer", &model, "-o", &scene.arg("again")])
        .complains(ExitCode::Usage, &["shards holds prepared data, not text"]);
}
