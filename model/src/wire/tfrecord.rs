//! TFRecord files: records of any bytes, each with its length and checksums of both.

use std::io::{self, Read};

use super::checksum;

/// A record longer than this is damage: an example of 512 tokens has some ten thousand bytes.
const LONGEST: u64 = 1 << 26;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file.
    #[error("record {record} cannot be read: {source}")]
    Io {
        /// From 1.
        record: u64,
        /// Why.
        source: io::Error,
    },
    /// The end of the file is not the end of a record.
    #[error("record {record} is cut off: copy the file again from where it came")]
    Truncated {
        /// From 1.
        record: u64,
    },
    /// A checksum is wrong.
    #[error("record {record} is damaged, or the file is no TFRecord file: {what} has another checksum")]
    Checksum {
        /// From 1.
        record: u64,
        /// `its length`, `its content`
        what: &'static str,
    },
    /// No record is so long.
    #[error(
        "record {record} says that it has {length} bytes, where none of text has more than {LONGEST}: the file is damaged, or holds \
         something else"
    )]
    Length {
        /// From 1.
        record: u64,
        /// What it says.
        length: u64,
    },
}

/// Adds a record to `file`, with its length and checksums.
pub fn append(file: &mut Vec<u8>, record: &[u8]) {
    let length = (record.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(checksum::of(&length).to_le_bytes());
    file.extend(record);
    file.extend(checksum::of(record).to_le_bytes());
}

/// The records of a file, one after the other. Ends after the first error.
#[derive(Debug)]
pub struct Records<R> {
    source: R,
    read: u64,
    ended: bool,
}

impl<R: Read> Records<R> {
    /// The records of `source`, which should be buffered.
    pub fn new(source: R) -> Self {
        Self { source, read: 0, ended: false }
    }

    fn record(&mut self) -> Result<Option<Vec<u8>>, RecordError> {
        let record = self.read + 1;
        let mut head = [0; 12];
        match self.fill(&mut head)? {
            0 => return Ok(None),
            12 => (),
            _ => return Err(RecordError::Truncated { record }),
        }
        let ([length, ..], [.., crc]) = (head.as_chunks::<8>().0, head.as_chunks::<4>().0) else {
            unreachable!("twelve bytes")
        };
        if checksum::of(length) != u32::from_le_bytes(*crc) {
            return Err(RecordError::Checksum { record, what: "its length" });
        }
        let length = u64::from_le_bytes(*length);
        if length > LONGEST {
            return Err(RecordError::Length { record, length });
        }
        let (mut content, mut crc) = (vec![0; length as usize], [0; 4]);
        if self.fill(&mut content)? < content.len() || self.fill(&mut crc)? < 4 {
            return Err(RecordError::Truncated { record });
        }
        if checksum::of(&content) != u32::from_le_bytes(crc) {
            return Err(RecordError::Checksum { record, what: "its content" });
        }
        self.read = record;
        Ok(Some(content))
    }

    /// Reads as many bytes as there are, up to the buffer's length.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, RecordError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(source) => return Err(RecordError::Io { record: self.read + 1, source }),
            }
        }
        Ok(filled)
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<Vec<u8>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.record().transpose();
        self.ended = !matches!(record, Some(Ok(_)));
        record
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| append(&mut bytes, record));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, RecordError> {
        Records::new(bytes).collect()
    }

    proptest! {
        #[test]
        fn records_are_read_whole_or_refused(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let whole = file(&records);
            prop_assert_eq!(&read(&whole).unwrap(), &records);
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= 1_u8 << bit;
            prop_assert!(read(&flipped).is_err());
            let cut = at.index(whole.len());
            // A file that ends where a record does is a shorter file.
            let ends = (0..=records.len()).map(|count| file(&records[..count]).len());
            prop_assert_eq!(read(&whole[..cut]).is_ok(), ends.into_iter().any(|end| end == cut));
        }
    }
}
