//! Files as other programs write them, and files that were made to take memory.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedFileWriter, SerializedPageWriter, TrackedWrite};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, SchemaDescriptor};
use proptest::prelude::*;

use super::*;

fn file(folder: &tempfile::TempDir, content: &[u8]) -> PathBuf {
    let path = folder.path().join("x.parquet");
    std::fs::write(&path, content).unwrap();
    path
}

/// The cells of all rows, a list's joined by `|`.
fn cells(path: &Path) -> Result<Vec<Vec<String>>, InputError> {
    let mut rows = Vec::new();
    read(path, &mut |row| {
        let cell = |name: &String| match row.cell(name) {
            Some(Cell::Text(text)) => text.clone().into_owned(),
            Some(Cell::List(list)) => format!("[{}]", list.join("|")),
            Some(Cell::Missing) => "nothing".to_owned(),
            Some(Cell::Other(what)) => (*what).to_owned(),
            None => "no column".to_owned(),
        };
        rows.push(row.columns().iter().map(cell).collect());
        Ok(())
    })?;
    Ok(rows)
}

const SCHEMA: &str = "message schema {
    OPTIONAL BYTE_ARRAY text (UTF8);
    REQUIRED INT64 label;
    OPTIONAL group tags (LIST) { REPEATED group list { OPTIONAL BYTE_ARRAY element (UTF8); } }
    OPTIONAL group answers { REPEATED INT64 starts; }
}";

/// Rows of [`SCHEMA`] in two groups, and the cells that they are read as.
fn written(properties: WriterProperties) -> (Vec<u8>, Vec<Vec<String>>) {
    const ROWS: usize = 700;
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let mut expected = Vec::new();
    for group in 0..2 {
        let (mut texts, mut texts_are) = (Vec::new(), Vec::new());
        let (mut tags, mut tags_are, mut tags_repeat) = (Vec::new(), Vec::new(), Vec::new());
        let (mut starts, mut starts_are, mut starts_repeat) = (Vec::new(), Vec::new(), Vec::new());
        let labels: Vec<i64> = (0..ROWS as i64).collect();
        for row in 0..ROWS {
            let text = (row % 11 != 3).then(|| format!("group {group}, row {}, nächste", row / 5));
            texts_are.push(i16::from(text.is_some()));
            texts.extend(text.iter().map(|text| ByteArray::from(text.as_str())));
            // No list, an empty one, lists, and one with a hole, which is none of texts.
            let list = match row % 9 {
                0 => "nothing".to_owned(),
                1 => "[]".to_owned(),
                2 => HOLE.to_owned(),
                count => format!("[{}]", vec![format!("O-{}", row % 4); count].join("|")),
            };
            let count = (row % 9).max(1);
            tags_repeat.extend((0..count).map(|index| i16::from(index > 0)));
            match row % 9 {
                kind @ (0 | 1) => tags_are.push(kind as i16),
                kind => {
                    let are = (0..count).map(|index| if kind == 2 && index == 1 { 2 } else { 3 });
                    let tag = ByteArray::from(format!("O-{}", row % 4).as_str());
                    tags.extend(are.clone().filter(|&level| level == 3).map(|_| tag.clone()));
                    tags_are.extend(are);
                }
            }
            let count = row % 3;
            starts.extend((0..count as i64).map(|start| start + row as i64));
            starts_are.extend(vec![if count == 0 { 1 } else { 2 }; count.max(1)]);
            starts_repeat.extend((0..count.max(1)).map(|index| i16::from(index > 0)));
            let text = text.unwrap_or("nothing".to_owned());
            expected.push(vec![text, row.to_string(), list, OBJECT.to_owned()]);
        }
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&texts_are), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&tags, Some(&tags_are), Some(&tags_repeat)).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&starts, Some(&starts_are), Some(&starts_repeat)).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
    (bytes, expected)
}

#[test]
fn a_table_is_the_same_however_its_pages_are_written() {
    let folder = tempfile::tempdir().unwrap();
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for packing in
            [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::GZIP(GzipLevel::default())]
        {
            for encoding in [
                None,
                Some(Encoding::PLAIN),
                Some(Encoding::DELTA_BYTE_ARRAY),
                Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
            ] {
                let mut properties = WriterProperties::builder()
                    .set_writer_version(version)
                    .set_compression(packing)
                    .set_write_batch_size(64)
                    .set_data_page_row_count_limit(150)
                    .set_dictionary_enabled(encoding.is_none());
                for column in [&["text"][..], &["tags", "list", "element"]] {
                    let parts: Vec<String> = column.iter().map(|&part| part.to_owned()).collect();
                    if let Some(encoding) = encoding {
                        properties = properties.set_column_encoding(ColumnPath::from(parts), encoding);
                    }
                }
                let (bytes, expected) = written(properties.build());
                let found = cells(&file(&folder, &bytes)).unwrap();
                for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(found, expected, "row {row}, {version:?}, {packing:?}, {encoding:?}");
                }
                assert_eq!(found.len(), expected.len());
            }
        }
    }
}

