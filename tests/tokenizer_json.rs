//! `tokenizer.json` as other programs write it: Python's `tokenizers` gives the same ids, or it is refused by the name of
//! what cannot be followed.

#![allow(clippy::unwrap_used)] // a panic is how a test fails, in its helper functions too

#[path = "support/multilingual.rs"]
mod multilingual;
#[path = "support/python.rs"]
mod python;

use multilingual::Draws;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use train::tokenizer::{LoadOptions, Tokenizer};

/// Characters and stretches of the lines, as they are and as usual steps leave them.
fn stretches(lines: &[String]) -> Vec<String> {
    use unicode_normalization::UnicodeNormalization;
    let mut draws = Draws(7);
    let mut pieces = BTreeSet::new();
    for line in lines {
        for form in
            [line.clone(), line.nfkd().collect(), line.to_lowercase(), line.to_lowercase().nfkc().collect()]
        {
            let chars: Vec<char> = form.replace(char::is_whitespace, "▁").chars().collect();
            pieces.extend(chars.iter().filter(|c| !"Ωሀ😀".contains(**c)).map(char::to_string));
            for _ in 0..4 {
                let start = draws.below(chars.len());
                let end = chars.len().min(start + 2 + draws.below(4));
                pieces.insert(chars[start..end].iter().collect());
            }
        }
    }
    pieces.into_iter().collect()
}

fn unigram(lines: &[String]) -> Value {
    let mut draws = Draws(11);
    let special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"];
    let mut pieces: Vec<_> = special.iter().map(|name| json!([name, 0.0])).collect();
    for piece in stretches(lines).iter().filter(|piece| !special.contains(&piece.as_str())) {
        // Few different scores, so that segmentations often tie.
        pieces.push(json!([piece, -2.0 - draws.below(40) as f64 * 0.25]));
    }
    json!({"type": "Unigram", "unk_id": 1, "vocab": pieces, "byte_fallback": false})
}

fn wordpiece(lines: &[String], unknown: &str, prefix: &str, longest: usize) -> Value {
    let mut pieces =
        vec!["[PAD]".to_owned(), unknown.to_owned(), "[CLS]".into(), "[SEP]".into(), "[MASK]".into()];
    for piece in stretches(lines) {
        pieces.extend([format!("{prefix}{piece}"), piece]);
    }
    let mut seen = BTreeSet::new();
    pieces.retain(|piece| seen.insert(piece.clone()));
    let ids: serde_json::Map<_, _> = pieces.into_iter().zip((0..).map(Value::from)).collect();
    json!({
        "type": "WordPiece",
        "unk_token": unknown,
        "continuing_subword_prefix": prefix,
        "max_input_chars_per_word": longest,
        "vocab": ids,
    })
}

fn sequence(list: &str, steps: &[&Value]) -> Value {
    json!({"type": "Sequence", list: steps})
}

