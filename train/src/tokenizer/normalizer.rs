//! Sentencepiece's own normalisation: character rules, then white space to `▁`.

use super::error::Invalid;
use super::limits::check_replacement;
use unicode_normalization::UnicodeNormalization;

/// U+2581, which stands for a space in pieces.
pub(super) const SPACE: char = '▁';

/// From prepared text to what the vocabulary is matched against.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Normalizer {
    /// Characters stay as they are.
    Identity,
    /// Sentencepiece's `nmt_nfkc` by definition: control characters dropped, odd spaces to spaces, NFKC.
    NmtNfkc,
    /// The table in a model file.
    Charsmap(Charsmap),
}

impl Normalizer {
    /// Replaces the content of `out` by `text`, normalised: the character rules, runs of spaces to one, outer
    /// spaces away, then `▁` in front and for every space. `keep` gives the length of a user-defined piece at
    /// the start of its argument: those pass the character rules unchanged.
    pub fn apply(&self, text: &str, keep: impl Fn(&str) -> Option<usize>, out: &mut String) {
        let mapped: Option<String> = match self {
            Self::Identity => None,
            Self::NmtNfkc if text.bytes().all(|b| matches!(b, b' '..=b'~')) => None,
            Self::NmtNfkc => Some(text.chars().filter_map(nmt).nfkc().collect()),
            Self::Charsmap(charsmap) => Some(charsmap.apply(text, keep)),
        };
        out.clear();
        for word in mapped.as_deref().unwrap_or(text).split(' ').filter(|word| !word.is_empty()) {
            out.push(SPACE);
            out.push_str(word);
        }
    }
}

/// The character map of machine translation that sentencepiece applies before NFKC.
fn nmt(c: char) -> Option<char> {
    match c {
        '\u{1}'..='\u{8}' | '\u{B}' | '\u{E}'..='\u{1F}' | '\u{7F}' | '\u{8F}' | '\u{9F}' => None,
        '\t' | '\n' | '\u{C}' | '\r' | '\u{1680}' | '\u{200B}'..='\u{200F}' | '\u{2028}' | '\u{2029}' => {
            Some(' ')
        }
        SPACE | '\u{FEFF}' | '\u{FFFD}' => Some(' '),
        c => Some(c),
    }
}

/// A `precompiled_charsmap`: u32 size of a trie in bytes, the trie as a double array of u32 (the layout of
/// darts-clone), then replacement strings, each ended by NUL. All little-endian.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Charsmap {
    bytes: Vec<u8>,
    trie: Vec<u32>,
    replacements: String,
}

impl Charsmap {
    /// Checks the whole table: nothing that a text leads to lies outside of it, and no replacement is long.
    pub fn new(bytes: Vec<u8>) -> Result<Self, Invalid> {
        let (trie, replacements) = bytes
            .split_first_chunk::<4>()
            .and_then(|(size, rest)| rest.split_at_checked(u32::from_le_bytes(*size) as usize))
            .ok_or_else(|| Invalid::new("its character map is truncated"))?;
        let trie = trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        let trie = trie.collect();
        let replacements = std::str::from_utf8(replacements)
            .map_err(|_| Invalid::new("its character map is not UTF-8"))?
            .to_owned();
        replacements.split('\0').try_for_each(check_replacement)?;
        let charsmap = Self { trie, replacements, bytes };
        if charsmap.is_whole() { Ok(charsmap) } else { Err(Invalid::new("its character map is damaged")) }
    }

    /// Whether every path from the root stays within the table, and every rule leads to a replacement.
    fn is_whole(&self) -> bool {
        let Some(&root) = self.trie.first() else { return false };
        let mut seen = vec![false; self.trie.len()];
        let mut states = vec![offset(root)];
        while let Some(state) = states.pop() {
            if (state | 0xFF) >= self.trie.len() {
                return false;
            }
            if std::mem::replace(&mut seen[state], true) {
                continue;
            }
            for byte in 1..=0xFF {
                let node = state ^ byte;
                let unit = self.trie[node];
                if unit & (1 << 31 | 0xFF) != byte as u32 {
                    continue;
                }
                let next = node ^ offset(unit);
                if unit >> 8 & 1 == 1 {
                    let start = self.trie.get(next).map(|leaf| (leaf & !(1 << 31)) as usize);
                    if start.is_none_or(|start| !self.replacements.is_char_boundary(start)) {
                        return false;
                    }
                }
                states.push(next);
            }
        }
        true
    }

