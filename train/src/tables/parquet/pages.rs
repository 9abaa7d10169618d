//! The pages of a Parquet file, unpacked within a budget: what a page takes is charged before it is taken, since a few bytes can
//! say that they stand for any number.
//!
//! | what grows | what is charged |
//! |---|---|
//! | packed bytes | the length that Snappy states; what gzip gives, which ends where nothing is left |
//! | a dictionary | as many values as it is said to hold, as large as they are in memory |
//! | a column of lists, of which one row may hold all | the values of a page as they are in memory, with their two levels |
//! | texts that share beginnings | each of them, as it is written out |
//! | columns | the values of each that are read at a time |

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::basic::{Compression, CompressionCodec, Encoding, Type};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::data_type::{ByteArray, Int96};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{Length, RowGroupReader, SerializedPageReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::{ColumnDescPtr, Type as Schema};

use super::delta;

/// Rows of a column that are read at a time.
pub(super) const BATCH: usize = 128;
/// Bytes of the two levels of a value: how deep it stands in lists, and whether it is there.
const LEVELS: u64 = 2 * size_of::<i16>() as u64;

/// Why a file is not read that may be as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// It takes more than is left of the budget.
    #[error("it unpacks to far more than files of its size do (in column {column:?})")]
    TooLarge {
        /// The column in which that was seen.
        column: String,
    },
    /// A column is packed with what is not unpacked here.
    #[error("column {column:?} is packed with {packing}")]
    Packing {
        /// The column.
        column: String,
        /// The name of the codec.
        packing: CompressionCodec,
    },
}

impl Refused {
    /// What the library's error says, if it came from here.
    pub fn of(error: &ParquetError) -> Option<&Self> {
        if let ParquetError::External(error) = error { error.downcast_ref() } else { None }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "fetch it again or, if that is meant, write it as JSON lines or CSV",
            Self::Packing { .. } => {
                "write it anew, packed with Snappy or gzip (in pandas: to_parquet(…, compression=\"snappy\"))"
            }
        }
    }
}

impl From<Refused> for ParquetError {
    fn from(refused: Refused) -> Self {
        Self::External(Box::new(refused))
    }
}

/// Bytes that may still be taken.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes bytes for a column.
    ///
    /// # Errors
    /// If so many are not left.
    pub fn take(&self, bytes: u64, column: &str) -> Result<(), ParquetError> {
        let left = self.left().checked_sub(bytes);
        let left = left.ok_or_else(|| Refused::TooLarge { column: column.to_owned() })?;
        self.0.store(left, Ordering::Relaxed); // all columns are read by one thread
        Ok(())
    }
}

/// A row group whose pages are charged to a budget.
pub(super) struct Charged<'a> {
    pub file: Arc<File>,
    pub metadata: &'a RowGroupMetaData,
    pub budget: Budget,
}

impl RowGroupReader for Charged<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> Result<Box<dyn PageReader>, ParquetError> {
        let stored = self.metadata.column(i);
        let (start, length) = stored.byte_range();
        if start.checked_add(length).is_none_or(|end| end > self.file.len()) {
            return Err(ParquetError::General("a column that goes beyond the end of the file".to_owned()));
        }
        // Its pages come as they are stored: the library would unpack them to any size.
        let as_stored = stored.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let rows = usize::try_from(self.metadata.num_rows())?;
        let pages = Pages {
            stored: SerializedPageReader::new(Arc::clone(&self.file), &as_stored, rows, None)?,
            packing: stored.compression_codec(),
            column: stored.column_descr_ptr(),
            name: stored.column_path().string(),
            budget: self.budget.clone(),
        };
        pages.charge(BATCH as u64 * (pages.value() + LEVELS))?;
        Ok(Box::new(pages))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Schema>) -> Result<RowIter<'_>, ParquetError> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of a column.
struct Pages {
    stored: SerializedPageReader<File>,
    packing: CompressionCodec,
    column: ColumnDescPtr,
    name: String,
    budget: Budget,
}

impl Pages {
    fn charge(&self, bytes: u64) -> Result<(), ParquetError> {
        self.budget.take(bytes, &self.name)
    }

    /// Bytes of a value in memory, without those of a text, which stand in its page.
    fn value(&self) -> u64 {
        let bytes = match self.column.physical_type() {
            Type::BOOLEAN => size_of::<bool>(),
            Type::INT32 | Type::FLOAT => size_of::<i32>(),
            Type::INT64 | Type::DOUBLE => size_of::<i64>(),
            Type::INT96 => size_of::<Int96>(),
            Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY => size_of::<ByteArray>(),
        };
        bytes as u64
    }

