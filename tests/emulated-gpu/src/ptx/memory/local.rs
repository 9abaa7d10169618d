//! Local memory: the stack and spilled arrays of each lane of a warp, and the parameters of calls.

use super::POISON;
use super::bitmap::Bitmap;

/// `size` bytes for each of 32 lanes.
#[derive(Debug)]
pub struct LocalMemory {
    size: usize,
    bytes: Vec<u8>,
    written: Bitmap,
}

impl LocalMemory {
    /// Memory that nothing has written.
    pub fn new(size: usize) -> LocalMemory {
        LocalMemory { size, bytes: vec![POISON; size * 32], written: Bitmap::new(size * 32) }
    }

    /// Forgets everything, for the next block.
    pub fn reset(&mut self) {
        self.bytes.fill(POISON);
        self.written.clear();
    }

    /// Bytes per lane.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Where in `bytes` the range is, if it is inside.
    fn offset(&self, lane: usize, address: u64, length: usize) -> Option<usize> {
        let address = usize::try_from(address).ok()?;
        (address.checked_add(length)? <= self.size).then_some(lane * self.size + address)
    }

    /// The bytes of `lane` at `address`, or `None` outside.
    pub fn get(&self, lane: usize, address: u64, length: usize) -> Option<&[u8]> {
        let offset = self.offset(lane, address, length)?;
        Some(&self.bytes[offset..offset + length])
    }

    /// Whether all of the range, which is inside, was written.
    pub fn is_written(&self, lane: usize, address: u64, length: usize) -> bool {
        self.offset(lane, address, length)
            .is_some_and(|offset| self.written.first_missing(offset, length).is_none())
    }

    /// Writes `bytes`; false outside.
    pub fn write(&mut self, lane: usize, address: u64, bytes: &[u8]) -> bool {
        let Some(offset) = self.offset(lane, address, bytes.len()) else { return false };
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.written.insert(offset, bytes.len());
        true
    }
}
