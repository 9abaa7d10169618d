//! Reading documents from text files, from any place in them.
//!
//! Decisions on the reference's quirks (`model/ALBERT.md`, Departures):
//!
//! - D6: the end of a file ends a document; in the reference the last document of one file and the first of the next
//!   are one unless a blank line lies between them.
//! - A line that is not blank but becomes no token (only control characters, say) does not end a document, as it does
//!   in the reference; it is left out.
//! - A document of more than [`LONGEST_DOCUMENT`] sentences is several documents. Neighbours in a sample still follow
//!   each other in the text, and any sample can be found without walking over a whole library.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sentences::sentences;
use crate::data::error::DataError;

/// The longest line that is read, in bytes.
pub const LONGEST_LINE: usize = 16 << 20;
/// The most sentences of a document; the rest is another document.
pub const LONGEST_DOCUMENT: usize = 4096;

/// How a text file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One sentence a line, a blank line between documents (the reference).
    #[default]
    Sentences,
    /// Paragraphs with a blank line between them, two or more blank lines between documents. A paragraph of more than
    /// [`LONGEST_LINE`] bytes is several.
    Prose,
    /// One JSON object a line, its `text` a document in prose.
    Jsonl,
}

impl Format {
    /// The format that a file's name suggests: JSONL by its ending, else sentences.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl" | "ndjson" | "json") => Self::Jsonl,
            _ => Self::Sentences,
        }
    }

    /// Refuses a JSONL file that is to be read as plain text: its braces and keys would be learnt.
    ///
    /// # Errors
    /// If the file's name says that it is JSONL, and this is another format.
    pub(crate) fn expect_of(self, path: &Path) -> Result<(), DataError> {
        match (Self::of(path), self) {
            (Self::Jsonl, Self::Sentences | Self::Prose) => {
                Err(DataError::OtherFormat { path: path.to_path_buf() })
            }
            _ => Ok(()),
        }
    }
}

/// What a reader meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A sentence, without the white space around it; never empty.
    Sentence(&'a str),
    /// The end of a document that has sentences.
    DocumentEnd,
}

/// Reads the part of a file between two places at which lines begin, and shows it to `visit`. The end of the part ends
/// a document.
///
/// # Errors
/// If the file cannot be read, is JSONL by its name but not by `format`, holds something that is not text, or `visit`
/// fails.
pub fn read_documents(
    path: &Path,
    part: Range<u64>,
    format: Format,
    visit: &mut dyn FnMut(Event<'_>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    format.expect_of(path)?;
    let mut lines = Lines::open(path, part)?;
    let mut sink = Sink { visit, sentences: 0 };
    let mut paragraph = String::new();
    let mut blank_lines = 0;
    while let Some(line) = lines.next_line()? {
        match format {
            Format::Sentences if line.is_empty() => sink.end_document()?,
            Format::Sentences => sink.sentence(line)?,
            Format::Prose if line.is_empty() => {
                sink.end_paragraph(&mut paragraph)?;
                blank_lines += 1;
                if blank_lines == 2 {
                    sink.end_document()?;
                }
            }
            Format::Prose => {
                blank_lines = 0;
                push_line(&mut paragraph, line);
                if paragraph.len() > LONGEST_LINE {
                    sink.end_paragraph(&mut paragraph)?;
                }
            }
            Format::Jsonl if line.is_empty() => (),
            Format::Jsonl => {
                let record: Record = serde_json::from_str(line).map_err(|error| DataError::Json {
                    path: path.to_path_buf(),
                    line: line_number(path, lines.line_start),
                    // It says in which line of what it was given, which was one.
                    reason: error.to_string().replace(" at line 1 column ", " at column "),
                })?;
                for line in record.text.lines().map(str::trim) {
                    match line {
                        "" => sink.end_paragraph(&mut paragraph)?,
                        line => push_line(&mut paragraph, line),
                    }
                }
                sink.end_paragraph(&mut paragraph)?;
                sink.end_document()?;
            }
        }
    }
    sink.end_paragraph(&mut paragraph)?;
    sink.end_document()
}

/// A line of a JSONL file; what else it has is ignored.
#[derive(Deserialize)]
struct Record {
    text: String,
}

fn push_line(paragraph: &mut String, line: &str) {
    if !paragraph.is_empty() {
        paragraph.push(' ');
    }
    paragraph.push_str(line);
}

/// Turns sentences and ends into events, and long documents into several.
struct Sink<'v> {
    visit: &'v mut dyn FnMut(Event<'_>) -> Result<(), DataError>,
    /// Sentences of the document so far.
    sentences: usize,
}

