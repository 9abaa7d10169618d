use super::*;
use crate::data::text::{Event, look_at};
use std::io::Write;

/// A folder of files with these names and contents.
fn folder<const N: usize>(files: [(&str, &[u8]); N]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let write = |(name, content): (&str, &[u8])| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let paths = files.map(write).to_vec();
    (folder, paths)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn sentences(files: &[PathBuf], reading: Reading) -> Result<Vec<String>, DataError> {
    let mut all = Vec::new();
    for part in Parts::new(files, reading) {
        part?.read(reading.skip_bad_lines, &mut |event| {
            if let Event::Sentence(sentence) = event {
                all.push(sentence.to_owned());
            }
            Ok(())
        })?;
    }
    Ok(all)
}

#[test]
fn many_small_files_make_one_part() {
    let names: Vec<String> = (0..300).map(|n| format!("f{n:03}")).collect();
    let folder = tempfile::tempdir().unwrap();
    names
        .iter()
        .for_each(|name| std::fs::write(folder.path().join(name), format!("{name} here.\n")).unwrap());
    let files = crate::data::files_of(&[folder.path().into()]).unwrap();
    let parts: Vec<Part> = Parts::of_size(&files, Reading::default(), 1000).map(Result::unwrap).collect();
    // 11 bytes a file.
    assert_eq!(parts.len(), 4);
    assert_eq!(parts.iter().map(|part| part.taken).sum::<u64>(), 3300);
    let mut documents = 0;
    for part in &parts {
        part.read(false, &mut |event| {
            documents += u32::from(event == Event::DocumentEnd);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(documents, 300, "the end of a file ends a document");
}

#[test]
fn parts_are_cut_between_documents() {
    let content: String = (0..100).map(|n| format!("{n} a.\n{n} b.\n\n")).collect();
    let (_folder, files) = folder([("text", content.as_bytes())]);
    let parts: Vec<Part> = Parts::of_size(&files, Format::Sentences.into(), 50).map(Result::unwrap).collect();
    assert!(
        parts.len() > 20 && parts.iter().all(|part| part.bytes.len() < 100 && part.bytes.ends_with(b"\n\n"))
    );
    assert_eq!(parts.iter().map(|part| part.bytes.len()).sum::<usize>(), content.len());
    let lines: Vec<u64> = parts.iter().map(|part| part.pieces[0].first_line).collect();
    assert!(lines[0] == 1 && lines.windows(2).all(|pair| pair[0] < pair[1] && pair[1] % 3 == 1), "{lines:?}");
}

/// Packed text is the same text, in several members too; a damaged file is no short one.
#[test]
fn gzip_is_undone() {
    let content: String = (0..20_000).map(|n| format!("Sentence {n}.\n")).collect();
    let (first, second) = content.split_at(1000);
    let members = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
    let record = gzip(b"{\"text\": \"One. Two.\"}\n");
    let (_folder, files) = folder([
        ("plain.txt", content.as_bytes()),
        ("packed", &members),
        ("records", &record),
        ("cut", &members[..5000]),
    ]);
    let hashes = |file: &[PathBuf]| {
        Parts::of_size(file, Reading::default(), 5000)
            .map(|part| part.map(|part| part.hash()))
            .collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(hashes(&files[..1]).unwrap(), hashes(&files[1..2]).unwrap());
    assert_eq!(sentences(&files[2..3], Reading::default()).unwrap(), ["One.", "Two."]);
    let error = hashes(&files[3..]).unwrap_err().to_string();
    assert!(error.contains("cut is damaged gzip: it ends early"), "{error}");
}

#[test]
fn layouts_are_recognised() {
    let line = b"{\"text\": \"One. Two.\", \"n\": NaN}\n";
    let (_folder, files) = folder([
        ("a.txt", line),
        ("b.txt", b"{Note} One. Two.\nThree.\n"),
        ("c.jsonl", b"\xEF\xBB\xBF{\"text\": \"One. Two.\"}"),
        ("d.txt", b"[Music] One.\n"),
        ("e.txt", b"{\"a\": 1}\nOne.\n"),
        ("f.txt", b"{\"a\": 1}\n{\"b\": \"One.\"}\n"),
    ]);
    let of = |file: usize, format| {
        sentences(&files[file..=file], Reading { format, skip_bad_lines: false })
            .map_err(|error| error.to_string())
    };
    for file in [0, 2] {
        assert_eq!(of(file, None).unwrap(), ["One.", "Two."]);
        assert_eq!(of(file, Some(Format::Jsonl)).unwrap(), ["One.", "Two."]);
        for (format, name) in [(Format::Sentences, "sentences"), (Format::Prose, "prose")] {
            let error = of(file, Some(format)).unwrap_err();
            assert!(error.contains("holds JSON lines") && error.contains(name), "{error}");
        }
    }
    assert_eq!(of(1, None).unwrap(), ["{Note} One. Two.", "Three."]);
    assert_eq!(of(3, None).unwrap(), ["[Music] One."]);
    for (file, second) in [(4, "One."), (5, "{\"b\": \"One.\"}")] {
        assert!(of(file, None).unwrap_err().contains("--format sentences reads plain text that begins so"));
        assert_eq!(of(file, Some(Format::Sentences)).unwrap(), ["{\"a\": 1}", second]);
    }
}

/// What is no UTF-8 text is told by its name, with the way out, before anything is read.
#[test]
fn other_files_are_told_by_name() {
    let utf16 =
        |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let little = utf16("The cat sat.\nIt slept.\n", u16::to_le_bytes);
    let big = utf16("The cat sat.\nIt slept.\n", u16::to_be_bytes);
    let marked = [b"\xFF\xFE".as_slice(), &little].concat();
    let chinese = utf16(&"今天天气很好。我们去公园吧。\n".repeat(100), u16::to_le_bytes);
    let utf32: Vec<u8> = "The cat".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    let packed = gzip(&marked);
    let mut tar = vec![b'x'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    for (content, parts) in [
        (&marked[..], ["UTF-16", "iconv -f UTF-16 -t UTF-8"]),
        (&packed, ["UTF-16", "iconv -f UTF-16 -t UTF-8"]),
        (&little, ["UTF-16", "iconv -f UTF-16LE -t UTF-8"]),
        (&big, ["UTF-16", "iconv -f UTF-16BE -t UTF-8"]),
        (&chinese, ["UTF-16", "iconv -f UTF-16LE -t UTF-8"]),
        (&utf32, ["UTF-32", "iconv -f UTF-32LE -t UTF-8"]),
        (b"\x28\xB5\x2F\xFD....", ["zstd", "unpack"]),
        (b"PK\x03\x04....", ["zip", "unpack"]),
        (b"%PDF-1.7", ["PDF", "pdftotext"]),
        (&tar, ["tar archive", "unpack"]),
        (b"PAR1....", ["parquet", "JSON lines"]),
        (b"a\0b\0\0c\0\0\0d", ["NUL", "no text"]),
        (b"[{\"text\": \"a\"},\n {\"text\": \"b\"}]", ["one JSON array", "jq -c '.[]'"]),
        (b"[\"One.\",\n \"Two.\"]", ["one JSON array of strings", "jq -c '.[] | {text: .}'"]),
        (b" [ \"One.\" ]\n", ["one JSON array of strings", "jq -c '.[] | {text: .}'"]),
        (b"{\n  \"text\": \"a\"\n}", ["over several lines", "jq -c ."]),
        (
            &"caf\u{e9} cr\u{e8}me, \u{e0} la carte\n".repeat(9).chars().map(|c| c as u8).collect::<Vec<_>>(),
            ["not valid UTF-8", "iconv -f windows-1252"],
        ),
        (
            b"\xcf\xf0\xe8\xe2\xe5\xf2, \xea\xe0\xea \xe4\xe5\xeb\xe0? \xd5\xee\xf0\xee\xf8\xee.",
            ["not valid UTF-8", "iconv -f windows-1251"],
        ),
        (
            b"\x82\xb1\x82\xf1\x82\xc9\x82\xbf\x82\xcd\x81A\x90\xa2\x8aE\x81B",
            ["not valid UTF-8", "iconv -f Shift_JIS"],
        ),
        (
            "é".repeat(50).as_bytes().split_last().unwrap().1,
            ["not valid UTF-8", "iconv -f UTF-8 -t UTF-8 -c"],
        ),
    ] {
        let (_folder, files) = folder([("file", content)]);
        let error = sentences(&files, Reading::default()).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

#[test]
fn files_without_text_are_counted() {
    let (_folder, files) = folder([("empty", b""), ("full", b"One.\n"), ("blank", b"\n\n")]);
    let mut parts = Parts::new(&files, Reading::default());
    assert_eq!(parts.by_ref().map(Result::unwrap).count(), 1);
    assert_eq!(parts.empty_files(), [&files[0], &files[2]]);
    assert!(look_at(&files, Reading::default()).is_ok());
    let error = look_at(&files[..1], Reading::default()).unwrap_err().to_string();
    assert!(error.contains("empty: there is no text"), "{error}");
}

/// Files of old Macintoshes have no line feeds.
#[test]
fn carriage_returns_alone_end_lines() {
    let (_folder, files) = folder([("mac", b"One.\rTwo.\r\rThree.\r")]);
    assert_eq!(sentences(&files, Format::Sentences.into()).unwrap(), ["One.", "Two.", "Three."]);
}
