//! All text in order, cut into parts of about one size, whatever files it lies in.
//!
//! Many small files make one part and a large file makes many. The cuts depend on the text alone: they fall at the end
//! of a document where one lies within a part's size of where the part should end, else at the end of a paragraph, of a
//! line, of a sentence. The end of a file ends a document.
//!
//! Reading is sequential, so that packed files and standard input are no special case; memory holds the part being read.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::documents::LONGEST_LINE;
use super::format::{Format, Reading};
use super::sentences;
use super::source::Source;
use crate::data::error::DataError;

/// Text in one part, in bytes, as long as there are few.
pub(crate) const PART_SIZE: usize = 8 << 20;
/// After so many parts the size doubles, and again: a system maps some sixty thousand files into memory, no more. Four
/// terabytes are fifty thousand parts.
const DOUBLING: u64 = 8192;
const MOST_DOUBLINGS: u64 = 6;

/// Some text, of one file or of several.
#[derive(Debug, Default)]
pub(crate) struct Part {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// Bytes of the files, as they lie on the disk, that were read for it.
    pub(crate) taken: u64,
    /// Lines that were too long to be kept.
    dropped: u64,
}

/// What a part has of one file.
#[derive(Debug)]
struct Piece {
    path: Arc<Path>,
    format: Format,
    /// The number of its first line within the file, from 1.
    first_line: u64,
    /// It is the beginning of the file.
    begins_file: bool,
    bytes: Range<usize>,
}

/// One file's share of a part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excerpt<'a> {
    pub(crate) path: &'a Path,
    pub(crate) format: Format,
    pub(crate) first_line: u64,
    pub(crate) bytes: &'a [u8],
}

impl Part {
    /// What it has of each file, in order.
    pub(crate) fn excerpts(&self) -> impl Iterator<Item = Excerpt<'_>> {
        self.pieces.iter().map(|piece| {
            let bytes = &self.bytes[piece.bytes.clone()];
            let bytes = match bytes.strip_prefix(b"\xEF\xBB\xBF") {
                Some(unmarked) if piece.begins_file => unmarked,
                _ => bytes,
            };
            Excerpt { path: &piece.path, format: piece.format, first_line: piece.first_line, bytes }
        })
    }

    /// Lines that are not in it because they were too long.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Tells this text, divided between files as it is, from any other.
    pub(crate) fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for excerpt in self.excerpts() {
            hasher.update(&[excerpt.format as u8]);
            hasher.update(&(excerpt.bytes.len() as u64).to_le_bytes());
            hasher.update(excerpt.bytes);
        }
        hasher.finalize()
    }
}

/// The parts of some files, one after the other.
pub(crate) struct Parts<'a> {
    files: std::slice::Iter<'a, PathBuf>,
    reading: Reading,
    size: usize,
    made: u64,
    open: Option<Open>,
    /// Files that hold no text.
    empty: Vec<&'a Path>,
}

/// The file being read.
struct Open {
    source: Source,
    /// What was read beyond the last part's end.
    rest: Vec<u8>,
    next_line: u64,
    begins_file: bool,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(files: &'a [PathBuf], reading: Reading) -> Self {
        Self::of_size(files, reading, PART_SIZE)
    }

    pub(crate) fn of_size(files: &'a [PathBuf], reading: Reading, size: usize) -> Self {
        Self { files: files.iter(), reading, size, made: 0, open: None, empty: Vec::new() }
    }

    /// Files met so far that hold no text.
    pub(crate) fn empty_files(&self) -> &[&'a Path] {
        &self.empty
    }

    fn next_part(&mut self) -> Result<Option<Part>, DataError> {
        let size = self.size << (self.made / DOUBLING).min(MOST_DOUBLINGS);
        let mut part = Part::default();
        loop {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(path) = self.files.next() else { break };
                    let source = Source::open(path, self.reading)?;
                    if source.is_empty() {
                        self.empty.push(path);
                    }
                    self.open.insert(Open { source, rest: Vec::new(), next_line: 1, begins_file: true })
                }
            };
            let is_cut = open.fill(&mut part, size, self.reading.skip_bad_lines)?;
            if !is_cut {
                self.open = None;
            }
            if is_cut || part.bytes.len() >= size {
                break;
            }
        }
        self.made += 1;
        Ok((!part.pieces.is_empty() || part.taken > 0).then_some(part))
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Part, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.next_part().transpose();
        if matches!(part, Some(Err(_))) {
            (self.files, self.open) = ([].iter(), None);
        }
        part
    }
}

