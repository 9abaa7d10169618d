//! Reads a sentencepiece model file: the part of its protobuf message `ModelProto` that determines the ids.
//!
//! Fields read: `ModelProto { repeated pieces = 1 { piece = 1, score = 2, type = 3 }, trainer_spec = 2
//! { model_type = 3, treat_whitespace_as_suffix = 24 }, normalizer_spec = 3 { precompiled_charsmap = 2,
//! add_dummy_prefix = 3, remove_extra_whitespaces = 4, escape_whitespaces = 5 } }`; others are skipped.

use model::wire::protobuf::{Malformed, Message, Value};

use super::error::Invalid;
use super::limits::MAX_PIECES;
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
    let mut normalizer = None;
    for field in Message::new(bytes) {
        match field? {
            (1, Value::Bytes(piece)) => {
                let id = pieces.len();
                if id == MAX_PIECES {
                    return Err(Invalid(format!(
                        "it has more than {MAX_PIECES} pieces, and ids are stored in 16 bits"
                    )));
                }
                pieces.push(read_piece(piece).map_err(|e| Invalid(format!("piece {id}: {e}")))?);
            }
            (2, Value::Bytes(trainer)) => check_trainer(trainer)?,
            (3, Value::Bytes(spec)) => {
                normalizer = Some(Normalizer::Identity);
                for field in Message::new(spec) {
                    match field? {
                        (2, Value::Bytes([])) => {}
                        (2, Value::Bytes(charsmap)) => {
                            normalizer = Some(Normalizer::Charsmap(Charsmap::new(charsmap.to_vec())?));
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
    // It follows the pieces in every file: without it the end is missing.
    let normalizer = normalizer.ok_or_else(|| Invalid::new("it has no normalizer_spec: truncated?"))?;
    Ok(ModelFile { pieces, normalizer })
}

impl From<Malformed> for Invalid {
    fn from(error: Malformed) -> Self {
        match error {
            Malformed::Truncated { .. } => Self(error.to_string()),
            Malformed::Number | Malformed::WireType(_) => {
                Self(format!("{error}: not a sentencepiece model?"))
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use model::wire::protobuf::MessageWriter;
    use proptest::prelude::*;

    use super::super::normalizer::tests::charsmap;
    use super::*;

    fn number(field: u64, value: u64) -> Vec<u8> {
        MessageWriter::default().with(field, Value::Varint(value)).finish()
    }

    fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
        MessageWriter::default().with(field, Value::Bytes(value)).finish()
    }

    fn piece(text: &str, score: f32, kind: u64) -> Vec<u8> {
        let piece = MessageWriter::default().with(1, Value::Bytes(text.as_bytes()));
        bytes(1, &piece.with(2, Value::Fixed32(score.to_bits())).with(3, Value::Varint(kind)).finish())
    }

    fn model() -> Vec<u8> {
        [
            piece("<pad>", 0.0, 3),
            piece("<unk>", 0.0, 2),
            piece("▁a", -1.5, 1),
            piece("(", 0.0, 4),
            piece("b", -2.0, 5),
            bytes(2, &[number(3, 1), number(4, 30_000)].concat()),
            bytes(3, &[bytes(1, b"nmt_nfkc"), bytes(2, &charsmap()), number(3, 1)].concat()),
            MessageWriter::default().with(99, Value::Fixed64(0)).finish(), // of a kind yet to come
        ]
        .concat()
    }

    #[test]
    fn reads_what_matters() {
        let file = read(&model()).unwrap();
        let pieces: Vec<_> = file.pieces.iter().map(|p| (p.text.as_str(), p.score, p.kind)).collect();
        assert_eq!(
            pieces,
            [
                ("<pad>", 0.0, Kind::Control),
                ("<unk>", 0.0, Kind::Unknown),
                ("▁a", -1.5, Kind::Normal),
                ("(", 0.0, Kind::UserDefined),
                ("b", -2.0, Kind::Unused),
            ]
        );
        assert_eq!(file.normalizer, Normalizer::Charsmap(Charsmap::new(charsmap()).unwrap()));
    }

    #[test]
    fn says_what_is_not_supported() {
        let error = |bytes: &[u8]| read(bytes).err().expect("an error").to_string();
        assert!(error(&bytes(2, &number(3, 2))).contains("BPE"));
        assert!(error(&bytes(2, &number(24, 1))).contains("treat_whitespace_as_suffix"));
        assert!(error(&bytes(3, &number(4, 0))).contains("remove_extra_whitespaces"));
        assert!(error(&[model(), piece("<0x41>", 0.0, 6)].concat()).contains("piece 5: byte pieces"));
        assert!(error(&bytes(1, &bytes(1, b"\xFF"))).contains("piece 0: its text is not UTF-8"));
        assert!(error(&piece("a", -1.0, 1)).contains("no normalizer_spec"));
        assert!(error(&[0x0A, 0x7F]).contains("127 bytes where 0 are left"));
        assert!(error(&[0x80; 11]).contains("64 bits"));
        assert!(error(b"<html>").contains("wire type 4"));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = model();
        let yet_to_come = 10;
        for length in 0..whole.len() - yet_to_come {
            assert!(read(&whole[..length]).is_err(), "{length} bytes of {}", whole.len());
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn damage_never_panics(place in 0..model().len(), bytes in prop::collection::vec(any::<u8>(), 1..9)) {
            let mut damaged = model();
            let end = damaged.len().min(place + bytes.len());
            damaged[place..end].copy_from_slice(&bytes[..end - place]);
            if let Ok(file) = read(&damaged) {
                let mut out = String::new();
                file.normalizer.apply("aé b (", |_| None, &mut out);
            }
        }
    }
}
