//! Which pieces of the vocabulary begin a word.

use std::sync::Arc;

use rayon::prelude::*;

use crate::data::shards::Corpus;
use crate::data::text::is_spaced_letter;
use crate::draws::Draws;
use crate::tokenizer::Tokenizer;

/// What a sentencepiece piece begins with that stands after a space.
const SPACE: char = '\u{2581}';

/// Whether a piece is the middle of a word: it has letters outside ASCII, of a script with spaces, and no space before it.
fn continues_word(piece: &str) -> bool {
    !piece.starts_with(SPACE) && piece.chars().any(|c| !c.is_ascii() && is_spaced_letter(c))
}

/// For each token id, whether it begins a word (`model/ALBERT.md`, Masking); the rest continue one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordStarts(Arc<[bool]>);

impl WordStarts {
    /// The table of a vocabulary of `size` pieces, from a rule on ids.
    pub fn new(size: usize, starts_word: impl Fn(u32) -> bool) -> Self {
        Self((0..size as u32).map(starts_word).collect())
    }

    /// That of a tokenizer by the reference's rule, by which every piece with a letter outside ASCII begins a word; or, if
    /// `by_space`, by where spaces stand in scripts that have them.
    pub fn of(tokenizer: &Tokenizer, by_space: bool) -> Self {
        Self::new(tokenizer.vocabulary_size(), |id| {
            tokenizer.starts_word(id) && !(by_space && tokenizer.piece(id).is_some_and(continues_word))
        })
    }

    /// The share of `corpus`'s tokens that begin a word by this rule and not by `other`.
    pub fn share_unlike(&self, other: &Self, corpus: &Corpus) -> f64 {
        let unlike = |&id: &u16| self.contains(id.into()) && !other.contains(id.into());
        let found: usize =
            corpus.shards().par_iter().map(|shard| shard.ids().iter().filter(|id| unlike(id)).count()).sum();
        found as f64 / corpus.tokens().max(1) as f64
    }

    /// The size of the vocabulary.
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether piece `id` begins a word.
    ///
    /// # Panics
    /// If the vocabulary has no such piece.
    pub fn contains(&self, id: u32) -> bool {
        self.0[id as usize]
    }

    /// A random place inside a sentence, at the beginning of a word where there is one.
    ///
    /// # Panics
    /// If the sentence has fewer than two tokens.
    pub(crate) fn divide(&self, sentence: &[u16], draws: &mut Draws) -> usize {
        let starts = || (1..sentence.len()).filter(|&place| self.contains(sentence[place].into()));
        match starts().count() {
            0 => 1 + draws.below(sentence.len() - 1),
            count => starts().nth(draws.below(count)).expect("one of those just counted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_script_begin_at_a_space() {
        for piece in ["работ", "ник", "ُه", "한", "ση", "é"] {
            assert!(continues_word(piece), "{piece}");
            assert!(!continues_word(&format!("{SPACE}{piece}")));
        }
        for piece in ["天气", "คำ", "ing", "2014", ",", "–", "[MASK]", "<unk>", "…"] {
            assert!(!continues_word(piece), "{piece}");
        }
    }
}
