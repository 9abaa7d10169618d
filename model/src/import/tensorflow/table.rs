//! The sorted tables of LevelDB, as the index of a TensorFlow checkpoint is one: blocks of entries whose keys share their
//! beginnings, an index of the blocks, and at the end where that is.

use crate::wire::checksum;
use crate::wire::protobuf::{Malformed, Message};

/// The last eight bytes of a table.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Two handles, padded, and the magic number.
const FOOTER: usize = 48;
/// Compression and checksum behind each block.
const TRAILER: usize = 5;
/// No block of an index is larger unpacked.
const LARGEST: usize = 1 << 22;
/// Nor has one more entries: keys that share their beginnings may be many times the bytes of the file.
const MOST_ENTRIES: usize = 1 << 16;
/// Nor is a key longer.
const LONGEST_KEY: usize = 1 << 10;

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// A table that is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("it does not end as a table does: truncated, or something else")]
    Footer,
    #[error("a block lies outside of the file")]
    Outside,
    #[error("a block has another checksum")]
    Checksum,
    #[error("a block is compressed in a way that is not known ({0})")]
    Compression(u8),
    #[error("a compressed block is damaged: {0}")]
    Snappy(#[from] snap::Error),
    #[error("a block ends in the middle of an entry")]
    Entry,
    #[error("it has more or longer entries than any checkpoint, or blocks that overlap")]
    TooMany,
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// The entries of a table: keys and values, in the order of the keys.
pub(super) fn entries(table: &[u8]) -> Result<Vec<Entry>, TableError> {
    let footer = table.last_chunk::<FOOTER>().ok_or(TableError::Footer)?;
    if footer.last_chunk::<8>().copied().map(u64::from_le_bytes) != Some(MAGIC) {
        return Err(TableError::Footer);
    }
    let mut handles = Message::new(footer);
    let _metaindex = handle(&mut handles)?;
    let index = block(table, handle(&mut handles)?)?;
    let mut all = Vec::new();
    let mut end = 0;
    for (_, place) in of_block(&index)? {
        let (offset, size) = handle(&mut Message::new(&place))?;
        // One block after the other: an index that names one again and again would fill any memory.
        if all.len() > MOST_ENTRIES || offset < end {
            return Err(TableError::TooMany);
        }
        end = offset.saturating_add(size);
        all.extend(of_block(&block(table, (offset, size))?)?);
    }
    Ok(all)
}

/// Where a block is, and its length.
fn handle(bytes: &mut Message<'_>) -> Result<(u64, u64), TableError> {
    Ok((bytes.varint()?, bytes.varint()?))
}

/// The content of a block.
fn block(table: &[u8], (offset, size): (u64, u64)) -> Result<Vec<u8>, TableError> {
    let part = usize::try_from(offset)
        .ok()
        .zip(usize::try_from(size).ok())
        .and_then(|(offset, size)| table.get(offset..)?.get(..size.checked_add(TRAILER)?));
    let (content, trailer) = part.and_then(<[u8]>::split_last_chunk::<TRAILER>).ok_or(TableError::Outside)?;
    let crc = checksum::append(checksum::append(0, content), &trailer[..1]);
    if checksum::masked(crc).to_le_bytes() != trailer[1..] {
        return Err(TableError::Checksum);
    }
    match trailer[0] {
        0 => Ok(content.to_vec()),
        1 if snap::raw::decompress_len(content)? <= LARGEST => {
            Ok(snap::raw::Decoder::new().decompress_vec(content)?)
        }
        kind => Err(TableError::Compression(kind)),
    }
}

/// The entries of a block.
fn of_block(block: &[u8]) -> Result<Vec<Entry>, TableError> {
    let (rest, restarts) = block.split_last_chunk::<4>().ok_or(TableError::Entry)?;
    let restarts = (u32::from_le_bytes(*restarts) as usize).checked_mul(4);
    let end = restarts.and_then(|bytes| rest.len().checked_sub(bytes)).ok_or(TableError::Entry)?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = Message::new(&rest[..end]);
    while !rest.is_empty() {
        let lengths = [rest.varint()?, rest.varint()?, rest.varint()?];
        let [shared, added, value] = lengths.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let before = entries.last().map_or(&[][..], |(key, _)| key);
        let split = rest.rest().split_at_checked(added);
        let split = split.and_then(|(key, rest)| Some((key, rest.split_at_checked(value)?)));
        let (shared, (added, (value, left))) = before.get(..shared).zip(split).ok_or(TableError::Entry)?;
        let key = [shared, added].concat();
        if key.len() > LONGEST_KEY || entries.len() == MOST_ENTRIES {
            return Err(TableError::TooMany);
        }
        entries.push((key, value.to_vec()));
        rest = Message::new(left);
    }
    Ok(entries)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::protobuf::put_varint;

    /// A block of entries that share nothing, with one restart.
    pub fn block_of(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in entries {
            bytes.extend([0, key.len() as u8, value.len() as u8]);
            bytes.extend(key.iter().chain(value));
        }
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        bytes
    }

    #[test]
    fn keys_share_their_beginnings() {
        let mut bytes = vec![0, 3, 1, b'a', b'b', b'c', 1, 2, 1, 1, b'd', 2];
        bytes.extend([0, 0, 0, 0, 1, 0, 0, 0]);
        let entries = of_block(&bytes).expect("a block");
        assert_eq!(entries, [(b"abc".to_vec(), vec![1]), (b"abd".to_vec(), vec![2])]);
    }

    #[test]
    fn entries_without_end_are_refused() {
        let many: Vec<Entry> = vec![(b"k".to_vec(), Vec::new()); MOST_ENTRIES + 1];
        assert!(matches!(of_block(&block_of(&many)), Err(TableError::TooMany)));
    }

    /// A block with its trailer, appended to a table; its handle.
    fn append(table: &mut Vec<u8>, content: &[u8]) -> Vec<u8> {
        let offset = table.len() as u64;
        table.extend(content);
        table.push(0);
        let crc = checksum::append(checksum::append(0, content), &[0]);
        table.extend(checksum::masked(crc).to_le_bytes());
        [offset, content.len() as u64].into_iter().flat_map(varint).collect()
    }

    fn varint(value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        bytes
    }

    /// A table of these blocks, whatever they hold, with right checksums and a right end.
    pub fn table_of(blocks: &[Vec<u8>]) -> Vec<u8> {
        let mut table = Vec::new();
        let handles =
            blocks.iter().map(|block| (Vec::new(), append(&mut table, block))).collect::<Vec<Entry>>();
        let index = append(&mut table, &block_of(&handles));
        let mut footer = [vec![0, 0], index].concat(); // no metaindex
        footer.resize(FOOTER - 8, 0);
        table.extend(footer);
        table.extend(MAGIC.to_le_bytes());
        table
    }

    proptest! {
        /// Whole checksums around anything: what is behind them is looked at, and is entries or an error.
        #[test]
        fn blocks_of_any_bytes_are_entries_or_none(
            blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4),
        ) {
            let expected: Result<Vec<_>, _> = blocks.iter().map(|block| of_block(block)).collect();
            match (entries(&table_of(&blocks)), expected) {
                (Ok(found), Ok(expected)) => prop_assert_eq!(found, expected.concat()),
                (found, expected) => prop_assert!(found.is_err() && expected.is_err(), "{found:?}, {expected:?}"),
            }
        }

        #[test]
        fn a_table_is_read_as_it_was_written(
            blocks in prop::collection::vec(
                prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..9)), 0..5),
                0..4,
            ),
            at in any::<prop::sample::Index>(),
        ) {
            let table = table_of(&blocks.iter().map(|entries| block_of(entries)).collect::<Vec<_>>());
            prop_assert_eq!(entries(&table).unwrap(), blocks.concat());
            let mut flipped = table.clone();
            let at = at.index(table.len());
            flipped[at] ^= 1;
            // The padding of the end, and the handle of a metaindex that nobody reads, say nothing.
            if let Ok(found) = entries(&flipped) {
                prop_assert!(at >= table.len() - FOOTER && found == blocks.concat());
            }
        }

        #[test]
        fn any_bytes_are_a_block_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = of_block(&bytes);
            let _ = entries(&bytes);
        }

        #[test]
        fn a_block_is_read_as_it_was_written(
            written in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..20)), 0..9),
        ) {
            prop_assert_eq!(of_block(&block_of(&written)).unwrap(), written);
        }
    }
}
