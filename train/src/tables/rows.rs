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

/// A source that fails, with [`LongRow`], where a row is too long.
pub(super) struct Rows<R> {
    source: R,
    /// Whether line feeds between quotation marks are part of a row.
    quoted: bool,
    is_between_marks: bool,
    length: usize,
    lines: u64,
    begins: u64,
}

impl<R: Read> Rows<R> {
    /// The rows of `source`, each a line, but that line feeds may be `quoted`.
    pub fn new(source: R, quoted: bool) -> Self {
        Self { source, quoted, is_between_marks: false, length: 0, lines: 0, begins: 1 }
    }
}

impl<R: Read> Read for Rows<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        for &byte in &buffer[..read] {
            self.lines += u64::from(byte == b'\n');
            self.is_between_marks ^= self.quoted && byte == b'"';
            match byte {
                b'\n' if !self.is_between_marks => (self.length, self.begins) = (0, self.lines + 1),
                _ => self.length += 1,
            }
        }
        match self.length > LONGEST {
            true => Err(io::Error::new(ErrorKind::InvalidData, LongRow { line: self.begins })),
            false => Ok(read),
        }
    }
}
