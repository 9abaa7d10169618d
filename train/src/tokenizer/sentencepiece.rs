//! Reads a sentencepiece model file: the part of its protobuf message `ModelProto` that determines the ids.
//!
//! Fields read: `ModelProto { repeated pieces = 1 { piece = 1, score = 2, type = 3 }, trainer_spec = 2
//! { model_type = 3, treat_whitespace_as_suffix = 24 }, normalizer_spec = 3 { precompiled_charsmap = 2,
//! add_dummy_prefix = 3, remove_extra_whitespaces = 4, escape_whitespaces = 5 } }`; others are skipped.

use super::error::Invalid;
use super::normalizer::{Charsmap, Normalizer};
use super::vocabulary::{Kind, Piece};

/// What a model file says.
pub(super) struct ModelFile {
    pub pieces: Vec<Piece>,
    pub normalizer: Normalizer,
}

/// Reads a model file.
pub(super) fn read(bytes: &[u8]) -> Result<ModelFile, Invalid> {
    let mut pieces = Vec::new();
    let mut normalizer = Normalizer::Identity;
    for field in Message::new(bytes) {
        match field? {
            (1, Value::Bytes(piece)) => {
                let id = pieces.len();
                pieces.push(read_piece(piece).map_err(|e| Invalid(format!("piece {id}: {e}")))?);
            }
            (2, Value::Bytes(trainer)) => check_trainer(trainer)?,
            (3, Value::Bytes(spec)) => {
                for field in Message::new(spec) {
                    match field? {
                        (2, Value::Bytes([])) => {}
                        (2, Value::Bytes(charsmap)) => {
                            normalizer = Normalizer::Charsmap(Charsmap::new(charsmap.to_vec())?);
                        }
                        (option @ 3..=5, Value::Varint(0)) => {
                            let names =
                                ["add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"];
                            let name = names[option as usize - 3];
                            return Err(Invalid(format!("it has {name} switched off; ALBERT's have it on")));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(ModelFile { pieces, normalizer })
}

fn read_piece(bytes: &[u8]) -> Result<Piece, Invalid> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: Kind::Normal };
    for field in Message::new(bytes) {
        match field? {
            (1, Value::Bytes(text)) => {
                piece.text =
                    std::str::from_utf8(text).map_err(|_| Invalid::new("its text is not UTF-8"))?.to_owned();
            }
            (2, Value::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Value::Varint(kind)) => {
                piece.kind = match kind {
                    1 => Kind::Normal,
                    2 => Kind::Unknown,
                    3 => Kind::Control,
                    4 => Kind::UserDefined,
                    5 => Kind::Unused,
                    6 => return Err(Invalid::new("byte pieces (byte_fallback) are not supported")),
                    other => return Err(Invalid(format!("unknown type {other}"))),
                };
            }
            _ => {}
        }
    }
    Ok(piece)
}

fn check_trainer(bytes: &[u8]) -> Result<(), Invalid> {
    for field in Message::new(bytes) {
        match field? {
            (3, Value::Varint(model_type)) if model_type != 1 => {
                let name = match model_type {
                    2 => "BPE",
                    3 => "word",
                    4 => "character",
                    _ => "unknown",
                };
                return Err(Invalid(format!("it is a {name} model; ALBERT's are unigram models")));
            }
            (24, Value::Varint(flag)) if flag != 0 => {
                return Err(Invalid::new(
                    "it marks word ends instead of starts (treat_whitespace_as_suffix)",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The fields of one protobuf message, in file order. Ends after the first error.
struct Message<'a> {
    rest: &'a [u8],
}

enum Value<'a> {
    Varint(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// A 64-bit number: nothing here is one.
    Skipped,
}

impl<'a> Message<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Invalid> {
        let (taken, rest) = usize::try_from(count)
            .ok()
            .and_then(|count| self.rest.split_at_checked(count))
            .ok_or_else(|| {
            Invalid(format!("a field of {count} bytes where {} are left: truncated?", self.rest.len()))
        })?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Invalid> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Invalid::new("a number of more than 64 bits: not a sentencepiece model?"))
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Invalid> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Skipped
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            wire => return Err(Invalid(format!("wire type {wire}: not a sentencepiece model?"))),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = Result<(u64, Value<'a>), Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
