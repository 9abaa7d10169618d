//! Where normalised text can be cut so that no segmentation changes: around user-defined pieces, and between characters that stand together
//! in no piece.

use std::collections::{HashMap, HashSet};

use super::vocabulary::{Kind, Piece};

/// The user-defined pieces, found at the start of a text.
#[derive(Debug)]
pub(super) struct Symbols {
    /// Longest first; and whether it is isolated: none of its characters is in any other piece.
    symbols: Vec<(String, bool)>,
    /// Whether any begins with this byte: a cheap way to say no.
    first_bytes: [bool; 256],
}

impl Symbols {
    pub fn new(pieces: &[Piece]) -> Self {
        let mut uses: HashMap<char, usize> = HashMap::new();
        let distinct = |text: &str| text.chars().collect::<HashSet<char>>();
        for piece in pieces.iter().filter(|piece| matches!(piece.kind, Kind::Normal | Kind::UserDefined)) {
            for c in distinct(&piece.text) {
                *uses.entry(c).or_default() += 1;
            }
        }
        let mut symbols: Vec<_> = pieces
            .iter()
            .filter(|piece| piece.kind == Kind::UserDefined)
            .map(|piece| (piece.text.clone(), piece.text.chars().all(|c| uses[&c] == 1)))
            .collect();
        symbols.sort_by_key(|(symbol, _)| std::cmp::Reverse(symbol.len()));
        let mut first_bytes = [false; 256];
        for (symbol, _) in &symbols {
            first_bytes[usize::from(symbol.as_bytes()[0])] = true;
        }
        Self { symbols, first_bytes }
    }

    /// Length in bytes of the longest user-defined piece that `text` starts with.
    pub fn prefix(&self, text: &str) -> Option<usize> {
        self.find(text, |_| true)
    }

    /// The same of those only that are isolated.
    pub fn isolated_prefix(&self, text: &str) -> Option<usize> {
        self.find(text, |isolated| isolated)
    }

    fn find(&self, text: &str, wanted: impl Fn(bool) -> bool) -> Option<usize> {
        if !self.first_bytes[usize::from(*text.as_bytes().first()?)] {
            return None;
        }
        let mut found = self
            .symbols
            .iter()
            .filter(|(symbol, isolated)| wanted(*isolated) && text.starts_with(symbol.as_str()));
        found.next().map(|(symbol, _)| symbol.len())
    }
}

/// The pairs of ASCII characters between which every segmentation has a border: both are pieces, so that neither
/// becomes part of an unknown stretch, and no piece has them side by side. Shorter words are met again sooner.
#[derive(Debug)]
pub(super) struct Cuts([u128; 128]);

impl Cuts {
    pub fn new(pieces: &[Piece]) -> Self {
        let found = |piece: &&Piece| matches!(piece.kind, Kind::Normal | Kind::UserDefined);
        let normal = || pieces.iter().filter(found).map(|piece| piece.text.as_bytes());
        let known = normal().filter(|text| text.len() == 1).fold(0u128, |known, text| known | 1 << text[0]);
        let mut cuts = [0; 128];
        for (c, row) in cuts.iter_mut().enumerate() {
            *row = if known >> c & 1 == 1 { known } else { 0 };
        }
        for pair in normal().flat_map(|text| text.windows(2)).filter(|pair| pair.is_ascii()) {
            cuts[usize::from(pair[0])] &= !(1 << pair[1]);
        }
        Self(cuts)
    }

    pub fn between(&self, before: char, after: char) -> bool {
        before.is_ascii() && after.is_ascii() && self.0[before as usize] >> (after as u32) & 1 == 1
    }
}
