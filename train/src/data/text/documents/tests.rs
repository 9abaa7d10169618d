use std::path::PathBuf;

use super::*;
use crate::data::text::{PART_SIZE, Parts, Reading};
use proptest::prelude::*;

/// The documents of a file with this content, and what was odd about them.
fn read_with(
    content: &[u8],
    reading: Reading,
    size: usize,
) -> Result<(Vec<Vec<String>>, Oddities), DataError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let files: [PathBuf; 1] = [file.path().into()];
    let (mut documents, mut document, mut oddities) = (Vec::new(), Vec::new(), Oddities::default());
    for part in Parts::of_size(&files, reading, size) {
        oddities += part?.read(reading.skip_bad_lines, &mut |event| {
            match event {
                Event::Sentence(sentence) => document.push(sentence.to_string()),
                Event::DocumentEnd => documents.push(std::mem::take(&mut document)),
            }
            Ok(())
        })?;
        assert!(document.is_empty(), "the end of a part ends a document");
    }
    Ok((documents, oddities))
}

fn read(content: impl AsRef<[u8]>, format: Format) -> Result<Vec<Vec<String>>, DataError> {
    read_with(content.as_ref(), format.into(), PART_SIZE).map(|(documents, _)| documents)
}

#[test]
fn sentences_are_lines() {
    let text = "\u{feff}One.\r\n Two. \r\n\r\n\n \t\nThree.\n\nFour.";
    assert_eq!(read(text, Format::Sentences).unwrap(), [vec!["One.", "Two."], vec!["Three."], vec!["Four."]]);
    assert!(read("\n \n\n", Format::Sentences).unwrap().is_empty());
}

#[test]
fn prose_is_split_into_sentences() {
    let text = "It was\nlate. He\n\nslept. Then\n\n\nDay came.\n\n\n\n";
    let expected = [vec!["It was late.", "He", "slept.", "Then"], vec!["Day came."]];
    assert_eq!(read(text, Format::Prose).unwrap(), expected);
}

#[test]
fn a_record_is_a_document() {
    let text = concat!(
        r#"{"id": [1], "text": "It was\nlate. He\n\n\nslept."}"#,
        "\n\n",
        r#"{"text": ""}"#,
        "\n",
        r#"{"text": "Tä\u0067 😀!"}"#,
    );
    assert_eq!(read(text, Format::Jsonl).unwrap(), [vec!["It was late.", "He", "slept."], vec!["Täg 😀!"]]);
}

#[test]
fn long_documents_become_several() {
    let lengths = |lines: usize| -> Vec<usize> {
        read("a\n".repeat(lines), Format::Sentences).unwrap().iter().map(Vec::len).collect()
    };
    assert_eq!(lengths(4096), [4096]);
    assert_eq!(lengths(10_000), [4096, 4096, 1808]);
}

/// Lines of scripts without spaces are joined without them.
#[test]
fn hard_wrapped_paragraphs_are_whole_again() {
    for (text, sentences) in [
        ("今天天\n气很好。我们去公\n园吧。\n", vec!["今天天气很好。", "我们去公园吧。"]),
        ("他说：\n“好。”\n使用\nRust 语言。", vec!["他说：“好。”", "使用 Rust 语言。"]),
        ("ที่บ้าน\nของเรา", vec!["ที่บ้านของเรา"]),
        ("나는\n간다.", vec!["나는 간다."]),
    ] {
        assert_eq!(read(text, Format::Prose).unwrap().concat(), sentences);
        let record = format!("{}\n", serde_json::json!({ "text": text }));
        assert_eq!(read(record, Format::Jsonl).unwrap().concat(), sentences);
    }
}

/// A text without blank lines, or without line breaks at all, is not held in memory as one paragraph, and its sentences
/// stay whole.
#[test]
fn endless_paragraphs_and_lines_become_several() {
    let sentence = "The cat sat on the mat and slept. ";
    let count = 5 * LONGEST_PARAGRAPH / sentence.len();
    for separator in ["\n", ""] {
        let text = format!("{sentence}{separator}").repeat(count);
        let (documents, oddities) =
            read_with(text.as_bytes(), Format::Prose.into(), LONGEST_PARAGRAPH).unwrap();
        let sentences = documents.concat();
        assert_eq!(sentences.len(), count);
        assert!(sentences.iter().all(|read| read == sentence.trim()));
        assert!(oddities.divided > 0);
    }
    let (documents, oddities) =
        read_with(sentence.repeat(count).as_bytes(), Format::Sentences.into(), LONGEST_PARAGRAPH).unwrap();
    let sentences = documents.concat();
    assert!(oddities.divided > 0 && sentences.iter().all(|read| read.len() <= LONGEST_PARAGRAPH));
    assert!(sentences.iter().all(|read| read.ends_with("slept.")), "divided between sentences");
    // Without any place to divide it, between characters.
    let (documents, _) =
        read_with("é".repeat(LONGEST_PARAGRAPH).as_bytes(), Format::Prose.into(), 1000).unwrap();
    assert_eq!(documents.concat().concat().chars().count(), LONGEST_PARAGRAPH);
}