impl Sink<'_> {
    fn sentence(&mut self, sentence: &str) -> Result<(), DataError> {
        if self.sentences == LONGEST_DOCUMENT {
            self.end_document()?;
        }
        self.sentences += 1;
        (self.visit)(Event::Sentence(sentence))
    }

    fn end_paragraph(&mut self, paragraph: &mut String) -> Result<(), DataError> {
        sentences(paragraph).try_for_each(|sentence| self.sentence(sentence))?;
        paragraph.clear();
        Ok(())
    }

    fn end_document(&mut self) -> Result<(), DataError> {
        match std::mem::take(&mut self.sentences) {
            0 => Ok(()),
            _ => (self.visit)(Event::DocumentEnd),
        }
    }
}

/// Shows `visit` every line of a file, blank ones too, without the white space around it, and its number from 1.
///
/// # Errors
/// If the file cannot be read, holds something that is not text, or `visit` fails.
pub fn read_lines(
    path: &Path,
    visit: &mut dyn FnMut(u64, &str) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut lines = Lines::open(path, 0..u64::MAX)?;
    let mut number = 0;
    while let Some(line) = lines.next_line()? {
        number += 1;
        visit(number, line)?;
    }
    Ok(())
}

/// The lines of a part of a file.
struct Lines<'p> {
    path: &'p Path,
    file: BufReader<File>,
    /// Where the next line begins.
    offset: u64,
    end: u64,
    /// Where the current line begins.
    line_start: u64,
    bytes: Vec<u8>,
}

impl<'p> Lines<'p> {
    fn open(path: &'p Path, part: Range<u64>) -> Result<Self, DataError> {
        let mut file = File::open(path).map_err(DataError::io("open", path))?;
        file.seek(SeekFrom::Start(part.start)).map_err(DataError::io("seek in", path))?;
        let file = BufReader::with_capacity(1 << 18, file);
        Ok(Self { path, file, offset: part.start, end: part.end, line_start: part.start, bytes: Vec::new() })
    }

    /// The next line without the white space around it.
    fn next_line(&mut self) -> Result<Option<&str>, DataError> {
        if self.offset >= self.end || !self.next_bytes()? {
            return Ok(None);
        }
        let marked = self.line_start == 0 && self.bytes.starts_with(b"\xEF\xBB\xBF");
        let bytes = if marked { &self.bytes[3..] } else { &self.bytes[..] };
        match std::str::from_utf8(bytes) {
            Ok(line) => Ok(Some(line.trim())),
            Err(error) => Err(DataError::InvalidUtf8 {
                path: self.path.to_path_buf(),
                line: line_number(self.path, self.line_start),
                column: self.bytes.len() - bytes.len() + error.valid_up_to() + 1,
            }),
        }
    }

    /// Reads the next line's bytes; `false` at the end of the file.
    fn next_bytes(&mut self) -> Result<bool, DataError> {
        self.line_start = self.offset;
        self.bytes.clear();
        let mut limited = self.file.by_ref().take(LONGEST_LINE as u64 + 1);
        let read = limited.read_until(b'\n', &mut self.bytes).map_err(DataError::io("read", self.path))?;
        if read > LONGEST_LINE {
            return Err(DataError::EndlessLine {
                path: self.path.to_path_buf(),
                line: line_number(self.path, self.line_start),
                limit: LONGEST_LINE,
            });
        }
        self.offset += read as u64;
        Ok(read > 0)
    }
}

/// The number, from 1, of the line that begins at `offset`: counted only when an error has to name it. Should the file
/// have become unreadable, line 0 says so.
fn line_number(path: &Path, offset: u64) -> u64 {
    let count = || {
        let mut before = BufReader::new(File::open(path)?).take(offset);
        let mut lines = 1;
        loop {
            let bytes = before.fill_buf()?;
            if bytes.is_empty() {
                return Ok::<u64, std::io::Error>(lines);
            }
            lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
            let read = bytes.len();
            before.consume(read);
        }
    };
    count().unwrap_or(0)
}

