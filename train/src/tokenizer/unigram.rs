//! Sentencepiece unigram vocabularies with ALBERT's treatment of text around them.

use super::Style;
use super::error::Invalid;
use super::normalizer::{Normalizer, SPACE};
use super::preprocess::{Preprocess, is_digit};
use super::vocabulary::{Kind, Piece, Vocabulary};
use std::collections::HashMap;
use tokenizers::Model;
use tokenizers::models::unigram::Unigram as Segmenter;

/// Names of the special pieces, in the order of `SpecialTokens`.
pub(super) const SPECIAL: [&str; 5] = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"];

/// Everything that determines the ids of a text.
#[derive(Debug)]
pub(super) struct Unigram {
    pub pieces: Vec<Piece>,
    pub vocabulary: Vocabulary,
    pub preprocess: Preprocess,
    pub normalizer: Normalizer,
    pub style: Style,
    segmenter: Segmenter,
    symbols: Symbols,
    /// No piece crosses a space, so that words can be looked at one by one.
    pub words_are_separate: bool,
    cuts: Cuts,
    /// Pieces like `▁2014,` and what the reference puts in their place.
    digit_comma: HashMap<u32, Vec<u32>>,
}

/// The two strings on the way from text to words; kept to save allocations.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    prepared: String,
    normalized: String,
}

impl Unigram {
    /// The special pieces become control pieces whatever `pieces` calls them.
    pub fn new(
        mut pieces: Vec<Piece>,
        preprocess: Preprocess,
        normalizer: Normalizer,
        style: Style,
    ) -> Result<Self, Invalid> {
        let texts = pieces.iter().map(|piece| piece.text.clone()).collect();
        let vocabulary = Vocabulary::new(texts, SPECIAL)?;
        for id in vocabulary.special.ids() {
            pieces[id as usize].kind = Kind::Control;
        }
        pieces[vocabulary.special.unknown as usize].kind = Kind::Unknown;
        if let Some(piece) = pieces.iter().find(|piece| !piece.score.is_finite()) {
            return Err(Invalid(format!("the score of piece {:?} is {}", piece.text, piece.score)));
        }
        // What text must never become gets an empty string: no prefix of any text.
        let segments = |piece: &Piece| match piece.kind {
            Kind::Normal | Kind::UserDefined => (piece.text.clone(), f64::from(piece.score)),
            Kind::Unknown | Kind::Control | Kind::Unused => (String::new(), 0.0),
        };
        let unknown = Some(vocabulary.special.unknown as usize);
        let mut segmenter = Segmenter::from(pieces.iter().map(segments).collect(), unknown, false)
            .map_err(|e| Invalid(e.to_string()))?;
        segmenter.resize_cache(0); // words are remembered by the encoder
        let words_are_separate = vocabulary.id("▁").is_some()
            && !pieces.iter().any(|piece| piece.text.chars().skip(1).any(|c| c == SPACE));
        let symbols = Symbols::new(&pieces);
        let cuts = Cuts::new(&pieces);
        let mut unigram = Self {
            pieces,
            vocabulary,
            preprocess,
            normalizer,
            style,
            segmenter,
            symbols,
            words_are_separate,
            cuts,
            digit_comma: HashMap::new(),
        };
        unigram.digit_comma = unigram.digit_comma_table();
        Ok(unigram)
    }

    /// Calls `visit` with each stretch of the text that [`segment`](Self::segment) can treat by itself.
    pub fn for_each_word(&self, text: &str, buffers: &mut Buffers, visit: impl FnMut(&str)) {
        let Buffers { prepared, normalized } = buffers;
        self.preprocess.apply(text, prepared);
        self.normalizer.apply(prepared, |rest| self.symbols.prefix(rest), normalized);
        self.split(normalized, visit);
    }

    /// Splits normalised text where no segmentation can differ: before each `▁`, around each user-defined piece,
    /// between characters that stand together in no piece.
    fn split(&self, normalized: &str, mut visit: impl FnMut(&str)) {
        let mut start = 0;
        let mut symbol_end = 0;
        let mut before = '\0';
        for (i, c) in normalized.char_indices() {
            if i < symbol_end {
                continue;
            }
            let symbol = self.symbols.prefix(&normalized[i..]);
            let word_begins = c == SPACE && self.words_are_separate;
            if start < i && (symbol.is_some() || word_begins || self.cuts.between(before, c)) {
                visit(&normalized[start..i]);
                start = i;
            }
            if let Some(length) = symbol {
                symbol_end = i + length;
                visit(&normalized[i..symbol_end]);
                start = symbol_end;
            }
            before = c;
        }
        if start < normalized.len() {
            visit(&normalized[start..]);
        }
    }

