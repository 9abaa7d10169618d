//! Tokenizers against recorded values, against the `tokenizers` library's own pipeline, and against damage.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/data_folder.rs"]
mod data_folder;
#[path = "support/python.rs"]
mod python;

use data_folder::data;
use std::path::{Path, PathBuf};
use train::tokenizer::{LoadOptions, Style, Tokenizer, TokenizerError, TrainOptions};

/// A line of the recording: the reference's preprocessing and ids under the released vocabulary.
#[derive(serde::Deserialize)]
struct Recorded {
    text: String,
    ids: Vec<u32>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer").join(name)
}

fn recorded(name: &str) -> Vec<Recorded> {
    let lines = std::fs::read_to_string(golden(name)).unwrap();
    let lines: Vec<_> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 100, "{name} has {} lines", lines.len());
    lines
}

fn recording() -> Vec<Recorded> {
    recorded("reference.jsonl")
}

fn load(path: &Path) -> Tokenizer {
    Tokenizer::load(path, &LoadOptions::default()).unwrap()
}

fn released() -> Option<Tokenizer> {
    Some(load(&data("vocab/30k-clean.model")?))
}

/// The reference's ids: under a small vocabulary of the project's own (`tests/python/record_tokenizer.py` made both), and
/// under the released one.
#[test]
fn recorded_ids() {
    let small = (Some(load(&golden("small.model"))), "small.jsonl");
    for (tokenizer, name) in [small, (released(), "reference.jsonl")] {
        let Some(tokenizer) = tokenizer else { continue };
        let mut encoder = tokenizer.encoder();
        let mut wrong = 0;
        for Recorded { text, ids } in recorded(name) {
            let mut found = Vec::new();
            encoder.encode(&text, &mut found);
            if found != ids {
                wrong += 1;
                let pieces = |ids: &[u32]| {
                    ids.iter().map(|&id| tokenizer.piece(id).unwrap_or("?")).collect::<Vec<_>>().join(" ")
                };
                eprintln!("{text:?}\n  recorded {}\n  found    {}", pieces(&ids), pieces(&found));
            }
            assert_eq!(tokenizer.encode(&text), found, "with and without memory: {text:?}");
        }
        assert_eq!(wrong, 0, "lines of {name} differ");
    }
}

