//! The substrings of words that occur more than once, by sorting all places where one can begin.
//!
//! Of substrings that always stand together (`▁als`, `▁also`) only the longest is given, as a suffix tree has it.

use super::words::Words;
use rayon::prelude::*;
use std::cmp::{Ordering, Reverse};
use std::ops::Range;

/// The longest substring, `▁` included.
pub(super) const MAX_CHARS: usize = 16;

/// A substring with all its places.
#[derive(Debug, Clone)]
pub(super) struct Substring {
    /// Characters.
    pub length: u8,
    /// Occurrences, those in equal words included, times the length.
    pub mass: u64,
    /// Its places among the sorted ones.
    pub places: Range<u32>,
}

/// All places of a text, sorted by what begins there.
pub(super) struct SortedPlaces {
    pub places: Vec<u32>,
    /// Where the places of each character begin.
    first: Vec<u32>,
}

impl SortedPlaces {
    pub fn new(words: &Words) -> Self {
        let mut first = vec![0u32; words.alphabet.len() + 2];
        for &code in words.text.iter().filter(|&&code| code != 0) {
            first[usize::from(code) + 1] += 1;
        }
        for code in 1..first.len() {
            first[code] += first[code - 1];
        }
        let mut next = first.clone();
        let mut places = vec![0; words.text.len() - words.counts.len()];
        for (place, &code) in (0u32..).zip(&words.text).filter(|(_, code)| **code != 0) {
            let next = &mut next[usize::from(code)];
            places[*next as usize] = place;
            *next += 1;
        }
        let mut sorted = Self { places, first };
        let mut buckets = Vec::new();
        let mut rest = sorted.places.as_mut_slice();
        for code in 1..sorted.first.len() - 1 {
            let (bucket, after) = rest.split_at_mut((sorted.first[code + 1] - sorted.first[code]) as usize);
            buckets.push(bucket);
            rest = after;
        }
        buckets.par_iter_mut().for_each(|bucket| sort(words, bucket));
        sorted
    }

    /// Every character of the text, in the order of the alphabet.
    pub fn characters(&self, words: &Words) -> Vec<Substring> {
        let characters = (1..self.first.len() - 1).map(|code| {
            let places = self.first[code]..self.first[code + 1];
            let places_of = &self.places[places.start as usize..places.end as usize];
            let mass = places_of.iter().map(|&place| words.count_at(place)).sum();
            Substring { length: 1, mass, places }
        });
        characters.collect()
    }

    /// The `most` longer substrings of the greatest mass.
    pub fn substrings(&self, words: &Words, most: usize) -> Vec<Substring> {
        let mut found: Vec<Substring> = Vec::new();
        let codes: Vec<usize> = (1..self.first.len() - 1).collect();
        for codes in codes.chunks(64) {
            let parts: Vec<_> = codes.par_iter().map(|&code| self.substrings_of(words, code, most)).collect();
            found.extend(parts.into_iter().flatten());
            keep_greatest(&mut found, most);
        }
        found.sort_unstable_by_key(order);
        found
    }