/// What a column is packed with that is not unpacked is said, with the column and the way out.
#[test]
fn other_packings_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let page = Page::DataPage {
        buf: Bytes::from_static(b"packed"),
        num_values: 1,
        encoding: Encoding::PLAIN,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    let bytes = forged(
        "REQUIRED BYTE_ARRAY text (UTF8);",
        Compression::ZSTD(ZstdLevel::default()),
        1,
        vec![(page, 9)],
    );
    let error = cells(&file(&folder, &bytes)).unwrap_err().to_string();
    assert!(
        error.contains("x.parquet: column \"text\" is packed with ZSTD; write it anew, packed with"),
        "{error}"
    );
}

/// A file of one column, with pages that say what they like, and the sizes that these say they unpack to.
fn forged(column: &str, packing: Compression, rows: usize, pages: Vec<(Page, usize)>) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {column} }}")).unwrap());
    let descriptor = SchemaDescriptor::new(Arc::clone(&schema)).column(0);
    let mut chunk = TrackedWrite::new(Vec::new());
    let has_dictionary = matches!(pages[0].0, Page::DictionaryPage { .. });
    let mut starts = Vec::new();
    for (page, unpacked) in pages {
        let page = CompressedPage::new(page, unpacked);
        starts.push(SerializedPageWriter::new(&mut chunk).write_page(page).unwrap().offset as i64);
    }
    let chunk = chunk.into_inner().unwrap();
    let metadata = ColumnChunkMetaData::builder(descriptor)
        .set_compression(packing)
        .set_num_values(rows as i64)
        .set_total_compressed_size(chunk.len() as i64)
        .set_total_uncompressed_size(chunk.len() as i64)
        .set_data_page_offset(starts[usize::from(has_dictionary)])
        .set_dictionary_page_offset(has_dictionary.then_some(0))
        .build()
        .unwrap();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let close = ColumnCloseResult {
        bytes_written: chunk.len() as u64,
        rows_written: rows as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    group.append_column(&Bytes::from(chunk), close).unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

fn dictionary(values: u32, content: &[u8]) -> (Page, usize) {
    let buf = Bytes::copy_from_slice(content);
    (
        Page::DictionaryPage { buf, num_values: values, encoding: Encoding::PLAIN, is_sorted: false },
        content.len(),
    )
}

fn data(values: u32, encoding: Encoding, content: &[u8], unpacked: usize) -> (Page, usize) {
    let page = Page::DataPage {
        buf: Bytes::copy_from_slice(content),
        num_values: values,
        encoding,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    (page, unpacked)
}

/// A number of seven bits a byte, the lowest first.
fn number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, content).unwrap();
    packed.finish().unwrap()
}

/// Each of these is small, and took at least a hundred megabytes; with other numbers, any number.
#[test]
fn no_page_takes_more_memory_than_files_of_its_size_do() {
    const TEXT: &str = "REQUIRED BYTE_ARRAY text (UTF8);";
    const LIST: &str = "REQUIRED group text (LIST) { REPEATED group list { REQUIRED INT64 element; } }";
    const MANY: u32 = 6 << 20;
    let plain = Compression::UNCOMPRESSED;
    let text = [&1u32.to_le_bytes()[..], b"x"].concat();
    let long = vec![b'x'; 100 << 20];
    let long = gzip(&[&(long.len() as u32).to_le_bytes()[..], &long].concat());
    let long_by_its_word = [number(100 << 20), vec![0]].concat();
    // Runs of one level each: how often, and which.
    let levels = |runs: &[(u32, u8)]| {
        let run = |&(count, level): &(u32, u8)| [number(u64::from(count) << 1), vec![level]].concat();
        let runs = runs.iter().flat_map(run).collect::<Vec<u8>>();
        [&(runs.len() as u32).to_le_bytes()[..], &runs].concat()
    };
    let places = [vec![0], number(u64::from(MANY) << 1)].concat();
    let list = [levels(&[(1, 0), (MANY - 1, 1)]), levels(&[(MANY, 1)]), places].concat();
    let lengths = [number(128), number(4), number(16 << 20), number(0)].concat();
    let of_one = |packing, page: (Page, usize)| forged(TEXT, packing, 1, vec![page]);
    let folder = tempfile::tempdir().unwrap();
    for (what, bytes) in [
        (
            "a dictionary by its word",
            forged(
                TEXT,
                plain,
                1,
                vec![dictionary(4 << 20, &text), data(1, Encoding::RLE_DICTIONARY, &[0, 2, 0], 3)],
            ),
        ),
        ("gzip", of_one(Compression::GZIP(GzipLevel::default()), data(1, Encoding::PLAIN, &long, 5))),
        ("Snappy", of_one(Compression::SNAPPY, data(1, Encoding::PLAIN, &long_by_its_word, 100 << 20))),
        (
            "a list",
            forged(
                LIST,
                plain,
                1,
                vec![
                    dictionary(1, &7i64.to_le_bytes()),
                    data(MANY, Encoding::RLE_DICTIONARY, &list, list.len()),
                ],
            ),
        ),
        (
            "lengths by their word",
            of_one(plain, data(16 << 20, Encoding::DELTA_LENGTH_BYTE_ARRAY, &lengths, lengths.len())),
        ),
        ("shared beginnings", of_shared_beginnings()),
    ] {
        assert!(bytes.len() < 200 << 10, "{what}: {} bytes", bytes.len());
        let error = cells(&file(&folder, &bytes)).unwrap_err().to_string();
        let expected = "x.parquet: it unpacks to far more than files of its size do (in column \"text";
        assert!(error.contains(expected), "{what}: {error}");
        assert!(error.contains("; fetch it again or, if that is meant, write it as"), "{what}: {error}");
    }
}