    /// The table as it stands in the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn apply(&self, text: &str, keep: impl Fn(&str) -> Option<usize>) -> String {
        let mut out = String::with_capacity(text.len() + 8);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (length, replacement) = match keep(rest) {
                Some(length) => (length, &rest[..length]),
                None => self.longest_prefix(rest).unwrap_or_else(|| (c.len_utf8(), &rest[..c.len_utf8()])),
            };
            out.push_str(replacement);
            rest = &rest[length..];
        }
        out
    }

    /// The longest prefix of `text` that has a rule: its length in bytes and its replacement.
    /// A damaged table (an index outside, a split character) is as good as no rule.
    fn longest_prefix(&self, text: &str) -> Option<(usize, &str)> {
        let mut found = None;
        let mut unit = *self.trie.first()?;
        let mut node = offset(unit);
        for (i, &byte) in text.as_bytes().iter().enumerate() {
            node ^= usize::from(byte);
            let Some(&next) = self.trie.get(node) else { break };
            unit = next;
            if unit & (1 << 31 | 0xFF) != u32::from(byte) || byte == 0 {
                break;
            }
            node ^= offset(unit);
            let has_leaf = unit >> 8 & 1 == 1;
            if has_leaf && let Some(leaf) = self.trie.get(node) {
                found = Some((i + 1, leaf & !(1 << 31)));
            }
        }
        let (length, start) = found?;
        let replacement = self.replacements.get(start as usize..)?;
        if !text.is_char_boundary(length) {
            return None;
        }
        Some((length, &replacement[..replacement.find('\0').unwrap_or(replacement.len())]))
    }
}

/// Where the children of a trie unit are, relative to it.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A table with the rules a → "A", aé → "" and b → " ": a double array laid out by hand.
    pub(in crate::tokenizer) fn charsmap() -> Vec<u8> {
        let mut trie = [0u32; 1024];
        let mut state = |from: usize, byte: u8, offset: u32, value: Option<u32>| {
            let node = from ^ usize::from(byte);
            trie[node] = u32::from(byte) | offset << 10 | u32::from(value.is_some()) << 8;
            let children = node ^ offset as usize;
            if let Some(value) = value {
                trie[children] = value | 1 << 31;
            }
            children
        };
        let root = state(0, 0, 0x100, None);
        let a = state(root, b'a', 0x200, Some(0));
        state(root, b'b', 0x80, Some(3));
        let c3 = state(a, 0xC3, 0x100, None);
        state(c3, 0xA9, 0x40, Some(2));
        let mut bytes = (4 * trie.len() as u32).to_le_bytes().to_vec();
        bytes.extend(trie.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(b"A\0\0 \0");
        bytes
    }

    fn apply(normalizer: &Normalizer, text: &str) -> String {
        let mut out = String::from("left over");
        normalizer.apply(text, |rest| rest.starts_with("aa").then_some(2), &mut out);
        out
    }

    #[test]
    fn the_longest_rule_wins() {
        let normalizer = Normalizer::Charsmap(Charsmap::new(charsmap()).unwrap());
        for (text, expected) in
            [("axaé", "▁Ax"), ("b xb bya", "▁x▁yA"), ("aaaé", "▁aa"), ("é", "▁é"), ("bb", ""), ("", "")]
        {
            assert_eq!(apply(&normalizer, text), expected, "{text:?}");
        }
    }

    #[test]
    fn nmt_nfkc() {
        for (text, expected) in [
            ("a  b ", "▁a▁b"),
            ("a\u{200b}b\u{1}c\u{ad}", "▁a▁bc\u{ad}"),
            ("e\u{301} ｶ\u{3099} ▁x", "▁é▁ガ▁x"),
            ("\u{1112}\u{1161}\u{11ab}", "▁한"),
        ] {
            assert_eq!(apply(&Normalizer::NmtNfkc, text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_damaged_table_is_an_error_or_has_no_rule() {
        let whole = charsmap();
        for length in 0..4 * 1024 {
            assert!(Charsmap::new(whole[..length].to_vec()).is_err(), "{length}");
        }
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(charsmap) = Charsmap::new(flipped) {
                apply(&Normalizer::Charsmap(charsmap), "aé b aé\u{10FFFF}");
            }
        }
    }
}