    /// Those that begin with one character: the nodes of a suffix tree, from its leaves in their order.
    fn substrings_of(&self, words: &Words, code: usize, most: usize) -> Vec<Substring> {
        let bucket = self.first[code]..self.first[code + 1];
        let mut found = Vec::new();
        // Substrings that may go on, with where they begin among the places and what they weigh so far.
        let mut open: Vec<(usize, u32, u64)> = Vec::new();
        let mut close = |open: &mut Vec<(usize, u32, u64)>, shared: usize, end: u32| {
            let mut start = None;
            while let Some(&(length, from, count)) = open.last().filter(|(length, ..)| *length > shared) {
                open.pop();
                start = Some((from, count));
                if let Some(longer) = open.last_mut().filter(|(length, ..)| *length >= shared) {
                    longer.2 += count;
                }
                if length > 1 && count > 1 {
                    found.push(Substring {
                        length: length as u8,
                        mass: count * length as u64,
                        places: from..end,
                    });
                    if found.len() > 2 * most.max(1 << 16) {
                        keep_greatest(&mut found, most);
                    }
                }
            }
            start
        };
        let mut before: &[u16] = &[];
        for index in bucket.clone() {
            let place = self.places[index as usize];
            let text = words.at(place);
            let shared = before.iter().zip(text).take_while(|(a, b)| a == b).count();
            let closed = close(&mut open, shared, index);
            if open.last().is_none_or(|(length, ..)| *length < shared)
                && let Some((from, count)) = closed
            {
                open.push((shared, from, count));
            }
            match open.last_mut().filter(|(length, ..)| *length == text.len()) {
                Some(same) => same.2 += words.count_at(place),
                None => open.push((text.len(), index, words.count_at(place))),
            }
            before = text;
        }
        close(&mut open, 0, bucket.end);
        keep_greatest(&mut found, most);
        found
    }
}

/// By mass; then in a fixed order, so that what is cut off is determined.
fn order(substring: &Substring) -> (Reverse<u64>, u32, u8) {
    (Reverse(substring.mass), substring.places.start, substring.length)
}

fn keep_greatest(found: &mut Vec<Substring>, most: usize) {
    if found.len() > most {
        if most > 0 {
            found.select_nth_unstable_by_key(most - 1, order);
        }
        found.truncate(most);
    }
}

/// Sorts places that share their first character: by the next four at once, then by the rest.
fn sort(words: &Words, places: &mut [u32]) {
    let key = |place: u32| {
        let text = &words.at(place)[1..];
        (0..4).fold(0u64, |key, i| key << 16 | u64::from(text.get(i).copied().unwrap_or(0)))
    };
    let mut keyed: Vec<(u64, u32)> = places.iter().map(|&place| (key(place), place)).collect();
    let rest = |place: u32| words.at(place).get(5..).unwrap_or_default();
    keyed.par_sort_unstable_by(|a, b| match a.0.cmp(&b.0) {
        Ordering::Equal => rest(a.1).cmp(rest(b.1)).then(a.1.cmp(&b.1)),
        unequal => unequal,
    });
    places.iter_mut().zip(keyed).for_each(|(place, (_, sorted))| *place = sorted);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a count of all substrings, of which those go that are always followed by the same character.
        #[test]
        fn repeated_substrings(words in prop::collection::btree_map("[abc]{1,20}", 1..4u64, 1..12)) {
            let words: Vec<(String, u64)> = words.into_iter().collect();
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for (word, count) in &words {
                for start in 0..word.len() {
                    for end in start + 1..=word.len().min(start + MAX_CHARS) {
                        *counts.entry(&word[start..end]).or_default() += count;
                    }
                }
            }
            let goes_on = |text: &str, count: u64| {
                text.len() < MAX_CHARS
                    && ["a", "b", "c"].iter().any(|c| counts.get(format!("{text}{c}").as_str()) == Some(&count))
            };
            let expected: BTreeMap<String, u64> = counts
                .iter()
                .filter(|(text, count)| text.len() > 1 && **count > 1 && !goes_on(text, **count))
                .map(|(text, count)| ((*text).to_owned(), count * text.len() as u64))
                .collect();
            let coded = Words::new(&words);
            let sorted = SortedPlaces::new(&coded);
            let substrings = sorted.substrings(&coded, 1_000_000);
            let found: BTreeMap<String, u64> = substrings
                .iter()
                .map(|s| (coded.text_of(sorted.places[s.places.start as usize], s.length), s.mass))
                .collect();
            prop_assert_eq!(found.len(), substrings.len());
            prop_assert_eq!(found, expected);
            let few: Vec<u64> = sorted.substrings(&coded, 3).iter().map(|s| s.mass).collect();
            let all: Vec<u64> = substrings.iter().take(3).map(|s| s.mass).collect();
            prop_assert_eq!(few, all);
        }
    }
}