    /// A page as the library reads it on.
    fn unpack(&self, mut page: Page) -> Result<Page, ParquetError> {
        match &mut page {
            Page::DictionaryPage { buf, num_values, .. } => {
                self.charge(u64::from(*num_values) * self.value())?;
                *buf = self.unpacked(buf, 0)?;
            }
            Page::DataPage { buf, num_values, encoding, rep_level_encoding, def_level_encoding, .. } => {
                *buf = self.unpacked(buf, 0)?;
                let levels = self.levels(buf, [*rep_level_encoding, *def_level_encoding]);
                *buf = self.plain(buf, levels, *num_values, encoding)?;
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                rep_levels_byte_len,
                def_levels_byte_len,
                is_compressed,
                ..
            } => {
                let levels = *rep_levels_byte_len as usize + *def_levels_byte_len as usize;
                *buf = self.unpacked(buf, if *is_compressed { levels } else { buf.len() })?;
                *buf = self.plain(buf, Some(levels), *num_values, encoding)?;
            }
        }
        Ok(page)
    }

    /// The bytes of a page, of which the first `before` are not packed.
    fn unpacked(&self, stored: &Bytes, before: usize) -> Result<Bytes, ParquetError> {
        let (head, packed) = stored.split_at_checked(before).ok_or_else(too_short)?;
        if packed.is_empty() || self.packing == CompressionCodec::UNCOMPRESSED {
            self.charge(stored.len() as u64)?;
            return Ok(stored.clone());
        }
        self.charge(head.len() as u64)?;
        let mut page = head.to_vec();
        match self.packing {
            CompressionCodec::SNAPPY => {
                let length = snap::raw::decompress_len(packed)?;
                self.charge(length as u64)?;
                page.resize(before + length, 0);
                snap::raw::Decoder::new().decompress(packed, &mut page[before..])?;
            }
            CompressionCodec::GZIP => {
                let unpacked = flate2::read::MultiGzDecoder::new(packed);
                let length = unpacked.take(self.budget.left().saturating_add(1)).read_to_end(&mut page)?;
                self.charge(length as u64)?;
            }
            packing => return Err(Refused::Packing { column: self.name.clone(), packing }.into()),
        }
        Ok(page.into())
    }

    /// The bytes of the levels that a page of version 1 begins with, how deep its values stand in lists and whether they are
    /// there, where they have the encoding that today's programs write.
    fn levels(&self, page: &[u8], encodings: [Encoding; 2]) -> Option<usize> {
        let mut end = 0;
        let deepest = [self.column.max_rep_level(), self.column.max_def_level()];
        for (_, encoding) in deepest.into_iter().zip(encodings).filter(|&(deepest, _)| deepest > 0) {
            let length = page.get(end..)?.first_chunk()?;
            end += size_of::<u32>() + u32::from_le_bytes(*length) as usize;
            (encoding == Encoding::RLE).then_some(())?;
        }
        Some(end)
    }

    /// Charges the values of a page, and writes texts whose lengths stand apart from them in the encoding PLAIN.
    fn plain(
        &self,
        page: &Bytes,
        levels: Option<usize>,
        values: u32,
        encoding: &mut Encoding,
    ) -> Result<Bytes, ParquetError> {
        if self.column.max_rep_level() > 0 {
            self.charge(u64::from(values) * (self.value() + LEVELS))?;
        }
        let has_lengths = self.column.physical_type() == Type::BYTE_ARRAY;
        let is_shared = *encoding == Encoding::DELTA_BYTE_ARRAY;
        let stand_apart = is_shared || has_lengths && *encoding == Encoding::DELTA_LENGTH_BYTE_ARRAY;
        if !stand_apart {
            return Ok(page.clone());
        }
        let (head, encoded) = levels.and_then(|end| page.split_at_checked(end)).ok_or_else(too_short)?;
        let texts =
            delta::plain(encoded, is_shared, has_lengths, values as usize, &|bytes| self.charge(bytes))?;
        *encoding = Encoding::PLAIN;
        Ok([head, &texts].concat().into())
    }
}

fn too_short() -> ParquetError {
    ParquetError::General("a page that ends too early".to_owned())
}

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.stored.get_next_page()?;
        page.map(|page| self.unpack(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.stored.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.stored.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        self.stored.at_record_boundary()
    }
}