    /// Appends the ids of one word: the likeliest segmentation, with the digit-comma rule applied.
    pub fn segment(&self, word: &str, ids: &mut Vec<u32>) {
        let start = ids.len();
        self.segment_plainly(word, ids);
        if !self.digit_comma.is_empty() && ids[start..].iter().any(|id| self.digit_comma.contains_key(id)) {
            let plain = ids.split_off(start);
            for id in plain {
                match self.digit_comma.get(&id) {
                    Some(instead) => ids.extend(instead),
                    None => ids.push(id),
                }
            }
        }
    }

    fn segment_plainly(&self, word: &str, ids: &mut Vec<u32>) {
        if self.symbols.prefix(word) == Some(word.len()) {
            ids.extend(self.vocabulary.id(word));
            return;
        }
        let tokens =
            self.segmenter.tokenize(word).expect("with an unknown piece every text has a segmentation");
        ids.extend(tokens.into_iter().map(|token| token.id));
    }

    /// The reference takes a piece that ends in a digit and a comma apart: the piece without its comma and
    /// without `▁` is encoded anew, then the comma follows. Encoding anew puts a `▁` in front also where the
    /// piece had none; the reference means to remove it but never does, transformers does.
    fn digit_comma_table(&self) -> HashMap<u32, Vec<u32>> {
        let mut table = HashMap::new();
        for (id, piece) in (0..).zip(&self.pieces) {
            if piece.kind != Kind::Normal || !is_digit_comma(&piece.text) {
                continue;
            }
            let rest = piece.text[..piece.text.len() - 1].replace(SPACE, "");
            let mut normalized = String::new();
            self.normalizer.apply(&rest, |rest| self.symbols.prefix(rest), &mut normalized);
            let mut ids = Vec::new();
            self.split(&normalized, |word| self.segment_plainly(word, &mut ids));
            if self.style == Style::Transformers && !piece.text.starts_with(SPACE) {
                let first = ids.first().and_then(|&id| self.vocabulary.text(id)?.strip_prefix(SPACE));
                match first {
                    Some("") => drop(ids.remove(0)),
                    Some(bare) => ids[0] = self.id_or_unknown(bare),
                    None => {}
                }
            }
            ids.push(self.id_or_unknown(","));
            table.insert(id, ids);
        }
        table
    }

    fn id_or_unknown(&self, text: &str) -> u32 {
        self.vocabulary.id(text).unwrap_or(self.vocabulary.special.unknown)
    }

    /// Feeds everything that determines ids to a hash, part by part.
    pub fn fingerprint(&self, add: &mut impl FnMut(&[u8])) {
        let Preprocess { lower_case, keep_accents, plain_quotes } = self.preprocess;
        add(b"unigram");
        add(&[lower_case, keep_accents, plain_quotes].map(u8::from));
        match &self.normalizer {
            Normalizer::Identity => add(b"identity"),
            Normalizer::NmtNfkc => add(b"nmt_nfkc"),
            Normalizer::Charsmap(charsmap) => add(charsmap.bytes()),
        }
        for (id, piece) in (0..).zip(&self.pieces) {
            add(piece.text.as_bytes());
            add(&piece.score.to_le_bytes());
            add(&[piece.kind as u8]);
            for part in self.digit_comma.get(&id).into_iter().flatten() {
                add(&part.to_le_bytes());
            }
        }
    }

    /// Joins pieces to text; control pieces stand between spaces.
    pub fn decode<'a>(&'a self, ids: impl Iterator<Item = Option<&'a Piece>>) -> String {
        let mut text = String::new();
        let mut after_control = false;
        for piece in ids {
            let (piece, control) = match piece {
                Some(piece) => (piece.text.as_str(), matches!(piece.kind, Kind::Control | Kind::Unknown)),
                None => (SPECIAL[1], true),
            };
            if control {
                text.push(' ');
                text.push_str(piece);
            } else {
                if after_control && !piece.starts_with(SPACE) {
                    text.push(' ');
                }
                text.extend(piece.chars().map(|c| if c == SPACE { ' ' } else { c }));
            }
            after_control = control;
        }
        if text.starts_with(' ') { text.split_off(1) } else { text }
    }
}

