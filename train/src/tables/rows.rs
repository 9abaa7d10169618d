//! Rows of bounded length: a file without line feeds, or packed to have none, does not fill memory. And the lines that they
//! stand on.

use std::io::{self, BufRead, ErrorKind, Read};

/// Bytes of the longest row: far more than any model reads.
const LONGEST: usize = 16 << 20;

/// A row that is longer.
#[derive(Debug, thiserror::Error)]
#[error("a row is longer than {} MiB", LONGEST >> 20)]
pub(super) struct LongRow {
    /// The line at which it begins, counted from 1.
    pub line: u64,
}

/// Where in a row a byte stands. Within an unquoted cell a quotation mark is a character, as it is to the reader of CSV.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The beginning of a cell.
    Begin,
    /// Text without quotation marks around it.
    Text,
    /// A quotation mark that is open.
    Quoted,
    /// One that closed; another opens it again.
    Closed,
}

/// A source that fails, with [`LongRow`], where a row is too long. It gives a line at a time at most, so that who has read a row
/// can ask for the [line](Self::line) at which that ended.
pub(super) struct Rows<R> {
    source: R,
    /// Whether it is CSV, where ends of lines between quotation marks are part of a row.
    quoted: bool,
    place: Place,
    length: usize,
    /// Line feeds so far.
    lines: u64,
    /// Whether the last byte was one.
    is_at_end: bool,
    begins: u64,
}

impl<R: BufRead> Rows<R> {
    /// The rows of `source`, each a line, but that ends of lines may be `quoted`.
    pub fn new(source: R, quoted: bool) -> Self {
        Self { source, quoted, place: Place::Begin, length: 0, lines: 0, is_at_end: true, begins: 1 }
    }

    /// The line at which what was read ends, counted from 1: that of its last byte, unless that is a line feed within a cell.
    pub fn line(&self) -> u64 {
        self.lines + u64::from(!self.is_at_end || self.place == Place::Quoted)
    }
}

impl<R: BufRead> Read for Rows<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.source.fill_buf()?;
        let line = available.iter().position(|&byte| byte == b'\n').map_or(available.len(), |end| end + 1);
        let read = line.min(buffer.len());
        buffer[..read].copy_from_slice(&available[..read]);
        self.source.consume(read);
        if let Some(&last) = buffer[..read].last() {
            self.is_at_end = last == b'\n';
        }
        for &byte in &buffer[..read] {
            self.lines += u64::from(byte == b'\n');
            self.place = match (self.place, byte) {
                (Place::Quoted, b'"') => Place::Closed,
                (Place::Quoted, _) => Place::Quoted,
                (Place::Begin | Place::Closed, b'"') if self.quoted => Place::Quoted,
                (_, b',' | b'\n' | b'\r') => Place::Begin,
                _ => Place::Text,
            };
            let is_end = byte == b'\n' || (byte == b'\r' && self.quoted);
            match is_end && self.place != Place::Quoted {
                true => (self.length, self.begins) = (0, self.lines + 1),
                false => self.length += 1,
            }
        }
        match self.length > LONGEST {
            true => Err(io::Error::new(ErrorKind::InvalidData, LongRow { line: self.begins })),
            false => Ok(read),
        }
    }
}
