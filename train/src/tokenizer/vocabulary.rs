//! Pieces, their ids, and the special ones among them.

use super::error::Invalid;
use super::limits::check_pieces;
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

impl Piece {
    /// The score as the `tokenizers` library sees it in a `tokenizer.json`: the number that its shortest decimal names.
    pub fn decimal_score(&self) -> f64 {
        self.score.to_string().parse().unwrap_or(f64::from(self.score))
    }
}

/// Texts by id and ids by text.
#[derive(Debug)]
pub(super) struct Vocabulary {
    texts: Vec<String>,
    ids: HashMap<String, u32>,
    pub special: SpecialTokens,
}

/// The names under which special pieces are known, in the order of [`SpecialTokens`]: ALBERT's and BERT's, XLNet's,
/// RoBERTa's. A vocabulary's own family of names goes before these.
const NAMES: [&[&str]; 5] = [
    &["<pad>", "[PAD]"],
    &["<unk>", "[UNK]"],
    &["[CLS]", "<cls>", "<s>"],
    &["[SEP]", "<sep>", "</s>"],
    &["[MASK]", "<mask>"],
];

impl Vocabulary {
    /// Numbers the texts in their order. `names` are the special pieces' in the order of [`SpecialTokens`]; where a
    /// vocabulary lacks one of them, a single piece of another usual name serves.
    pub fn new(texts: Vec<String>, names: [&str; 5]) -> Result<Self, Invalid> {
        check_pieces(texts.iter().map(String::as_str))?;
        if let Some(id) = texts.iter().position(String::is_empty) {
            return Err(Invalid(format!("piece {id} is empty")));
        }
        check_distinct(&texts)?;
        let ids: HashMap<String, u32> = texts.iter().cloned().zip(0..).collect();
        let special = |role: usize| {
            if let Some(&id) = ids.get(names[role]) {
                return Ok(id);
            }
            let found: Vec<&str> =
                NAMES[role].iter().copied().filter(|name| ids.contains_key(*name)).collect();
            match found[..] {
                [name] => Ok(ids[name]),
                [] => {
                    let name = if names[role].is_empty() { NAMES[role][0] } else { names[role] };
                    Err(Invalid(format!(
                        "it lacks the piece {name}; ALBERT needs five special pieces in its vocabulary: padding, \
                         unknown, [CLS], [SEP] and [MASK]"
                    )))
                }
                _ => Err(Invalid(format!(
                    "it has {} and lacks {}: which of them is meant is not clear",
                    found.join(" and "),
                    names[role]
                ))),
            }
        };
        let special = SpecialTokens {
            pad: special(0)?,
            unknown: special(1)?,
            classification: special(2)?,
            separator: special(3)?,
            mask: special(4)?,
        };
        let mut distinct = special.ids();
        distinct.sort_unstable();
        if distinct.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Invalid(format!("two of its special pieces are one: ids {:?}", special.ids())));
        }
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

/// Refuses a text that stands twice in a vocabulary.
pub(super) fn check_distinct(texts: &[impl AsRef<str>]) -> Result<(), Invalid> {
    let mut places = HashMap::with_capacity(texts.len());
    for (id, text) in texts.iter().enumerate() {
        if let Some(first) = places.insert(text.as_ref(), id) {
            return Err(Invalid(format!("pieces {first} and {id} are both {:?}", text.as_ref())));
        }
    }
    Ok(())
}
