//! Which pieces of the vocabulary begin a word.

use std::sync::Arc;

use crate::draws::Draws;

/// For each token id, whether it begins a word (`model/ALBERT.md`, Masking); the rest continue one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordStarts(Arc<[bool]>);

impl WordStarts {
    /// The table of a vocabulary of `size` pieces, from a rule on ids.
    pub fn new(size: usize, starts_word: impl Fn(u32) -> bool) -> Self {
        Self((0..size as u32).map(starts_word).collect())
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
