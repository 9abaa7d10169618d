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
const LARGEST: usize = 1 << 26;

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
    for (_, place) in of_block(&index)? {
        all.extend(of_block(&block(table, handle(&mut Message::new(&place))?)?)?);
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
        entries.push((key, value.to_vec()));
        rest = Message::new(left);
    }
    Ok(entries)
}