/// Whether a piece ends in a digit and a comma.
pub(super) fn is_digit_comma(piece: &str) -> bool {
    piece.strip_suffix(',').and_then(|rest| rest.chars().next_back()).is_some_and(is_digit)
}

/// The reference's start-piece test: whether a piece begins with `▁` or `<`, is one mark by itself, or has any
/// character besides ASCII letters and marks. The apostrophe, `=`, `>` and digits are not among the marks.
pub(super) fn starts_word(piece: &str) -> bool {
    const MARKS: &str = "!\"#$%&()*+,-./:;?@[\\]^_`{|}~";
    let is_mark = |c| MARKS.contains(c);
    let mut chars = piece.chars();
    let alone = matches!((chars.next(), chars.next()), (Some(c), None) if is_mark(c));
    alone || piece.starts_with([SPACE, '<']) || piece.chars().any(|c| !c.is_ascii_alphabetic() && !is_mark(c))
}

/// The user-defined pieces, found at the start of a text.
#[derive(Debug)]
struct Symbols {
    /// Longest first.
    symbols: Vec<String>,
    /// Whether any begins with this byte: a cheap way to say no.
    first_bytes: [bool; 256],
}

impl Symbols {
    fn new(pieces: &[Piece]) -> Self {
        let mut symbols: Vec<_> = pieces
            .iter()
            .filter(|piece| piece.kind == Kind::UserDefined)
            .map(|piece| piece.text.clone())
            .collect();
        symbols.sort_by_key(|symbol| std::cmp::Reverse(symbol.len()));
        let mut first_bytes = [false; 256];
        for symbol in &symbols {
            first_bytes[usize::from(symbol.as_bytes()[0])] = true;
        }
        Self { symbols, first_bytes }
    }

    /// Length in bytes of the longest user-defined piece that `text` starts with.
    fn prefix(&self, text: &str) -> Option<usize> {
        if !self.first_bytes[usize::from(*text.as_bytes().first()?)] {
            return None;
        }
        self.symbols.iter().find(|symbol| text.starts_with(symbol.as_str())).map(String::len)
    }
}

/// The pairs of ASCII characters between which every segmentation has a border: both are pieces, so that neither
/// becomes part of an unknown stretch, and no piece has them side by side. Shorter words are met again sooner.
#[derive(Debug)]
struct Cuts([u128; 128]);

