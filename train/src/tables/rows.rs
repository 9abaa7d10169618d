//! Rows of bounded length: a file without line feeds, or packed to have none, does not fill memory.

use std::io::{self, ErrorKind, Read};

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

/// A source that fails, with [`LongRow`], where a row is too long.
pub(super) struct Rows<R> {
    source: R,
    /// Whether it is CSV, where ends of lines between quotation marks are part of a row.
    quoted: bool,
    place: Place,
    length: usize,
    lines: u64,
    begins: u64,
}

impl<R: Read> Rows<R> {
    /// The rows of `source`, each a line, but that ends of lines may be `quoted`.
    pub fn new(source: R, quoted: bool) -> Self {
        Self { source, quoted, place: Place::Begin, length: 0, lines: 0, begins: 1 }
    }
}

impl<R: Read> Read for Rows<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
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