/// All variants, by name.
fn variants(lines: &[String]) -> Vec<(String, Value)> {
    let step = |name: &str| json!({"type": name});
    let [nfc, nfd, nfkc, nfkd] = ["NFC", "NFD", "NFKC", "NFKD"].map(step);
    let [lower, accents, nmt] = ["Lowercase", "StripAccents", "Nmt"].map(step);
    let strip = |left: bool, right: bool| json!({"type": "Strip", "strip_left": left, "strip_right": right});
    let replace = |kind: &str, pattern: &str, content: &str| json!({"type": "Replace", "pattern": {kind: pattern}, "content": content});
    let bert = |clean: bool, chinese: bool, accents: Value, lower: bool| {
        json!({
            "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese,
            "strip_accents": accents, "lowercase": lower,
        })
    };
    let normalizers = |steps: &[&Value]| sequence("normalizers", steps);
    let quotes = [replace("String", "``", "\""), replace("String", "''", "\"")];
    let chains = [
        ("none", Value::Null),
        ("lower", lower.clone()),
        ("nfc", nfc.clone()),
        ("nfd", nfd.clone()),
        ("nfkc", nfkc.clone()),
        ("nfkd", nfkd.clone()),
        ("accents", accents.clone()),
        ("nmt", nmt.clone()),
        ("accents before nfd", normalizers(&[&accents, &nfd])),
        ("nfd, accents", normalizers(&[&nfd, &accents])),
        ("lower, nfkc", normalizers(&[&lower, &nfkc])),
        ("nfkc, lower", normalizers(&[&nfkc, &lower])),
        ("accents, nfkd, lower", normalizers(&[&accents, &nfkd, &lower])),
        ("nested", normalizers(&[&normalizers(&[&nmt, &nfkc]), &strip(true, true)])),
        ("no steps", normalizers(&[])),
        ("left strip", strip(true, false)),
        ("right strip", strip(false, true)),
        ("transformers without a table", normalizers(&[&quotes[0], &quotes[1], &nfkd, &accents, &lower])),
        ("digits away", replace("Regex", r"\d+", "")),
        ("digits to 0", normalizers(&[&nfkc, &replace("Regex", r"\p{Nd}", "0")])),
        ("spaces to one", replace("Regex", r"\s+", " ")),
        ("look around", replace("Regex", "(?<=a)f(?!x)", "ph")),
        (
            "spaces to marks",
            normalizers(&[&json!({"type": "Prepend", "prepend": "▁"}), &replace("String", " ", "▁")]),
        ),
        ("bert", bert(true, true, Value::Null, true)),
        ("bert, cased", bert(true, true, Value::Null, false)),
        ("bert, no accents, cased", bert(true, true, json!(true), false)),
        ("bert, unclean", bert(false, true, json!(false), true)),
        ("bert, no ideographs", bert(true, false, Value::Null, true)),
    ];
    let metaspace = |scheme: &str, split: bool| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split});
    let punctuation = |behavior: &str| json!({"type": "Punctuation", "behavior": behavior});
    let split = |kind: &str, pattern: &str, behavior: &str, invert: bool| json!({"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert});
    let [whitespace, words, bert_words, scripts] =
        ["Whitespace", "WhitespaceSplit", "BertPreTokenizer", "UnicodeScripts"].map(step);
    let always = metaspace("always", true);
    let splits = [
        ("no pre-tokenizer", Value::Null),
        ("metaspace first", metaspace("first", true)),
        ("metaspace never", metaspace("never", true)),
        ("metaspace unsplit", metaspace("always", false)),
        ("old metaspace", json!({"type": "Metaspace", "replacement": "▁", "add_prefix_space": true})),
        ("transformers", sequence("pretokenizers", &[&words, &always])),
        ("whitespace", whitespace),
        ("whitespace split", words.clone()),
        ("bert words", bert_words.clone()),
        ("scripts", sequence("pretokenizers", &[&words, &scripts])),
        ("punctuation isolated", sequence("pretokenizers", &[&always, &punctuation("Isolated")])),
        ("punctuation removed", sequence("pretokenizers", &[&always, &punctuation("Removed")])),
        ("punctuation before", sequence("pretokenizers", &[&punctuation("MergedWithPrevious"), &always])),
        ("punctuation after", sequence("pretokenizers", &[&punctuation("MergedWithNext"), &always])),
        ("punctuation together", sequence("pretokenizers", &[&punctuation("Contiguous"), &always])),
        (
            "digits",
            sequence("pretokenizers", &[&always, &json!({"type": "Digits", "individual_digits": true})]),
        ),
        (
            "numbers",
            sequence("pretokenizers", &[&always, &json!({"type": "Digits", "individual_digits": false})]),
        ),
        ("split", split("String", "a", "Isolated", false)),
        ("split by expression", split("Regex", r"[\p{L}\p{M}]+", "Removed", true)),
        ("by dashes", json!({"type": "CharDelimiterSplit", "delimiter": "-"})),
    ];
    let model = unigram(lines);
    let size = model["vocab"].as_array().unwrap().len();
    let token = |id: usize, content: &str, flags: [bool; 5]| {
        json!({
            "id": id, "content": content, "single_word": flags[0], "lstrip": flags[1], "rstrip": flags[2],
            "normalized": flags[3], "special": flags[4],
        })
    };
    let special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"];
    let special: Vec<_> =
        (0..).zip(special).map(|(id, name)| token(id, name, [false, id == 4, false, false, true])).collect();
    let with = |more: &[Value]| Value::from([special.as_slice(), more].concat());
    let added = [
        ("nothing added", json!([])),
        ("special pieces", with(&[])),
        ("a word", with(&[token(size, "covid19", [false, false, false, true, false])])),
        ("a whole word", with(&[token(size, "covid19", [true, false, false, false, false])])),
        ("with its spaces", with(&[token(size, "Foo Bar", [false, true, true, false, false])])),
        (
            "two",
            with(&[
                token(size, "covid19s", [false, false, false, false, false]),
                token(size + 1, "Straße", [false, false, false, true, false]),
            ]),
        ),
    ];
    let file = |normalizer: &Value, pre_tokenizer: &Value, added: &Value, model: &Value| {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null, "model": model,
        })
    };
    let mut all = Vec::new();
    for (name, normalizer) in &chains {
        all.push((format!("unigram, {name}"), file(normalizer, &always, &added[1].1, &model)));
    }
    for (name, pre_tokenizer) in &splits {
        all.push((format!("unigram, {name}"), file(&lower, pre_tokenizer, &added[0].1, &model)));
    }
    for (name, added) in &added {
        all.push((format!("unigram, {name}"), file(&lower, &always, added, &model)));
    }
    let plain = bert(true, true, Value::Null, true);
    for (name, unknown, prefix, longest) in [
        ("usual", "[UNK]", "##", 100),
        ("short words", "[UNK]", "##", 4),
        ("other names", "<unk>", "@@", 200),
    ] {
        let model = wordpiece(lines, unknown, prefix, longest);
        all.push((format!("wordpiece, {name}"), file(&plain, &bert_words, &json!([]), &model)));
        all.push((format!("wordpiece, {name}, split"), file(&Value::Null, &words, &json!([]), &model)));
    }
    all
}

