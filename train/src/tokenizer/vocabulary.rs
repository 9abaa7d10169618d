//! Pieces, their ids, and the special ones among them.

use super::error::Invalid;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Ids of the pieces that are not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialTokens {
    /// `<pad>` or `[PAD]`: fills a batch.
    pub pad: u32,
    /// `<unk>` or `[UNK]`: text outside the vocabulary.
    pub unknown: u32,
    /// `[CLS]`: starts a sequence.
    pub classification: u32,
    /// `[SEP]`: ends a segment.
    pub separator: u32,
    /// `[MASK]`: hides a piece that is to be predicted.
    pub mask: u32,
}

impl SpecialTokens {
    /// The five ids, in the order of the fields.
    pub fn ids(&self) -> [u32; 5] {
        [self.pad, self.unknown, self.classification, self.separator, self.mask]
    }
}

/// What a piece is for (sentencepiece's types).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    /// Stands for text that no piece covers.
    Unknown,
    /// Never produced from text.
    Control,
    /// Always its own piece wherever it stands in text.
    UserDefined,
    /// Has an id and is never produced.
    Unused,
}

/// One entry of a vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    /// Log-probability; 0 for all but normal pieces.
    pub score: f32,
    pub kind: Kind,
}

/// Texts by id and ids by text.
#[derive(Debug)]
pub(super) struct Vocabulary {
    texts: Vec<String>,
    ids: HashMap<String, u32>,
    pub special: SpecialTokens,
}

impl Vocabulary {
    /// Numbers the texts in their order. `names` are the special pieces' in the order of [`SpecialTokens`].
    pub fn new(texts: Vec<String>, names: [&str; 5]) -> Result<Self, Invalid> {
        let mut ids = HashMap::with_capacity(texts.len());
        for (id, text) in texts.iter().enumerate() {
            let id = u32::try_from(id).map_err(|_| Invalid::new("it has more than 2³² pieces"))?;
            if text.is_empty() {
                return Err(Invalid(format!("piece {id} is empty")));
            }
            if let Some(first) = ids.insert(text.clone(), id) {
                return Err(Invalid(format!("pieces {first} and {id} are both {text:?}")));
            }
        }
        let special = |name: &str| {
            ids.get(name).copied().ok_or_else(|| {
                let all = names.join(", ");
                Invalid(format!("it lacks the piece {name}; ALBERT needs all of {all} in its vocabulary"))
            })
        };
        let special = SpecialTokens {
            pad: special(names[0])?,
            unknown: special(names[1])?,
            classification: special(names[2])?,
            separator: special(names[3])?,
            mask: special(names[4])?,
        };
        Ok(Self { texts, ids, special })
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize).map(String::as_str)
    }

    pub fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }
}