/// Names of special pieces that stand in a text are text: to us, and to the `tokenizers` library by our `tokenizer.json`.
#[test]
fn special_names_are_text() {
    let names = ["<unk>", "<pad>", "[MASK]", "[CLS]", "[SEP]", "[UNK]", "[PAD]", "<s>"];
    let mut lines: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for (i, first) in names.iter().enumerate() {
        for second in names {
            lines.push(format!("the {first} of{second}, {second}{first}x {}", names[i].to_lowercase()));
            lines.push(format!("{first} {second}漢{first}"));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let train = |text: &[&str], keep_case: bool| {
        let options =
            TrainOptions { vocabulary_size: 120, lower_case: !keep_case, ..TrainOptions::default() };
        Tokenizer::train(text.iter().flat_map(|line| std::iter::repeat_n(*line, 20)), &options).unwrap()
    };
    let plain = ["the cat sat on the mat of the dog", "unpack the pad"];
    let full = [plain.as_slice(), &["<unk> <pad> [MASK] [CLS] [SEP] <unk>", "MACKELS [] <>"]].concat();
    let tokenizers = [
        ("no brackets", train(&plain, false)),
        ("no brackets, cased", train(&plain, true)),
        ("all characters", train(&full, false)),
        ("all characters, cased", train(&full, true)),
        ("small", load(&golden("small.model"))),
        ("wordpiece", wordpiece(directory.path())),
    ];
    for (name, tokenizer) in tokenizers {
        let path = directory.path().join(name);
        tokenizer.save(&path).unwrap();
        let library = tokenizers::Tokenizer::from_file(path.join("tokenizer.json")).unwrap();
        let special = tokenizer.special();
        for line in &lines {
            let ids = tokenizer.encode(line);
            assert!(
                ids.iter().all(|&id| id == special.unknown || !special.ids().contains(&id)),
                "{name}: {line}: {ids:?}"
            );
            assert_eq!(library.encode_fast(line.as_str(), false).unwrap().get_ids(), ids, "{name}: {line}");
        }
    }
}

/// Published ids under the released vocabulary (transformers' own tests).
#[test]
fn published_ids() {
    let Some(tokenizer) = released() else { return };
    assert_eq!(tokenizer.vocabulary_size(), 30_000);
    assert_eq!(tokenizer.special().ids(), [0, 1, 2, 3, 4]);
    for (text, ids) in [
        (
            "The quick brown fox jumps over the lazy dog.",
            &[14, 2231, 886, 2385, 17659, 84, 14, 16792, 1952, 9][..],
        ),
        ("This is a test", &[48, 25, 21, 1289]),
        (
            "BERT is designed to pre-train deep bidirectional representations from unlabeled text by jointly \
             conditioning on both left and right context in all layers.",
            &[
                11502, 25, 1006, 20, 782, 8, 11809, 855, 1732, 19393, 18667, 37, 367, 21018, 69, 1854, 34,
                11860, 19124, 27, 156, 225, 17, 193, 4141, 19, 65, 9124, 9,
            ],
        ),
    ] {
        assert_eq!(tokenizer.encode(text), ids, "{text}");
        assert_eq!(tokenizer.decode(ids), text.to_lowercase());
    }
    let masked = [2, 1289, 4, 9, 3];
    assert_eq!(tokenizer.decode(&masked), "[CLS] test [MASK] . [SEP]");

    let options = LoadOptions { keep_accents: Some(true), ..LoadOptions::default() };
    let accents = Tokenizer::load(&data("vocab/30k-clean.model").unwrap(), &options).unwrap();
    assert_ne!(accents.fingerprint(), tokenizer.fingerprint());
    let ids = accents.encode("I was born in 92000, and this is falsé.");
    assert_eq!(ids, [31, 23, 386, 19, 561, 3050, 15, 17, 48, 25, 8256, 18, 1, 9]);
    assert_eq!(tokenizer.encode("(a)\"b-c.d–e£5€").len(), 15);
}

/// What `save` writes is read again by us as the same tokenizer, and the `tokenizers` library, given the
/// `tokenizer.json` alone, gives the same ids.
#[test]
fn saved_tokenizers_are_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let trained = trained();
    let chinese = wordpiece(directory.path());
    for (name, tokenizer) in
        [("trained", Some(trained)), ("released", released()), ("wordpiece", Some(chinese))]
    {
        let Some(tokenizer) = tokenizer else { continue };
        let path = directory.path().join(name);
        tokenizer.save(&path).unwrap();
        tokenizer.save(&path).unwrap(); // again: it is its own
        let again = Tokenizer::load(&path, &LoadOptions::default()).unwrap();
        assert_eq!(again.fingerprint(), tokenizer.fingerprint(), "{name}");

        let json = path.join("tokenizer.json");
        let ours = Tokenizer::load(&json, &LoadOptions::default()).unwrap();
        let pipeline = tokenizers::Tokenizer::from_file(&json).unwrap();
        for Recorded { text, .. } in recording() {
            let expected = tokenizer.encode(&text);
            assert_eq!(ours.encode(&text), expected, "{name}: our reader of tokenizer.json: {text:?}");
            let encoding = pipeline.encode_fast(text.as_str(), false).unwrap();
            assert_eq!(encoding.get_ids(), expected, "{name}: the library: {text:?}");
        }
        let pair = pipeline.encode_fast(("a", "b c"), true).unwrap();
        let special = tokenizer.special();
        let body = [tokenizer.encode("a"), tokenizer.encode("b c")];
        let expected = [
            &[special.classification],
            &body[0][..],
            &[special.separator],
            &body[1][..],
            &[special.separator],
        ];
        assert_eq!(pair.get_ids(), expected.concat());
    }
}

/// Saving never mixes the files of two tokenizers.
#[test]
fn another_tokenizers_directory_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    trained().save(directory.path()).unwrap();
    let files = || {
        let entries = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        files.sort();
        files
    };
    let before = files();
    let other =
        Tokenizer::train(["another text"], &TrainOptions { vocabulary_size: 30, ..Default::default() })
            .unwrap();
    let error = other.save(directory.path()).unwrap_err();
    assert!(matches!(error, TokenizerError::Occupied { .. }), "{error}");
    assert_eq!(files(), before);
}

