//! What comes out of a packed file, which may be more than anybody has room for.

use std::io::{self, ErrorKind, Read};

/// A source that fails, with [`ErrorKind::FileTooLarge`], once it gave more than a number of bytes.
#[derive(Debug)]
pub struct Limited<R> {
    source: R,
    left: u64,
}

impl<R: Read> Limited<R> {
    /// What `packed` bytes unpack to: at most `ratio` times as many, or `always` where that is more.
    pub fn unpacked(source: R, packed: u64, ratio: u64, always: u64) -> Self {
        Self { source, left: packed.saturating_mul(ratio).max(always) }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(ErrorKind::FileTooLarge)?;
        Ok(read)
    }
}
