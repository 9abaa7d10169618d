//! CRC-32C as TensorFlow stores it: rotated and moved, so that a checksum of checksums is not weak.

/// Of bytes that follow others whose plain CRC-32C is `before` (0 of nothing).
pub fn append(before: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(before, bytes)
}

/// A plain CRC-32C in TensorFlow's form.
pub fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The checksum of `bytes` in TensorFlow's form.
pub fn of(bytes: &[u8]) -> u32 {
    masked(append(0, bytes))
}