/// Cuts a file of `length` bytes into parts of about `size` bytes: at the end of a document where one lies within
/// `size` bytes of where the part should end, else at the end of a paragraph, else of a line. The cuts depend on the
/// file alone.
///
/// # Errors
/// If the file cannot be read, or has a line without end.
pub(crate) fn parts(
    path: &Path,
    length: u64,
    format: Format,
    size: u64,
) -> Result<Vec<Range<u64>>, DataError> {
    let mut cuts = vec![0];
    for target in (1..length.div_ceil(size)).map(|part| part * size) {
        // A part may have run over the place where the next should begin.
        let from = target.max(*cuts.last().expect("the list begins with 0"));
        if let Some(cut) = find_cut(path, from..(target + size).min(length), format)? {
            cuts.push(cut);
        }
    }
    cuts.push(length);
    Ok(cuts.windows(2).map(|pair| pair[0]..pair[1]).filter(|part| !part.is_empty()).collect())
}

/// The best place in `within` at which a line begins; `None` if no line does.
fn find_cut(path: &Path, within: Range<u64>, format: Format) -> Result<Option<u64>, DataError> {
    let blank_lines_wanted = match format {
        Format::Jsonl => 0,
        Format::Sentences => 1,
        Format::Prose => 2,
    };
    let mut lines = Lines::open(path, within.clone())?;
    let mut best = None;
    let mut blank_lines = 0;
    // The first line may have begun earlier, so that nothing is known of it but its end.
    let mut more = lines.next_bytes()?;
    while more && lines.offset < within.end {
        let place = lines.offset;
        if best.is_none_or(|(blank, _)| blank_lines > blank) {
            best = Some((blank_lines, place));
        }
        if blank_lines == blank_lines_wanted {
            return Ok(Some(place));
        }
        more = lines.next_bytes()?;
        blank_lines = if lines.bytes.trim_ascii().is_empty() { blank_lines + 1 } else { 0 };
    }
    Ok(best.map(|(_, place)| place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The documents of a file with this content, one sentence a line and `--` after each document.
    fn read(content: impl AsRef<[u8]>, format: Format) -> Result<Vec<Vec<String>>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &content).unwrap();
        read_parts(file.path(), whole(content.as_ref().len() as u64), format)
    }

    fn read_parts(
        path: &Path,
        parts: Vec<Range<u64>>,
        format: Format,
    ) -> Result<Vec<Vec<String>>, DataError> {
        let (mut documents, mut document) = (Vec::new(), Vec::new());
        for part in parts {
            read_documents(path, part, format, &mut |event| {
                match event {
                    Event::Sentence(sentence) => document.push(sentence.to_string()),
                    Event::DocumentEnd => documents.push(std::mem::take(&mut document)),
                }
                Ok(())
            })?;
            assert!(document.is_empty(), "the end of a part ends a document");
        }
        Ok(documents)
    }

    /// All of a file as its only part.
    fn whole(length: u64) -> Vec<Range<u64>> {
        std::iter::once(0..length).collect()
    }

    #[test]
    fn sentences_are_lines() {
        let text = "\u{feff}One.\r\n Two. \r\n\r\n\n \t\nThree.\n\nFour.";
        assert_eq!(
            read(text, Format::Sentences).unwrap(),
            [vec!["One.", "Two."], vec!["Three."], vec!["Four."]]
        );
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
        assert_eq!(
            read(text, Format::Jsonl).unwrap(),
            [vec!["It was late.", "He", "slept."], vec!["Täg 😀!"]]
        );
    }

    #[test]
    fn long_documents_become_several() {
        let lengths = |lines: usize| -> Vec<usize> {
            read("a\n".repeat(lines), Format::Sentences).unwrap().iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(4096), [4096]);
        assert_eq!(lengths(10_000), [4096, 4096, 1808]);
    }

    /// A text without blank lines is not held in memory as one paragraph.
    #[test]
    fn endless_paragraphs_become_several() {
        let line = format!("{}\n", "a".repeat((1 << 20) - 1));
        let sentences = read(line.repeat(35), Format::Prose).unwrap().concat();
        let lengths: Vec<usize> = sentences.iter().map(String::len).collect();
        assert_eq!(lengths, [17 << 20, 17 << 20, 1 << 20].map(|length: usize| length - 1));
    }

    #[test]
    fn jsonl_is_not_read_as_plain_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.jsonl");
        std::fs::write(&path, "{\"text\": \"a\"}\n").unwrap();
        let read = |format| read_parts(&path, whole(14), format);
        assert_eq!(read(Format::Jsonl).unwrap(), [["a"]]);
        for format in [Format::Sentences, Format::Prose] {
            let message = read(format).unwrap_err().to_string();
            assert!(message.contains("text.jsonl") && message.contains("jsonl"), "{message}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        let error = |content: &[u8], format| read(content, format).unwrap_err().to_string();
        let message = error(b"fine\n\nab\xFFcd\n", Format::Sentences);
        assert!(message.contains(":3: byte 3 of the line is not valid UTF-8"), "{message}");
        let message = error(b"\xEF\xBB\xBF\xFF", Format::Sentences);
        assert!(message.contains(":1: byte 4 of the line"), "{message}");
        let message = error(b"{\"text\": \"a\"}\n{\"txt\": \"b\"}\n", Format::Jsonl);
        assert!(
            message.contains(":2: expected a JSON object")
                && message.ends_with("missing field `text` at column 12"),
            "{message}"
        );
        let mut endless = b"a line\n".to_vec();
        endless.resize(LONGEST_LINE + 100, b'x');
        assert!(read(&endless[..LONGEST_LINE + 7], Format::Sentences).is_ok(), "the longest line is read");
        let message = error(&endless, Format::Sentences);
        assert!(message.contains(":2: the line is longer than 16 MiB"), "{message}");
        let missing = read_parts(Path::new("no/such/file"), whole(1), Format::Prose).unwrap_err().to_string();
        assert!(missing.starts_with("cannot open no/such/file"), "{missing}");
    }

    proptest! {
        /// Parts tile the file; read one after the other they give the file's sentences in order, and its documents
        /// wherever these fit the parts.
        #[test]
        fn parts_make_up_the_whole(
            content in "([a-c ]{0,6}\n){0,40}[a-c]{0,3}",
            size in 1u64..40,
            format in prop::sample::select(vec![Format::Sentences, Format::Prose]),
        ) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &content).unwrap();
            let length = content.len() as u64;
            let parts = parts(file.path(), length, format, size).unwrap();
            let undivided = read_parts(file.path(), whole(length), format).unwrap();
            let divided = read_parts(file.path(), parts.clone(), format).unwrap();
            prop_assert_eq!(divided.concat().join(" "), undivided.concat().join(" "));
            prop_assert!(parts.iter().all(|part| part.start == 0 || content.as_bytes()[part.start as usize - 1] == b'\n'));
            prop_assert_eq!(parts.iter().map(|part| part.end - part.start).sum::<u64>(), length);
            if size > content.len() as u64 {
                prop_assert_eq!(divided, undivided);
            }
        }
    }

    proptest! {
        /// Whatever the bytes: sentences that are not empty, or an error.
        #[test]
        fn nonsense_is_read_or_refused(
            content in "(\\PC|\n|\r| |\\{\"text\": \"a. B.\"\\}\n){0,60}",
            noise: Vec<u8>,
            format in prop::sample::select(vec![Format::Sentences, Format::Prose, Format::Jsonl]),
        ) {
            for bytes in [content.as_bytes(), &noise, &[content.as_bytes(), &noise].concat()] {
                for document in read(bytes, format).unwrap_or_default() {
                    prop_assert!(!document.is_empty());
                    prop_assert!(document.iter().all(|sentence| !sentence.trim().is_empty()));
                }
            }
        }
    }

    #[test]
    fn parts_are_cut_between_documents() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content: String = (0..100).map(|n| format!("{n} a.\n{n} b.\n\n")).collect();
        std::fs::write(file.path(), &content).unwrap();
        let parts = parts(file.path(), content.len() as u64, Format::Sentences, 50).unwrap();
        assert!(parts.len() > 20 && parts.iter().all(|part| part.end - part.start < 100), "{parts:?}");
        let documents = read_parts(file.path(), parts, Format::Sentences).unwrap();
        assert_eq!(documents.len(), 100);
    }
}
