//! What a vocabulary is like: the scripts of its pieces, and how it fares on a text.

use super::Tokenizer;
use std::collections::{BTreeMap, HashMap};
use unicode_script::{Script, UnicodeScript};

/// How a text is covered by a vocabulary.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coverage {
    /// Characters that are no white space.
    pub characters: u64,
    /// Stretches between white space.
    pub words: u64,
    /// Pieces that the text becomes.
    pub pieces: u64,
    /// How many of these are the unknown piece.
    pub unknown: u64,
    /// The characters that become unknown even by themselves, with their number in the text; most frequent first.
    pub missing: Vec<(char, u64)>,
}

impl Coverage {
    /// Pieces for each word.
    pub fn pieces_per_word(&self) -> f64 {
        self.pieces as f64 / self.words.max(1) as f64
    }

    /// Pieces for each character.
    pub fn pieces_per_character(&self) -> f64 {
        self.pieces as f64 / self.characters.max(1) as f64
    }

    /// The share of unknown pieces.
    pub fn unknown_share(&self) -> f64 {
        self.unknown as f64 / self.pieces.max(1) as f64
    }
}

impl Tokenizer {
    /// How many pieces are of which script, most first. A piece counts for the script of its first letter; one without any
    /// letter is of none and counts as "digits and marks".
    pub fn scripts(&self) -> Vec<(&'static str, usize)> {
        let special = self.special().ids();
        let mut counts = BTreeMap::new();
        for id in (0..self.vocabulary_size() as u32).filter(|id| !special.contains(id)) {
            let letters = self.piece(id).unwrap_or_default().chars().filter(|c| c.is_alphabetic());
            let script =
                letters.map(|c| c.script()).find(|s| !matches!(s, Script::Common | Script::Inherited));
            *counts.entry(script.map_or("digits and marks", |script| script.full_name())).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts
    }

    /// How this vocabulary covers a text, given line by line.
    pub fn coverage(&self, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Coverage {
        let unknown = self.special().unknown;
        let (mut coverage, mut encoder, mut ids) = (Coverage::default(), self.encoder(), Vec::new());
        let mut characters: HashMap<char, u64> = HashMap::new();
        for line in lines {
            let line = line.as_ref();
            ids.clear();
            encoder.encode(line, &mut ids);
            coverage.pieces += ids.len() as u64;
            coverage.unknown += ids.iter().filter(|&&id| id == unknown).count() as u64;
            coverage.words += line.split_whitespace().count() as u64;
            for c in line.chars().filter(|c| !c.is_whitespace()) {
                *characters.entry(c).or_default() += 1;
            }
        }
        coverage.characters = characters.values().sum();
        let alone = |c: char| self.encode(c.encode_utf8(&mut [0; 4])).contains(&unknown);
        coverage.missing = characters.into_iter().filter(|&(c, _)| alone(c)).collect();
        coverage.missing.sort_unstable_by_key(|&(c, count)| (std::cmp::Reverse(count), c));
        coverage
    }
}

#[cfg(test)]
mod tests {
    use super::super::TrainOptions;
    use super::*;

    #[test]
    fn a_text_is_counted() {
        let options = TrainOptions { vocabulary_size: 27, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(["ab ab ба ба ба 12 漢字"; 9], &options).unwrap();
        let scripts = tokenizer.scripts();
        let count = |script: &str| scripts.iter().find(|(name, _)| *name == script).map(|(_, count)| *count);
        assert!(
            count("Latin") >= Some(2) && count("Cyrillic") >= Some(2) && count("Han") >= Some(2),
            "{scripts:?}"
        );
        assert_eq!(scripts.iter().map(|(_, count)| count).sum::<usize>(), tokenizer.vocabulary_size() - 5);
        let coverage = tokenizer.coverage(["ab ж", "", "ж漢ж ы"]);
        let pieces = [tokenizer.encode("ab ж"), tokenizer.encode("ж漢ж ы")].concat();
        assert_eq!((coverage.characters, coverage.words), (7, 4));
        assert_eq!(coverage.pieces, pieces.len() as u64);
        assert_eq!(coverage.unknown, pieces.iter().filter(|&&id| id == 1).count() as u64);
        assert_eq!(coverage.missing, [('ж', 3), ('ы', 1)]);
        assert_eq!(coverage.pieces_per_word(), pieces.len() as f64 / 4.0);
    }
}
