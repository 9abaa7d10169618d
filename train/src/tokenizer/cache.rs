//! The segmentations of the words seen lately.

use std::collections::HashMap;
use std::ops::Range;

/// Bounded: it starts afresh when full, which costs little since a text's common words are back at once.
#[derive(Debug, Default)]
pub(super) struct WordCache {
    words: HashMap<Box<str>, Entry>,
    ids: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    ids: Range<u32>,
    path: Range<u32>,
    lead: f32,
}

/// What is remembered of a word.
#[derive(Clone, Copy)]
pub(super) struct Remembered<'c> {
    pub ids: &'c [u32],
    /// Its pieces before any rule changed them.
    pub path: &'c [u32],
    /// How much more likely they are than any others; rounded down.
    pub lead: f64,
}

impl WordCache {
    const MAX_WORDS: usize = 1 << 17;
    /// Longer words are rarely seen twice.
    const MAX_BYTES: usize = 64;

    pub fn get(&self, word: &str) -> Option<Remembered<'_>> {
        let entry = self.words.get(word)?;
        let slice = |range: &Range<u32>| &self.ids[range.start as usize..range.end as usize];
        Some(Remembered { ids: slice(&entry.ids), path: slice(&entry.path), lead: f64::from(entry.lead) })
    }

    pub fn insert(&mut self, word: &str, remembered: Remembered<'_>) {
        if word.len() > Self::MAX_BYTES {
            return;
        }
        if self.words.len() == Self::MAX_WORDS {
            self.words.clear();
            self.ids.clear();
        }
        let mut add = |slice: &[u32]| {
            let start = self.ids.len() as u32;
            self.ids.extend_from_slice(slice);
            start..self.ids.len() as u32
        };
        let ids = add(remembered.ids);
        // Nearly always the same.
        let path = if remembered.path == remembered.ids { ids.clone() } else { add(remembered.path) };
        let lead = (remembered.lead as f32).next_down();
        self.words.insert(word.into(), Entry { ids, path, lead });
    }
}