fn save(folder: &Path, index: usize, file: &Value) -> PathBuf {
    let path = folder.join(format!("{index}.json"));
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

#[test]
fn other_recipes_give_the_librarys_ids() {
    let lines = multilingual::lines(1000, 3);
    let directory = tempfile::tempdir().unwrap();
    let variants = variants(&lines);
    assert!(variants.len() >= 40);
    let paths: Vec<_> =
        (variants.iter().enumerate()).map(|(index, (_, file))| save(directory.path(), index, file)).collect();
    let ids = |path: &PathBuf| -> Vec<Vec<u32>> {
        let tokenizer = Tokenizer::load(path, &LoadOptions::default()).unwrap();
        let mut encoder = tokenizer.encoder();
        let ids = lines.iter().map(|line| {
            let mut ids = Vec::new();
            encoder.encode(line, &mut ids);
            ids
        });
        ids.collect()
    };
    let ours: Vec<_> = paths.iter().map(ids).collect();
    // What is saved is the same again.
    let tokenizer = Tokenizer::load(&paths[3], &LoadOptions::default()).unwrap();
    let again = directory.path().join("again");
    tokenizer.save(&again).unwrap();
    let again = Tokenizer::load(&again, &LoadOptions::default()).unwrap();
    assert_eq!(again.fingerprint(), tokenizer.fingerprint());
    assert_ne!(
        again.fingerprint(),
        Tokenizer::load(&paths[4], &LoadOptions::default()).unwrap().fingerprint()
    );

    let Some(python) = python::python() else { return };
    let texts = directory.path().join("texts");
    std::fs::write(&texts, json!(lines).to_string()).unwrap();
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&texts];
    arguments.extend(paths.iter().map(|path| path as &dyn AsRef<std::ffi::OsStr>));
    let output = python.run("tokenizer_files.py", &arguments);
    let mut wrong = Vec::new();
    assert_eq!(output.lines().count(), variants.len());
    for (((name, _), ours), theirs) in variants.iter().zip(ours).zip(output.lines()) {
        let theirs: Vec<Vec<u32>> = serde_json::from_str(theirs).unwrap();
        assert_eq!(theirs.len(), lines.len());
        let different = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs);
        if let Some(line) = different {
            let count = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count();
            wrong.push(format!(
                "{name}: {count} lines, {:?}: {:?} for {:?}",
                lines[line], ours[line], theirs[line]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What cannot be followed, or would not surely be the same in Python.
#[test]
fn steps_that_are_refused_by_name() {
    let lines = multilingual::lines(20, 5);
    let directory = tempfile::tempdir().unwrap();
    let refuse = |change: &dyn Fn(&mut Value), word: &str| {
        let mut file =
            json!({"version": "1.0", "normalizer": null, "pre_tokenizer": null, "model": unigram(&lines)});
        change(&mut file);
        let path = save(directory.path(), 0, &file);
        let error = Tokenizer::load(&path, &LoadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(word), "{error} lacks {word}");
    };
    let step = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    for (normalizer, word) in [
        (r#"{"type": "ByteLevel"}"#, "ByteLevel"),
        (r#"{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Frobnicate"}]}"#, "Frobnicate"),
        (r#"{"type": "NFC", "but": 1}"#, "\"but\""),
        (r#"{"type": "Replace", "pattern": {"Regex": "\\w+"}, "content": "x"}"#, "\\w"),
        (r#"{"type": "Replace", "pattern": {"Regex": "^a"}, "content": "x"}"#, "^a"),
        (r#"{"type": "Replace", "pattern": {"String": ""}, "content": "x"}"#, "looks for nothing"),
        (r#"{"type": "Precompiled", "precompiled_charsmap": "AAAA"}"#, "truncated"),
        (r#"{"type": "Strip", "strip_left": 3}"#, "cannot read"),
        (r#"{"pattern": {"String": "a"}, "content": "x"}"#, "without a type"),
    ] {
        refuse(&|file| file["normalizer"] = step(normalizer), word);
    }
    for (pre_tokenizer, word) in [
        (r#"{"type": "ByteLevel", "add_prefix_space": false}"#, "ByteLevel"),
        (r#"{"type": "FixedLength", "length": 5}"#, "FixedLength"),
        (
            r#"{"type": "Split", "pattern": {"Regex": "(?i)x"}, "behavior": "Isolated", "invert": false}"#,
            "(?",
        ),
    ] {
        refuse(&|file| file["pre_tokenizer"] = step(pre_tokenizer), word);
    }
    refuse(&|file| file["model"]["byte_fallback"] = true.into(), "byte_fallback");
    refuse(&|file| file["model"]["unk_id"] = Value::Null, "unk_id");
    refuse(&|file| file["model"]["dropout"] = 0.1.into(), "dropout");
    refuse(&|file| file["model"]["type"] = "BPE".into(), "BPE");
    refuse(
        &|file| file["added_tokens"] = step(r#"[{"id": 9999, "content": "new", "special": false}]"#),
        "cannot read",
    );
    let token = r#"[{"id": 3, "content": "new", "special": false, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": true}]"#;
    refuse(&|file| file["added_tokens"] = step(token), "has the id 3");
}