impl Open {
    /// Fills `part` from the file; whether it is cut before the file's end.
    fn fill(&mut self, part: &mut Part, size: usize, skip: bool) -> Result<bool, DataError> {
        let start = part.bytes.len();
        part.bytes.append(&mut self.rest);
        let mut wanted = 2 * size;
        let cut = loop {
            let missing = wanted.saturating_sub(part.bytes.len());
            let read = self.source.read(missing, &mut part.bytes)?;
            part.taken += self.source.taken();
            if read < missing {
                break None;
            }
            let from = size.max(start);
            match best_cut(&part.bytes, from, self.source.format()) {
                Some(cut) => break Some(cut),
                None if self.source.format() == Format::Jsonl => {
                    // A record is one piece: more of it is needed, within reason.
                    if part.bytes.len() - line_start(&part.bytes, from) > LONGEST_LINE {
                        self.drop_line(part, start, skip)?;
                    }
                    wanted = part.bytes.len() + size;
                }
                None => break Some(place_in_line(&part.bytes, from)),
            }
        };
        let end = cut.unwrap_or(part.bytes.len());
        self.rest = part.bytes.split_off(end);
        let bytes = start..end;
        if !bytes.is_empty() {
            let lines = count_lines(&part.bytes[bytes.clone()]);
            part.pieces.push(Piece {
                path: self.source.path().clone(),
                format: self.source.format(),
                first_line: self.next_line,
                begins_file: std::mem::take(&mut self.begins_file),
                bytes,
            });
            self.next_line += lines;
        }
        Ok(cut.is_some())
    }

    /// Reads over the line at the end of what was read, which is too long.
    fn drop_line(&mut self, part: &mut Part, start: usize, skip: bool) -> Result<(), DataError> {
        let line = line_start(&part.bytes, part.bytes.len());
        if !skip {
            return Err(DataError::EndlessLine {
                path: self.source.path().to_path_buf(),
                line: self.next_line + count_lines(&part.bytes[start..line]),
                limit: LONGEST_LINE,
            });
        }
        part.dropped += 1;
        loop {
            part.bytes.truncate(line);
            let read = self.source.read(PART_SIZE, &mut part.bytes)?;
            part.taken += self.source.taken();
            let end = part.bytes[line..].iter().position(|&byte| byte == b'\n');
            // The line feed stays: line numbers stay right.
            if end.is_some() || read < PART_SIZE {
                part.bytes.drain(line..end.map_or(part.bytes.len(), |end| line + end));
                return Ok(());
            }
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Where the line begins in which byte `at` lies.
fn line_start(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |feed| feed + 1)
}

/// The best place from `from` on at which a line begins; `None` if no line does.
fn best_cut(bytes: &[u8], from: usize, format: Format) -> Option<usize> {
    let blank_lines_wanted = match format {
        Format::Jsonl => 0,
        Format::Sentences => 1,
        Format::Prose => 2,
    };
    let mut best = None;
    let (mut blank_lines, mut line) = (0, None);
    // The first line may have begun earlier, so that nothing is known of it but its end.
    for feed in bytes[from..].iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(at, _)| from + at)
    {
        if let Some(line) = line {
            let is_blank = bytes[line..feed].trim_ascii().is_empty();
            blank_lines = if is_blank { blank_lines + 1 } else { 0 };
        }
        let place = feed + 1;
        if best.is_none_or(|(blank, _)| blank_lines > blank) {
            best = Some((blank_lines, place));
        }
        if blank_lines == blank_lines_wanted {
            break;
        }
        line = Some(place);
    }
    best.map(|(_, place)| place)
}

/// A place in a long line, from `from` on: the end of a sentence, else of a word, else of a character.
fn place_in_line(bytes: &[u8], from: usize) -> usize {
    let is_begin = |byte: u8| byte & 0xC0 != 0x80;
    let from = from + bytes[from..].iter().position(|&byte| is_begin(byte)).unwrap_or(0);
    let text = match std::str::from_utf8(&bytes[from..]) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[from..from + error.valid_up_to()]).unwrap_or_default(),
    };
    let sentence = sentences::first_end(text);
    let place = if sentence < text.len() { Some(sentence) } else { text.find(char::is_whitespace) };
    from + place.filter(|&place| place > 0).unwrap_or(0)
}

#[cfg(test)]
mod tests;
