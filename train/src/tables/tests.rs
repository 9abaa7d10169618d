//! The same table in every format, and what is said about files that are not as they should be.

use std::path::PathBuf;

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::*;

type Texts = Vec<(u64, Vec<(String, String)>)>;

fn rows(path: &Path, options: &Options<'_>) -> Result<Texts, InputError> {
    let mut found = Vec::new();
    read(path, Format::of(path)?, options, &mut |row| {
        let cell = |name: &String| match row.cell(name) {
            Some(Cell::Text(text)) => text.clone().into_owned(),
            Some(Cell::List(list)) => list.join("|"),
            _ => "missing".to_owned(),
        };
        found.push((row.line(), row.columns().iter().map(|name| (name.clone(), cell(name))).collect()));
        Ok(())
    })?;
    Ok(found)
}

fn file(folder: &tempfile::TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A Parquet file of texts; a column called `label` holds their numbers.
pub(crate) fn parquet_bytes<const N: usize>(names: &[&str; N], rows: &[[&str; N]]) -> Vec<u8> {
    let rows: Vec<_> = rows.iter().map(|row| row.map(str::as_bytes)).collect();
    parquet_of(names, &rows, "(UTF8)")
}

/// The same of any bytes, which `mark` calls text or not.
fn parquet_of<const N: usize>(names: &[&str; N], rows: &[[&[u8]; N]], mark: &str) -> Vec<u8> {
    let fields = names.iter().map(|name| match *name {
        "label" => "REQUIRED INT64 label; ".to_owned(),
        name => format!("REQUIRED BYTE_ARRAY {name} {mark}; "),
    });
    let schema = format!("message schema {{ {} }}", fields.collect::<String>());
    let schema = std::sync::Arc::new(parse_message_type(&schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, std::sync::Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (place, name) in names.iter().enumerate() {
        let mut column = group.next_column().unwrap().unwrap();
        let cells = rows.iter().map(|row| row[place]);
        if *name == "label" {
            let number = |cell: &[u8]| std::str::from_utf8(cell).unwrap().parse::<i64>().unwrap();
            let numbers: Vec<i64> = cells.map(number).collect();
            column.typed::<Int64Type>().write_batch(&numbers, None, None).unwrap();
        } else {
            let texts: Vec<ByteArray> = cells.map(|cell| ByteArray::from(cell.to_vec())).collect();
            column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_table_is_the_same_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let expected: Vec<Vec<(String, String)>> = [("a \"fine\" film", "1"), ("it 's, well, bad\u{2028}", "0")]
        .map(|(text, label)| {
            vec![("sentence".to_owned(), text.to_owned()), ("label".to_owned(), label.to_owned())]
        })
        .to_vec();
    let tsv = "\u{feff}sentence\tlabel\r\na \"fine\" film\t1\r\nit 's, well, bad\u{2028}\t0";
    let csv = "\u{feff}sentence,label\n\"a \"\"fine\"\" film\",1\n\"it 's, well, bad\u{2028}\",0\n";
    let jsonl = "\u{feff}{\"sentence\": \"a \\\"fine\\\" film\", \"label\": 1}\n\n\
                 {\"sentence\": \"it 's, well, bad\u{2028}\", \"label\": \"0\"}";
    let parquet =
        parquet_bytes(&["sentence", "label"], &[["a \"fine\" film", "1"], ["it 's, well, bad\u{2028}", "0"]]);
    for (name, content, lines) in [
        ("x.tsv", tsv.as_bytes(), [2, 3]),
        ("x.csv", csv.as_bytes(), [2, 3]),
        ("x.jsonl", jsonl.as_bytes(), [1, 3]),
        ("x.parquet", &parquet, [1, 2]),
    ] {
        let found = rows(&file(&folder, name, content), &Options::default()).unwrap();
        let (at, mut texts): (Vec<u64>, Vec<_>) = found.into_iter().unzip();
        texts.iter_mut().for_each(|row| row.sort_by(|a, b| b.0.cmp(&a.0)));
        assert_eq!(at, lines, "{name}");
        assert_eq!(texts, expected, "{name}");
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, tsv.as_bytes()).unwrap();
    let path = file(&folder, "x.tsv.gz", &packed.finish().unwrap());
    assert_eq!(rows(&path, &Options::default()).unwrap().len(), 2, "gzip");
}

/// Older programs do not mark texts as such.
#[test]
fn unmarked_texts_of_parquet_are_texts() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = parquet_of(&["text", "image"], &[["nächste".as_bytes(), &[0xFF, 0xD8]]], "");
    let path = file(&folder, "x.parquet", &bytes);
    let text = |column: &str| {
        let mut found = String::new();
        let result = read(&path, Format::Parquet, &Options::default(), &mut |row| {
            row.text(column)?.clone_into(&mut found);
            Ok(())
        });
        result.map(|_| found).map_err(|error| error.to_string())
    };
    assert_eq!(text("text"), Ok("nächste".to_owned()), "what stands in other columns does not matter");
    let error = text("image").unwrap_err();
    assert!(error.contains("x.parquet:1: column \"image\" holds bytes that are not UTF-8"), "{error}");
    assert!(error.contains("name a column of texts, written as UTF-8"), "{error}");
}

/// A small file that was packed to fill memory is left when it has given more than any table.
#[test]
fn no_packed_file_fills_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut piece = vec![b' '; 1 << 20];
    piece[0] = b'\n';
    (0..70).for_each(|_| std::io::Write::write_all(&mut packed, &piece).unwrap());
    let packed = packed.finish().unwrap();
    for name in ["x.tsv.gz", "x.csv.gz", "x.jsonl.gz"] {
        let error = rows(&file(&folder, name, &packed), &Options::default()).unwrap_err();
        assert!(matches!(error, InputError::Content { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("unpacks to far more"), "{name}: {error}");
    }
    // What is kept whole may not unpack to as much as what is read row by row.
    let many = vec![b'\n'; 100 << 20];
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut packed, &many[..1 << 20]).unwrap();
    let mut loose = packed.finish().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &many).unwrap();
    loose.extend(packed.finish().unwrap());
    let path = file(&folder, "x.json.gz", &loose);
    assert!(whole(&path).unwrap_err().to_string().contains("unpacks to far more"));
    assert_eq!(std::io::copy(&mut open(&path).unwrap(), &mut std::io::sink()).unwrap(), 101 << 20);
}

/// Nor does one that says the same again and again.
#[test]
fn no_repetition_fills_memory() {
    let folder = tempfile::tempdir().unwrap();
    let text = "x".repeat(1 << 10);
    let rows = vec![[text.as_str(), "1"]; 66 << 10];
    let path = file(&folder, "x.parquet", &parquet_bytes(&["sentence", "label"], &rows));
    assert!(path.metadata().unwrap().len() < 64 << 10, "the text stands in it once");
    let mut read_rows = 0;
    let error = read(&path, Format::Parquet, &Options::default(), &mut |_| {
        read_rows += 1;
        Ok(())
    });
    assert!(error.unwrap_err().to_string().contains("x.parquet: it unpacks to far more"));
    assert!((55 << 10..64 << 10).contains(&read_rows), "{read_rows}");
}

/// Nor does one without rows: what stands between two line feeds is kept until its end is there.
#[test]
fn no_row_fills_memory() {
    let folder = tempfile::tempdir().unwrap();
    let endless = [b"a,b\n\"\"\"\n".as_slice(), &b"x,\n".repeat(6 << 20)].concat();
    let error = rows(&file(&folder, "open.csv", &endless), &Options::default()).unwrap_err();
    assert!(matches!(error, InputError::Content { line: Some(2), .. }), "{error}");
    for (name, head) in [("x.tsv", "a\n"), ("x.jsonl", "{}\n"), ("x.csv", "\"a\nb\"\n")] {
        let content = [head.as_bytes(), &vec![b'x'; 17 << 20]].concat();
        let error = rows(&file(&folder, name, &content), &Options::default()).unwrap_err().to_string();
        let line = head.lines().count() + 1;
        assert!(error.contains(&format!("{name}:{line}: a row is longer than 16 MiB")), "{error}");
    }
}

#[test]
fn a_quotation_mark_within_a_cell_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for end in ["\n", "\r"] {
        let row = format!("{},y{end}", "x".repeat(1 << 10));
        let content = format!("a,b{end}5\",x{end}{}", row.repeat(17 << 10));
        let found = rows(&file(&folder, "inches.csv", content.as_bytes()), &Options::default()).unwrap();
        assert_eq!((found.len(), found[0].1[0].1.as_str()), ((17 << 10) + 1, "5\""), "{end:?}");
    }
}

#[test]
fn quotation_marks_and_carriage_returns_in_tsv_are_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "x.tsv", b"a\tb\n\"open\t1\nx\ry\t2\n\n\r\nlast\"\t3\r\n");
    let found = rows(&path, &Options::default()).unwrap();
    let texts: Vec<(u64, &str)> = found.iter().map(|(line, row)| (*line, row[0].1.as_str())).collect();
    assert_eq!(texts, [(2, "\"open"), (3, "x\ry"), (6, "last\"")]);
}