impl Cuts {
    fn new(pieces: &[Piece]) -> Self {
        let normal =
            || pieces.iter().filter(|piece| piece.kind == Kind::Normal).map(|piece| piece.text.as_bytes());
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

    fn between(&self, before: char, after: char) -> bool {
        before.is_ascii() && after.is_ascii() && self.0[before as usize] >> (after as u32) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ALBERT's special pieces, "(" to the left of everything else, and normal pieces of falling score.
    fn unigram(normal: &[&str], style: Style) -> Unigram {
        let piece = |text: &str, score, kind| Piece { text: text.to_owned(), score, kind };
        let mut pieces: Vec<_> = SPECIAL.iter().map(|name| piece(name, 0.0, Kind::Control)).collect();
        pieces.push(piece("(", 0.0, Kind::UserDefined));
        pieces.extend((1..).zip(normal).map(|(rank, text)| piece(text, -(rank as f32), Kind::Normal)));
        let preprocess = Preprocess { lower_case: false, keep_accents: false, plain_quotes: false };
        Unigram::new(pieces, preprocess, Normalizer::Identity, style).unwrap()
    }

    fn pieces(unigram: &Unigram, text: &str) -> String {
        let mut ids = Vec::new();
        unigram.for_each_word(text, &mut Buffers::default(), |word| unigram.segment(word, &mut ids));
        ids.iter().map(|&id| unigram.vocabulary.text(id).unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn start_pieces() {
        for piece in
            ["▁the", "'", "'s", "n't", ",", "9", "2009,", "é", "▁", "<unk>", "(", ")", "=", "–", "£", "don't"]
        {
            assert!(starts_word(piece), "{piece}");
        }
        for piece in ["ing", "...", "--", "[MASK]", "x", "ext", "t", "U.S"] {
            assert!(!starts_word(piece), "{piece}");
        }
    }

    #[test]
    fn digit_comma() {
        let normal = ["▁", ",", "12", "/", "▁31", "/12,", "▁x", "▁2014,", "▁2014", "▁12", "31"];
        let reference = unigram(&normal, Style::Reference);
        assert_eq!(pieces(&reference, "31/12, x"), "▁31 ▁ / 12 , ▁x");
        assert_eq!(pieces(&reference, "2014, x"), "▁2014 , ▁x");
        let transformers = unigram(&normal, Style::Transformers);
        assert_eq!(pieces(&transformers, "31/12, x"), "▁31 / 12 , ▁x");
        assert_eq!(pieces(&transformers, "2014, x"), "▁2014 , ▁x");
        // The leading "▁" is removed from a piece just as it is dropped alone.
        let normal = ["▁", ",", "12,", "▁12", "a"];
        assert_eq!(pieces(&unigram(&normal, Style::Reference), "a12,"), "▁ a ▁12 ,");
        assert_eq!(pieces(&unigram(&normal, Style::Transformers), "a12,"), "▁ a <unk> ,");
        assert!(
            !is_digit_comma(",") && !is_digit_comma("a,") && !is_digit_comma("1") && is_digit_comma("²,")
        );
    }

    #[test]
    fn no_special_piece_from_text() {
        let unigram = unigram(&["▁", "[", "]", "M"], Style::Reference);
        assert_eq!(pieces(&unigram, "[MASK] <pad>[CLS]"), "▁ [ M <unk> ] ▁ <unk> [ <unk> ]");
    }

    #[test]
    fn unknown_stretches_are_one_piece_within_a_word() {
        let unigram = unigram(&["▁", "a", ","], Style::Reference);
        assert_eq!(pieces(&unigram, "漢字😀 漢,字 a(b(a"), "▁ <unk> ▁ <unk> , <unk> ▁ a ( <unk> ( a");
        assert_eq!(pieces(&unigram, ""), "");
        assert_eq!(pieces(&unigram, "  "), "");
    }

    /// Pieces may cross spaces in vocabularies trained otherwise: then a text is one word.
    #[test]
    fn pieces_across_spaces() {
        let unigram = unigram(&["▁a▁b", "▁", "a", "b", "▁b"], Style::Reference);
        assert_eq!(pieces(&unigram, "a b a  b(b"), "▁a▁b ▁a▁b ( b");
    }

    /// Cutting words into parts must not change any segmentation.
    #[test]
    fn cuts_are_where_every_segmentation_has_a_border() {
        let unigram = unigram(&["▁", "a", "b", ",", "ab", "b,", "▁a"], Style::Reference);
        assert!(unigram.cuts.between(',', 'a') && unigram.cuts.between('b', 'a'));
        assert!(!unigram.cuts.between('a', 'b') && !unigram.cuts.between('b', ','), "a piece has both");
        assert!(!unigram.cuts.between('a', 'c') && !unigram.cuts.between('c', 'c'), "unknown");
        assert!(!unigram.cuts.between('a', 'é') && !unigram.cuts.between('é', 'a'));
    }

    #[test]
    fn vocabularies_that_cannot_be() {
        let preprocess = Preprocess { lower_case: true, keep_accents: false, plain_quotes: false };
        let reject = |texts: &[&str], score| {
            let pieces = texts.iter().map(|&text| Piece { text: text.to_owned(), score, kind: Kind::Normal });
            let unigram = Unigram::new(pieces.collect(), preprocess, Normalizer::Identity, Style::Reference);
            unigram.unwrap_err().to_string()
        };
        assert!(reject(&["<pad>", "<unk>", "[CLS]", "[SEP]"], -1.0).contains("[MASK]"));
        assert!(reject(&[], -1.0).contains("<pad>"));
        assert!(reject(&[SPECIAL.as_slice(), &["a", "a"]].concat(), -1.0).contains("both \"a\""));
        assert!(reject(&[SPECIAL.as_slice(), &[""]].concat(), -1.0).contains("empty"));
        assert!(reject(&SPECIAL, f32::NAN).contains("NaN"));
    }
}
