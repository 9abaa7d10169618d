//! Documents and sentences in text.
//!
//! Decisions on the reference's quirks (`model/ALBERT.md`, Departures):
//!
//! - D6: the end of a file ends a document; in the reference the last document of one file and the first of the next
//!   are one unless a blank line lies between them.
//! - A line that is not blank but becomes no token (only control characters, say) does not end a document, as it does
//!   in the reference; it is left out.
//! - A document of more than [`LONGEST_DOCUMENT`] sentences is several documents. Neighbours in a sample still follow
//!   each other in the text, and any sample can be found without walking over a whole library.
//! - A line or paragraph of more than [`LONGEST_PARAGRAPH`] bytes is several.

use super::format::Format;
use super::parts::{Excerpt, Part};
use super::sentences::{first_end, sentences};
use super::{encoding, record, scripts};
use crate::data::error::DataError;

/// The longest record that is read, in bytes.
pub const LONGEST_LINE: usize = 16 << 20;
/// The longest line or paragraph of plain text that is looked at as one, in bytes.
pub const LONGEST_PARAGRAPH: usize = 1 << 20;
/// The most sentences of a document; the rest is another document.
pub const LONGEST_DOCUMENT: usize = 4096;

/// What a reader meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A sentence, without the white space around it; never empty.
    Sentence(&'a str),
    /// The end of a document that has sentences.
    DocumentEnd,
}

/// What was odd about some text, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oddities {
    /// Lines left out because they could not be read.
    pub skipped_lines: u64,
    /// Records in which half a surrogate pair was replaced by U+FFFD.
    pub mended_records: u64,
    /// Lines and paragraphs that were divided because they were too long.
    pub divided: u64,
    /// Files that hold no text.
    pub empty_files: u64,
}

impl std::ops::AddAssign for Oddities {
    fn add_assign(&mut self, other: Self) {
        let Self { skipped_lines, mended_records, divided, empty_files } = other;
        self.skipped_lines += skipped_lines;
        self.mended_records += mended_records;
        self.divided += divided;
        self.empty_files += empty_files;
    }
}

impl Part {
    /// Shows the documents to `visit`, and says what was odd about them. The end of a part, and of each file in it, ends
    /// a document.
    ///
    /// # Errors
    /// If something cannot be read and lines are not to be skipped, or `visit` fails.
    pub(crate) fn read(&self, skip_bad_lines: bool, visit: Visit<'_>) -> Result<Oddities, DataError> {
        let oddities = Oddities { skipped_lines: self.dropped(), ..Oddities::default() };
        let mut reader = Reader { visit, skip_bad_lines, sentences: 0, paragraph: String::new(), oddities };
        self.excerpts().try_for_each(|excerpt| reader.read(excerpt))?;
        Ok(reader.oddities)
    }
}

impl Part {
    /// Shows every line to `visit`, blank ones too, without the white space around it.
    ///
    /// # Errors
    /// If a line is not text, or `visit` fails.
    pub(crate) fn lines(
        &self,
        visit: &mut dyn FnMut(&str) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        self.excerpts().try_for_each(|excerpt| {
            let lines = excerpt.bytes.strip_suffix(b"\n").unwrap_or(excerpt.bytes);
            (excerpt.first_line..).zip(lines.split(|&byte| byte == b'\n')).try_for_each(|(number, bytes)| {
                let line = std::str::from_utf8(bytes)
                    .map_err(|error| invalid_utf8(excerpt, number, bytes, error.valid_up_to()))?;
                visit(line.trim())
            })
        })
    }
}

type Visit<'v> = &'v mut dyn FnMut(Event<'_>) -> Result<(), DataError>;

/// Turns lines into sentences and ends, and long documents into several.
struct Reader<'v> {
    visit: Visit<'v>,
    skip_bad_lines: bool,
    /// Sentences of the document so far.
    sentences: usize,
    /// The lines of the paragraph so far.
    paragraph: String,
    oddities: Oddities,
}