#[test]
fn a_file_may_have_no_line_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "x.tsv", b"one\t1\ntwo\t2\n");
    let options = Options { names: Some(&["text", "label"]), skip_short: false };
    let found = rows(&path, &options).unwrap();
    assert_eq!((found[0].0, found[0].1[1].clone()), (1, ("label".to_owned(), "1".to_owned())));
    let path = file(&folder, "y.tsv", b"one\t1\nshort\ntwo\t2\n");
    let options = Options { skip_short: true, ..options };
    let left_out = read(&path, Format::Tsv, &options, &mut |_| Ok(())).unwrap();
    assert_eq!(left_out, LeftOut { short: 1, empty: 0 });
}

/// Rows and errors stand where an editor shows them, with and without carriage returns, and however many of them are empty or one row.
#[test]
fn lines_are_counted_with_and_without_carriage_returns() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, at, wrong) in [
        ("x.csv", "a,b\n1,2\n\n\n\"x\ny\",2\n1,2,3\n", [2, 5].as_slice(), 7),
        ("x.tsv", "\na\tb\n1\t2\n\n\n3\t4\n1\t2\t3\n", &[3, 6], 7),
        ("last.csv", "a,b\n\n1", &[], 3),
    ] {
        for end in ["\n", "\r\n"] {
            let path = file(&folder, name, content.replace('\n', end).as_bytes());
            let mut found = Vec::new();
            let error = read(&path, Format::of(&path).unwrap(), &Options::default(), &mut |row| {
                found.push(row.line());
                Ok(())
            });
            assert_eq!(found, at, "{name}, {end:?}");
            assert!(error.unwrap_err().to_string().contains(&format!("{name}:{wrong}: ")), "{name}, {end:?}");
        }
    }
}