/// The choices made while loading are those of the saved files.
#[test]
fn choices_are_saved() {
    let path = golden("small.model");
    let directory = tempfile::tempdir().unwrap();
    let options =
        LoadOptions { lower_case: Some(false), keep_accents: Some(true), style: Some(Style::Transformers) };
    let tokenizer = Tokenizer::load(&path, &options).unwrap();
    tokenizer.save(directory.path()).unwrap();
    let again = Tokenizer::load(directory.path(), &LoadOptions::default()).unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    let options = LoadOptions { style: Some(Style::Reference), ..options };
    let reference = Tokenizer::load(directory.path(), &options).unwrap();
    assert_ne!(reference.fingerprint(), tokenizer.fingerprint());
}

/// A save that was cut short after any of its files is finished by the next.
#[test]
fn a_save_cut_short_is_finished() {
    let path = golden("small.model");
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions { style: Some(Style::Transformers), ..LoadOptions::default() };
    let tokenizer = Tokenizer::load(&path, &options).unwrap();
    let order = ["tokenizer_config.json", "special_tokens_map.json", "spiece.model", "tokenizer.json"];
    for saved in 0..=order.len() {
        tokenizer.save(directory.path()).unwrap();
        for name in &order[saved..] {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), order.len());
}

/// A piece like `▁2014,` is less likely in `tokenizer.json` than it is; read and written again, it does not become ever
/// less likely.
#[test]
fn an_imported_json_is_saved_as_the_same_tokenizer() {
    let directory = tempfile::tempdir().unwrap();
    trained().save(directory.path()).unwrap();
    let path = directory.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let pieces = json["model"]["vocab"].as_array_mut().unwrap();
    pieces.push(serde_json::json!(["▁2014,", -112.5]));
    std::fs::write(&path, json.to_string()).unwrap();
    let imported = Tokenizer::load(&path, &LoadOptions::default()).unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    imported.save(&first).unwrap();
    let again = Tokenizer::load(&first, &LoadOptions::default()).unwrap();
    assert_eq!(again.fingerprint(), imported.fingerprint());
    again.save(&second).unwrap();
    let written = std::fs::read_to_string(first.join("tokenizer.json")).unwrap();
    assert_eq!(written, std::fs::read_to_string(second.join("tokenizer.json")).unwrap());
    assert!(written.contains("-112.5"));
}

/// Python's `tokenizers` loads a vocabulary trained here on real text and gives the same ids.
#[test]
fn python_reads_a_trained_vocabulary() {
    let Some(path) = data("text/wiki.txt") else { return };
    let Some(python) = python::python() else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let options = TrainOptions { vocabulary_size: 8000, max_sentences: 20_000, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train(text.lines(), &options).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 8000);
    let directory = tempfile::tempdir().unwrap();
    tokenizer.save(directory.path()).unwrap();
    let lines = python
        .run("tokenizer_ids.py", &[&directory.path().join("tokenizer.json"), &golden("reference.jsonl")]);
    assert_eq!(lines.lines().count(), recording().len());
    for (line, Recorded { text, .. }) in lines.lines().zip(recording()) {
        let ids: Vec<u32> = serde_json::from_str(line).unwrap();
        assert_eq!(ids, tokenizer.encode(&text), "{text:?}");
    }
}

