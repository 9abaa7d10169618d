//! How large the parts of a tokenizer may be. Its file is a stranger's: nothing of it may cost more than it is worth.

use super::error::Invalid;

/// Bytes of a tokenizer file: a vocabulary of long pieces stays well below.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 20;

/// Pieces of a vocabulary: prepared data stores ids in 16 bits.
pub(super) const MAX_PIECES: usize = 1 << 16;

/// Bytes of a piece. Published vocabularies have none of a tenth of it.
pub(super) const MAX_PIECE_BYTES: usize = 1024;

/// Bytes that one rule may put in the place of a character. Unicode's own longest is 33 (U+FDFA).
pub(super) const MAX_REPLACEMENT_BYTES: usize = 256;

/// Refuses too many pieces, and one that is too long.
pub(super) fn check_pieces<'a>(pieces: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Invalid> {
    let count = pieces.len();
    if count > MAX_PIECES {
        return Err(Invalid(format!(
            "it has {count} pieces, and ids are stored in 16 bits: at most {MAX_PIECES}"
        )));
    }
    for (id, piece) in pieces.enumerate() {
        if piece.len() > MAX_PIECE_BYTES {
            let begin = &piece[..piece.floor_char_boundary(20)];
            return Err(Invalid(format!(
                "piece {id} ({begin:?}…) has {} bytes; at most {MAX_PIECE_BYTES} are allowed",
                piece.len()
            )));
        }
    }
    Ok(())
}

/// Refuses a replacement that is too long.
pub(super) fn check_replacement(replacement: &str) -> Result<(), Invalid> {
    if replacement.len() > MAX_REPLACEMENT_BYTES {
        return Err(Invalid(format!(
            "one of its rules puts {} bytes in the place of a character or pattern; at most \
             {MAX_REPLACEMENT_BYTES} are allowed",
            replacement.len()
        )));
    }
    Ok(())
}