#[test]
fn errors_name_the_line() {
    let error = |content: &[u8], format| read(content, format).unwrap_err().to_string();
    let message = error(b"fine\n\nab\xFFcd\n", Format::Sentences);
    assert!(message.contains(":3: byte 3 of the line is not valid UTF-8"), "{message}");
    let message = error(b"{\"text\": \"a\"}\n{\"txt\": \"b\"}\n", Format::Jsonl);
    assert!(
        message.contains(":2: not a record with a \"text\": it has no \"text\", only \"txt\""),
        "{message}"
    );
    let message = error(b"one\ntwo \0\n", Format::Prose);
    assert!(message.contains(":2: the line holds a NUL byte"), "{message}");
    let record = |length: usize| format!("{{\"text\": \"a\"}}\n{{\"text\": \"{}\"}}\n", "x".repeat(length));
    assert_eq!(
        read(record(LONGEST_LINE - 20), Format::Jsonl).unwrap().len(),
        2,
        "the longest record is read"
    );
    let message = error(record(LONGEST_LINE + PART_SIZE).as_bytes(), Format::Jsonl);
    assert!(message.contains(":2: the record is longer than 16 MiB"), "{message}");
}

/// On request what cannot be read is left out and counted, and only that.
#[test]
fn bad_lines_are_skipped_on_request() {
    let skip = |content: &[u8], format| {
        let reading = Reading { format: Some(format), skip_bad_lines: true };
        let (documents, oddities) = read_with(content, reading, PART_SIZE).unwrap();
        (documents.concat().join(" "), oddities.skipped_lines)
    };
    assert_eq!(skip(b"one\nt\xFFo\nth\0ree\nfour", Format::Sentences), ("one four".into(), 2));
    assert_eq!(
        skip(
            b"{\"text\": \"a\"}\n[1]\n{\"text\": 1}\nnonsense\n\n{\"text\": \"b\", \"x\": NaN}\n",
            Format::Jsonl
        ),
        ("a b".into(), 3)
    );
    let long = format!(
        "{{\"text\": \"a\"}}\n{{\"text\": \"{}\"}}\n{{\"text\": \"b\"}}",
        "x".repeat(3 * LONGEST_LINE)
    );
    assert_eq!(skip(long.as_bytes(), Format::Jsonl), ("a b".into(), 1));
    let last = &long[..long.len() - 20];
    assert_eq!(skip(last.as_bytes(), Format::Jsonl), ("a".into(), 1));
}

proptest! {
    /// Read in parts of any size: the sentences in order.
    #[test]
    fn parts_make_up_the_whole(
        content in "([a-c ]{0,6}\n){0,40}[a-c]{0,3}",
        size in 1usize..40,
        format in prop::sample::select(vec![Format::Sentences, Format::Prose]),
    ) {
        let (undivided, _) = read_with(content.as_bytes(), format.into(), PART_SIZE).unwrap();
        let (divided, _) = read_with(content.as_bytes(), format.into(), size).unwrap();
        let text = |documents: Vec<Vec<String>>| documents.concat().concat().replace(' ', "");
        prop_assert_eq!(text(divided.clone()), text(undivided.clone()));
        if size > content.len() {
            prop_assert_eq!(divided, undivided);
        }
    }

    /// Whatever the bytes: sentences that are not empty, or an error.
    #[test]
    fn nonsense_is_read_or_refused(
        content in "(\\PC|\n|\r| |\\{\"text\": \"a. B.\"\\}\n){0,60}",
        noise: Vec<u8>,
        size in 1usize..80,
        format in prop::sample::select(vec![None, Some(Format::Sentences), Some(Format::Prose), Some(Format::Jsonl)]),
        skip_bad_lines: bool,
    ) {
        let reading = Reading { format, skip_bad_lines };
        for bytes in [content.as_bytes(), &noise, &[content.as_bytes(), &noise].concat()] {
            for document in read_with(bytes, reading, size).map(|(documents, _)| documents).unwrap_or_default() {
                prop_assert!(!document.is_empty());
                prop_assert!(document.iter().all(|sentence| !sentence.trim().is_empty()));
            }
        }
    }
}