/// In a table of one column an empty line might be meant for an empty text: it is none, and that is told.
#[test]
fn empty_lines_are_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    for (name, end) in [("x.tsv", "\n"), ("x.tsv", "\r\n"), ("x.csv", "\n"), ("x.csv", "\r\n")] {
        let path = file(&folder, name, "text\na\n\n\nb\n\n".replace('\n', end).as_bytes());
        let mut lines = Vec::new();
        let left_out = read(&path, Format::of(&path).unwrap(), &Options::default(), &mut |row| {
            lines.push(row.line());
            Ok(())
        });
        assert_eq!(left_out.unwrap(), LeftOut { short: 0, empty: 2 }, "{name}, {end:?}");
        assert_eq!(lines, [2, 5], "{name}, {end:?}");
    }
    let path = file(&folder, "quoted.csv", b"text\n\"\"\nb\n");
    assert_eq!(rows(&path, &Options::default()).unwrap().len(), 2, "an empty text");
}

/// What stands where a text is wanted is one, or the file is refused: a word that is missing is not the word `null`.
#[test]
fn what_is_no_text_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let line =
        r#"{"a": {"de": "ja"}, "b": ["x", null], "c": [["x"], ["y"]], "d": [1, true, "x"], "e": ["x", {}]}"#;
    let path = file(&folder, "x.jsonl", line.as_bytes());
    read(&path, Format::Jsonl, &Options::default(), &mut |row| {
        let text = |column| row.text(column).unwrap_err().to_string();
        let list = |column| row.list(column).unwrap_err().to_string();
        assert!(text("a").contains("x.jsonl:1: column \"a\" holds an object; "), "{}", text("a"));
        assert!(list("b").contains("column \"b\" holds null within a list; "), "{}", list("b"));
        assert!(list("c").contains("column \"c\" holds a list within a list; "), "{}", list("c"));
        assert!(list("e").contains("column \"e\" holds an object; "), "{}", list("e"));
        assert_eq!(row.list("d").unwrap(), ["1", "true", "x"]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn every_error_has_its_line_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, expected) in [
        ("a.tsv", b"a\tb\n1\t2\n1\t2\t3\n".as_slice(), "a.tsv:3: 3 columns where 2 are expected (a, b)"),
        ("b.tsv", b"a\tb\nonly one\n", "b.tsv:2: 1 columns where 2 are expected"),
        ("c.csv", b"a,b\n1,2\n\"1,2\n3,4\n", "c.csv:3: 1 columns where 2"),
        ("d.tsv", b"a\tb\n1\t\xff\n", "d.tsv:2: byte 1 of the line is not valid UTF-8"),
        ("e.tsv", b"a\tb\n1\t\0\n", "e.tsv:2: byte 1 of the line is a NUL"),
        ("f.tsv", b"a\ta\n1\t2\n", "f.tsv:1: two columns are called \"a\""),
        ("g.tsv", b"", "g.tsv: the file is empty"),
        ("h.jsonl", b"{\"a\": 1}\n{\"a\": \n", "h.jsonl:2: no JSON object"),
        ("i.jsonl", b"[{\"a\": 1},\n", "i.jsonl:1: no JSON object"),
        ("j.jsonl", b"\n", "j.jsonl: the file has no row"),
        ("header.tsv", b"a\tb\n", "header.tsv: the file has no row"),
        ("header.csv", b"a,b\n", "header.csv: the file has no row"),
        ("empty.parquet", &parquet_bytes(&["a"], &[]), "empty.parquet: the file has no row"),
        ("k.parquet", b"PAR1 no", "k.parquet: no Parquet file"),
        ("l.docx", b"", "l.docx: the name does not say what kind of table it is; let it end with"),
    ] {
        let error = rows(&file(&folder, name, content), &Options::default()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("; "), "{name}: {error}");
    }
    let error = rows(&folder.path().join("none.tsv"), &Options::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A damaged file is read or refused; nothing else happens.
    #[test]
    fn damage_is_refused_or_harmless(cut in 0usize..400, bit in 0usize..3200, which in 0usize..4) {
        let folder = tempfile::tempdir().unwrap();
        let whole: (&str, Vec<u8>) = match which {
            0 => ("x.tsv", b"a\tb\none \"x\"\t2\nthree\t4\n".repeat(4)),
            1 => ("x.csv", b"a,b\n\"one\n\"\"x\",2\nthree,4\n".repeat(4)),
            2 => ("x.jsonl", b"{\"a\": \"one\", \"b\": [1, null, {\"c\": 2}]}\n".repeat(4)),
            _ => ("x.parquet", parquet_bytes(&["sentence", "label"], &[["one", "1"], ["two", "2"], ["three", "3"]])),
        };
        let (name, mut bytes) = whole;
        let _ = rows(&file(&folder, name, &bytes[..cut.min(bytes.len())]), &Options::default());
        let bit = bit % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = rows(&file(&folder, name, &bytes), &Options::default());
    }
}

#[test]
fn flipped_bits_of_a_parquet_file_are_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let whole = parquet_bytes(&["sentence", "label"], &[["one", "1"], ["two", "2"], ["three", "3"]]);
    for length in 0..whole.len() {
        assert!(
            rows(&file(&folder, "cut.parquet", &whole[..length]), &Options::default()).is_err(),
            "{length}"
        );
    }
    for bit in (0..8 * whole.len()).step_by(3) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = rows(&file(&folder, "flipped.parquet", &flipped), &Options::default());
    }
}