/// A hundred times the same text of a mebibyte, of which each is said to be as the one before.
fn of_shared_beginnings() -> Vec<u8> {
    let schema = Arc::new(parse_message_type("message schema { REQUIRED BYTE_ARRAY text (UTF8); }").unwrap());
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_compression(Compression::GZIP(GzipLevel::default()))
        .set_encoding(Encoding::DELTA_BYTE_ARRAY);
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties.build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts = vec![ByteArray::from(vec![b'x'; 1 << 20]); 100];
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

/// A number whose file says that it has a hundred thousand digits is none.
#[test]
fn no_number_has_any_number_of_digits() {
    let folder = tempfile::tempdir().unwrap();
    let number = [&1u32.to_le_bytes()[..], &[120]].concat();
    for (digits, expected) in
        [("5, 2", "1.20"), ("100000, 99999", "a number of more digits than numbers have")]
    {
        let page = data(1, Encoding::PLAIN, &number, number.len());
        let column = format!("REQUIRED BYTE_ARRAY price (DECIMAL({digits}));");
        let bytes = forged(&column, Compression::UNCOMPRESSED, 1, vec![page]);
        assert_eq!(cells(&file(&folder, &bytes)).unwrap(), [[expected]]);
    }
}

/// What a page says of its size does not matter where it is as it should be.
#[test]
fn sizes_are_those_of_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let text = [&1u32.to_le_bytes()[..], b"x"].concat();
    let snappy = snap::raw::Encoder::new().compress_vec(&text).unwrap();
    for (packing, content) in
        [(Compression::SNAPPY, snappy), (Compression::GZIP(GzipLevel::default()), gzip(&text))]
    {
        let page = data(1, Encoding::PLAIN, &content, i32::MAX as usize);
        let bytes = forged("REQUIRED BYTE_ARRAY text (UTF8);", packing, 1, vec![page]);
        assert_eq!(cells(&file(&folder, &bytes)).unwrap(), [["x"]]);
    }
}

/// A column of which the file says that it is longer than the file takes no memory for it.
#[test]
fn no_column_goes_beyond_the_end_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = [&1u32.to_le_bytes()[..], b"x"].concat();
    let plain = Compression::UNCOMPRESSED;
    let page = data(1, Encoding::PLAIN, &text, text.len());
    let mut bytes = forged("REQUIRED BYTE_ARRAY text (UTF8);", plain, 1, vec![page]);
    assert_eq!(cells(&file(&folder, &bytes)).unwrap(), [["x"]]);
    // The end is kept, and with it the places of the columns; their content goes.
    bytes.drain(4..20);
    let error = cells(&file(&folder, &bytes)).unwrap_err().to_string();
    assert!(error.contains("x.parquet:1: no Parquet file that can be read"), "{error}");
}

proptest! {
    /// Whatever such a page holds, it is read or refused, and has taken what it is written out to.
    #[test]
    fn no_lengths_are_trusted(encoded in proptest::collection::vec(any::<u8>(), 0..200), is_shared: bool) {
        let taken = std::cell::Cell::new(0);
        let take = |bytes| {
            taken.set(taken.get() + bytes);
            if taken.get() > 1 << 20 { Err(ended()) } else { Ok(()) }
        };
        if let Ok(plain) = delta::plain(&encoded, is_shared, true, 1000, &take) {
            prop_assert!(plain.len() as u64 <= taken.get());
        }
    }
}

/// What is told of a damaged file is its error, not the panic that it comes from. The test runs itself, to see it.
#[test]
fn an_expected_panic_is_not_printed() {
    const INSIDE: &str = "ALBERT_TRAIN_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let error = guarded::<()>(Path::new("x.parquet"), Some(3), || panic!("out of bounds")).unwrap_err();
        eprintln!("{error}");
        let _ = catch_unwind(|| panic!("another panic"));
        return;
    }
    let name = concat!(module_path!(), "::an_expected_panic_is_not_printed");
    let (_, name) = name.split_once("::").unwrap();
    let itself = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&itself.stderr).into_owned();
    assert!(said.contains("x.parquet:3: no Parquet file"), "{said}");
    assert!(!said.contains("out of bounds") && said.contains("another panic"), "{said}");
}