impl Reader<'_> {
    fn read(&mut self, excerpt: Excerpt<'_>) -> Result<(), DataError> {
        let mut blank_lines = 0;
        for (number, bytes) in (excerpt.first_line..).zip(excerpt.bytes.split(|&byte| byte == b'\n')) {
            let Some(line) = self.line(excerpt, number, bytes)? else { continue };
            match excerpt.format {
                Format::Sentences if line.is_empty() => self.end_document()?,
                Format::Sentences => self.sentence(line)?,
                Format::Prose if line.is_empty() => {
                    self.end_paragraph()?;
                    blank_lines += 1;
                    if blank_lines == 2 {
                        self.end_document()?;
                    }
                }
                Format::Prose => {
                    blank_lines = 0;
                    self.continue_paragraph(line)?;
                }
                Format::Jsonl if line.is_empty() => (),
                Format::Jsonl => self.record(excerpt, number, line)?,
            }
        }
        self.end_paragraph()?;
        self.end_document()
    }

    /// A line without the white space around it; `None` if it cannot be read and is left out.
    fn line<'a>(
        &mut self,
        excerpt: Excerpt<'a>,
        number: u64,
        bytes: &'a [u8],
    ) -> Result<Option<&'a str>, DataError> {
        let nul = bytes.contains(&0);
        match std::str::from_utf8(bytes) {
            Ok(line) if !nul => Ok(Some(line.trim())),
            _ if self.skip_bad_lines => {
                self.oddities.skipped_lines += 1;
                Ok(None)
            }
            Ok(_) => Err(DataError::Nul { path: excerpt.path.to_path_buf(), line: number }),
            Err(error) => Err(invalid_utf8(excerpt, number, bytes, error.valid_up_to())),
        }
    }

    fn record(&mut self, excerpt: Excerpt<'_>, number: u64, line: &str) -> Result<(), DataError> {
        let (text, mended) = match record::text_of(line) {
            Ok(text) => text,
            Err(_) if self.skip_bad_lines => {
                self.oddities.skipped_lines += 1;
                return Ok(());
            }
            Err(reason) => {
                return Err(DataError::Json { path: excerpt.path.to_path_buf(), line: number, reason });
            }
        };
        self.oddities.mended_records += u64::from(mended);
        for line in text.lines().map(str::trim) {
            match line {
                "" => self.end_paragraph()?,
                line => self.continue_paragraph(line)?,
            }
        }
        self.end_paragraph()?;
        self.end_document()
    }

    /// A line of one sentence.
    fn sentence(&mut self, line: &str) -> Result<(), DataError> {
        self.oddities.divided += u64::from(line.len() > LONGEST_PARAGRAPH);
        let mut rest = line;
        while rest.len() > LONGEST_PARAGRAPH {
            let (sentence, after) = rest.split_at(end_within(rest, LONGEST_PARAGRAPH));
            self.emit(sentence.trim())?;
            rest = after.trim_start();
        }
        self.emit(rest)
    }

    fn emit(&mut self, sentence: &str) -> Result<(), DataError> {
        if sentence.is_empty() {
            return Ok(());
        }
        if self.sentences == LONGEST_DOCUMENT {
            self.end_document()?;
        }
        self.sentences += 1;
        (self.visit)(Event::Sentence(sentence))
    }

    fn continue_paragraph(&mut self, line: &str) -> Result<(), DataError> {
        let last = self.paragraph.chars().next_back();
        if let (Some(last), Some(first)) = (last, line.chars().next())
            && !scripts::joins_without_space(last, first)
        {
            self.paragraph.push(' ');
        }
        self.paragraph.push_str(line);
        if self.paragraph.len() <= LONGEST_PARAGRAPH {
            return Ok(());
        }
        // All but the last sentence, which may go on in the next line.
        self.oddities.divided += 1;
        let paragraph = std::mem::take(&mut self.paragraph);
        let mut held: Option<&str> = None;
        for sentence in sentences(&paragraph) {
            if let Some(complete) = held.replace(sentence) {
                self.sentence(complete)?;
            }
        }
        match held {
            Some(last) if last.len() <= LONGEST_PARAGRAPH => self.paragraph.push_str(last),
            Some(last) => self.sentence(last)?,
            None => (),
        }
        Ok(())
    }

    fn end_paragraph(&mut self) -> Result<(), DataError> {
        let mut paragraph = std::mem::take(&mut self.paragraph);
        sentences(&paragraph).try_for_each(|sentence| self.emit(sentence))?;
        paragraph.clear();
        self.paragraph = paragraph;
        Ok(())
    }

    fn end_document(&mut self) -> Result<(), DataError> {
        match std::mem::take(&mut self.sentences) {
            0 => Ok(()),
            _ => (self.visit)(Event::DocumentEnd),
        }
    }
}

/// Where to divide a long text, after at most `limit` bytes: at the last end of a sentence or else of a word among the
/// last kilobytes, else of a character.
fn end_within(text: &str, limit: usize) -> usize {
    const LOOKED_AT: usize = 4096;
    let (from, limit) = (text.floor_char_boundary(limit - LOOKED_AT), text.floor_char_boundary(limit));
    let window = &text[from..limit];
    let sentence = first_end(window);
    let place = if sentence < window.len() { Some(sentence) } else { window.rfind(char::is_whitespace) };
    place.map_or(limit, |place| from + place)
}

/// How much of the text around bad bytes is looked at for advice.
const AROUND: usize = 1 << 16;

fn invalid_utf8(excerpt: Excerpt<'_>, line: u64, bytes: &[u8], valid: usize) -> DataError {
    let place = bytes.as_ptr() as usize - excerpt.bytes.as_ptr() as usize + valid;
    let around = place.saturating_sub(AROUND)..(place + AROUND).min(excerpt.bytes.len());
    DataError::InvalidUtf8 {
        path: excerpt.path.to_path_buf(),
        line,
        column: valid + 1,
        advice: encoding::advice(&excerpt.bytes[around]),
    }
}

#[cfg(test)]
mod tests;