/// On any number of threads, and good for something: fewer pieces than characters, and the text comes back.
#[test]
fn a_trained_vocabulary_is_the_same_every_time() {
    let tokenizer = trained();
    assert_eq!(tokenizer.fingerprint(), trained().fingerprint());
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(tokenizer.fingerprint(), one_thread.install(trained).fingerprint());
    let text = "the lines of the recording, with words in them";
    let ids = tokenizer.encode(text);
    assert!(ids.len() < text.len() / 2, "{} pieces", ids.len());
    assert_eq!(tokenizer.decode(&ids), text);
}

#[test]
fn what_is_no_tokenizer() {
    let directory = tempfile::tempdir().unwrap();
    let load = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let message = Tokenizer::load(&path, &LoadOptions::default()).unwrap_err().to_string();
        assert!(message.contains(name), "{message} lacks the file");
        message
    };
    assert!(load("empty", b"").contains("is empty"));
    assert!(load("prose.txt", b"Some words.\n").contains("[PAD]"));
    assert!(load("bert.json", br#"{"model": {"type": "BPE"}}"#).contains("BPE"));
    assert!(load("other.json", br#"{"a": 1}"#).contains("model.type"));
    assert!(load("half.json", br#"{"model": {"type": "Unig"#).contains("JSON"));
    assert!(load("30k-clean.vocab", "<pad>\t0\n<unk>\t0\n▁the\t-3.1\n".as_bytes()).contains(".model"));
    let missing = Tokenizer::load(&directory.path().join("no"), &LoadOptions::default()).unwrap_err();
    assert!(matches!(missing, TokenizerError::Io { .. }), "{missing}");
    let empty = tempfile::tempdir().unwrap();
    let none = Tokenizer::load(empty.path(), &LoadOptions::default()).unwrap_err();
    assert!(matches!(none, TokenizerError::Missing { .. }), "{none}");
    if let Some(path) = data("vocab/30k-clean.vocab") {
        let error = Tokenizer::load(&path, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(".model"), "{error}");
    }
}

#[test]
fn what_is_too_large() {
    let directory = tempfile::tempdir().unwrap();
    let load = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        Tokenizer::load(&path, &LoadOptions::default()).map_err(|error| error.to_string())
    };
    // Prepared data stores ids in 16 bits.
    let special = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n".to_owned();
    let list = |count| special.clone() + &(5..count).map(|i| format!("w{i}\n")).collect::<String>();
    assert_eq!(load("vocab.txt", list(65_536).as_bytes()).unwrap().vocabulary_size(), 65_536);
    assert!(load("vocab.txt", list(65_537).as_bytes()).unwrap_err().contains("at most 65536"));
    let long = |bytes| special.clone() + &"x".repeat(bytes);
    assert!(load("vocab.txt", long(1024).as_bytes()).is_ok());
    assert!(load("vocab.txt", long(1025).as_bytes()).unwrap_err().contains("piece 5"));
    let json = |normalizer: &str, piece: &str| {
        let file = serde_json::json!({
            "version": "1.0",
            "normalizer": serde_json::from_str::<serde_json::Value>(normalizer).unwrap(),
            "model": {
                "type": "Unigram",
                "unk_id": 1,
                "vocab": [["<pad>", 0], ["<unk>", 0], ["[CLS]", 0], ["[SEP]", 0], ["[MASK]", 0], [piece, -1.5]],
            },
        });
        load("tokenizer.json", file.to_string().as_bytes()).map(drop)
    };
    assert_eq!(json("null", "a"), Ok(()));
    assert!(json("null", &"a".repeat(1 << 20)).unwrap_err().contains("piece 5"));
    let replace = |content: usize| {
        format!(
            r#"{{"type": "Replace", "pattern": {{"String": "a"}}, "content": "{}"}}"#,
            "b".repeat(content)
        )
    };
    assert_eq!(json(&replace(256), "a"), Ok(()));
    assert!(json(&replace(257), "a").unwrap_err().contains("257 bytes"));
    let three = format!(
        r#"{{"type": "Sequence", "normalizers": [{}]}}"#,
        [replace(256), replace(256), replace(2)].join(",")
    );
    assert!(json(&three, "a").unwrap_err().contains("65536 times"));
    // A table of 256 empty units and a replacement of b's, in base64.
    let table = |threes: usize| {
        let table = format!("AQQA{}{}", "AAAA".repeat(342), "YmJi".repeat(threes));
        format!(r#"{{"type": "Precompiled", "precompiled_charsmap": "{table}"}}"#)
    };
    assert_eq!(json(&table(85), "a"), Ok(()));
    assert!(json(&table(100), "a").unwrap_err().contains("300 bytes"));
}

/// Damaged files end in an error or in a tokenizer that works; never in a panic.
#[test]
fn damaged_files() {
    let directory = tempfile::tempdir().unwrap();
    let tokenizer = trained();
    tokenizer.save(directory.path()).unwrap();
    let mut files = vec![std::fs::read(directory.path().join("tokenizer.json")).unwrap()];
    files.extend(data("vocab/30k-clean.model").map(|path| std::fs::read(path).unwrap()));
    let path = directory.path().join("damaged");
    for whole in files {
        let mut survived = 0;
        for i in 0..40 {
            // Places spread over the file, denser at its start.
            let place = whole.len() * i * i / 1600;
            std::fs::write(&path, &whole[..place]).unwrap();
            assert!(
                Tokenizer::load(&path, &LoadOptions::default()).is_err() || whole[0] == b'\n',
                "cut at {place}"
            );
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (i % 8);
            std::fs::write(&path, &flipped).unwrap();
            if let Ok(tokenizer) = Tokenizer::load(&path, &LoadOptions::default()) {
                let ids = tokenizer.encode("Some [text], with 2014, é, 漢字 and\u{1} half-width ｶﾞ.");
                assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary_size()));
                survived += 1;
            }
        }
        assert!(survived < 40, "no damage was noticed");
    }
}

/// A vocabulary from the recorded texts.
fn trained() -> Tokenizer {
    let options = TrainOptions { vocabulary_size: 500, ..TrainOptions::default() };
    Tokenizer::train(recording().iter().map(|line| &line.text), &options).unwrap()
}

/// A WordPiece vocabulary of all characters of the recording, and a few longer pieces.
fn wordpiece(directory: &Path) -> Tokenizer {
    let text: String = recording().into_iter().map(|line| line.text.to_lowercase()).collect();
    let characters: std::collections::BTreeSet<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut lines: Vec<_> =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##ing"].map(str::to_owned).to_vec();
    lines.extend(characters.iter().flat_map(|c| [c.to_string(), format!("##{c}")]));
    let path = directory.join("vocab.txt");
    std::fs::write(&path, lines.join("\n")).unwrap();
    Tokenizer::load(&path, &LoadOptions::default()).unwrap()
}

/// Pieces that stand in a file beside the vocabulary only, with ids or without.
#[test]
fn pieces_that_only_other_files_know_are_named() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer/small.model");
    for (name, content) in [
        ("added_tokens.json", r#"{"covid19": 700}"#),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"700": {"content": "covid19"}}}"#),
        (
            "tokenizer_config.json",
            r#"{"additional_special_tokens": [{"content": "covid19", "lstrip": false}]}"#,
        ),
        ("special_tokens_map.json", r#"{"additional_special_tokens": ["[MASK]", "covid19"]}"#),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(&model, folder.path().join("spiece.model")).unwrap();
        Tokenizer::load(folder.path(), &LoadOptions::default()).unwrap();
        std::fs::write(folder.path().join(name), content).unwrap();
        let error = Tokenizer::load(folder.path(), &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("\"covid19\""), "{error}");
    }
}
