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
    pub fn new(
        pieces: Vec<Piece>,
        preprocess: Preprocess,
        normalizer: Normalizer,
        style: Style,
    ) -> Result<Self, Invalid> {
        let texts = pieces.iter().map(|piece| piece.text.clone()).collect();
        let vocabulary = Vocabulary::new(texts, SPECIAL)?;
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
        let mut unigram = Self {
            pieces,
            vocabulary,
            preprocess,
            normalizer,
            style,
            segmenter,
            symbols,
            words_are_separate,
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

    /// Splits normalised text before each `▁` and around each user-defined piece.
    fn split(&self, normalized: &str, mut visit: impl FnMut(&str)) {
        let mut start = 0;
        let mut skip_to = 0;
        for (i, c) in normalized.char_indices() {
            if i < skip_to {
                continue;
            }
            if let Some(length) = self.symbols.prefix(&normalized[i..]) {
                if start < i {
                    visit(&normalized[start..i]);
                }
                visit(&normalized[i..i + length]);
                start = i + length;
                skip_to = start;
            } else if c == SPACE && self.words_are_separate && start < i {
                visit(&normalized[start..i]);
                start = i;
            }
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

/// More than a digit alone, and a comma at the end behind a digit.
pub(super) fn is_digit_comma(piece: &str) -> bool {
    piece.strip_suffix(',').and_then(|rest| rest.chars().next_back()).is_some_and(is_digit)
}

/// The first of the five or six restrictions that masking puts on pieces: whether one starts a word (spec:
/// the reference's start-piece test). It begins with `▁` or `<`, is one of the listed marks by itself, or has
/// any character besides the letters a to z and those marks. The apostrophe, `=`, `>` and all digits are
/// not among the marks.
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
