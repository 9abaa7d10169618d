//! Sentencepiece unigram vocabularies with ALBERT's treatment of text around them.

use super::cache::{Remembered, WordCache};
use super::cuts::{Cuts, Symbols};
use super::error::Invalid;
use super::normalizer::{Normalizer, SPACE};
use super::preprocess::{Preprocess, is_digit};
use super::viterbi::{Segmentation, Viterbi};
use super::vocabulary::{Kind, Piece, Vocabulary};
use super::{Fingerprint, LoadOptions, Style};
use std::collections::HashMap;
use tokenizers::Model;
use tokenizers::models::unigram::Unigram as Segmenter;

/// Names of the special pieces, in the order of `SpecialTokens`.
pub(super) const SPECIAL: [&str; 5] = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"];

/// How the scores of pieces are added up, which decides between segmentations that are equally likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// In 32 bits from the beginning of the text: ids are those of the sentencepiece library.
    SentencePiece,
    /// In 64 bits from the beginning of the word: ids are those of the `tokenizers` library.
    Library,
}

/// What finds the likeliest segmentation of a word.
#[derive(Debug)]
enum Engine {
    SentencePiece(Viterbi),
    Library(Segmenter),
}

impl Engine {
    fn new(arithmetic: Arithmetic, pieces: &[Piece], unknown: u32) -> Result<Self, Invalid> {
        if arithmetic == Arithmetic::SentencePiece {
            return Ok(Self::SentencePiece(Viterbi::new(pieces, unknown)));
        }
        // What text must never become gets an empty string: no prefix of any text.
        let segments = |piece: &Piece| match piece.kind {
            Kind::Normal | Kind::UserDefined => (piece.text.clone(), piece.decimal_score()),
            Kind::Unknown | Kind::Control | Kind::Unused => (String::new(), 0.0),
        };
        let mut segmenter =
            Segmenter::from(pieces.iter().map(segments).collect(), Some(unknown as usize), false)
                .map_err(|e| Invalid(e.to_string()))?;
        segmenter.resize_cache(0); // words are remembered by the encoder
        Ok(Self::Library(segmenter))
    }

    fn arithmetic(&self) -> Arithmetic {
        match self {
            Self::SentencePiece(_) => Arithmetic::SentencePiece,
            Self::Library(_) => Arithmetic::Library,
        }
    }
}

/// Everything that determines the ids of a text.
#[derive(Debug)]
pub(super) struct Unigram {
    pub pieces: Vec<Piece>,
    pub vocabulary: Vocabulary,
    pub preprocess: Preprocess,
    pub normalizer: Normalizer,
    pub style: Style,
    engine: Engine,
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
        arithmetic: Arithmetic,
    ) -> Result<Self, Invalid> {
        let texts = pieces.iter().map(|piece| piece.text.clone()).collect();
        let mut names = SPECIAL;
        if let Some(unknown) = pieces.iter().find(|piece| piece.kind == Kind::Unknown) {
            names[1] = &unknown.text;
        }
        let vocabulary = Vocabulary::new(texts, names)?;
        for id in vocabulary.special.ids() {
            let piece = &mut pieces[id as usize];
            (piece.kind, piece.score) = (Kind::Control, 0.0);
        }
        pieces[vocabulary.special.unknown as usize].kind = Kind::Unknown;
        if let Some(piece) = pieces.iter().find(|piece| !piece.score.is_finite()) {
            return Err(Invalid(format!("the score of piece {:?} is {}", piece.text, piece.score)));
        }
        let engine = Engine::new(arithmetic, &pieces, vocabulary.special.unknown)?;
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
            engine,
            symbols,
            words_are_separate,
            cuts,
            digit_comma: HashMap::new(),
        };
        unigram.digit_comma = unigram.digit_comma_table();
        Ok(unigram)
    }

    /// The same vocabulary with other choices.
    pub fn with(self, options: &LoadOptions) -> Result<Self, Invalid> {
        let mut preprocess = self.preprocess;
        let style = options.style.unwrap_or(self.style);
        preprocess.lower_case = options.lower_case.unwrap_or(preprocess.lower_case);
        preprocess.keep_accents = options.keep_accents.unwrap_or(preprocess.keep_accents);
        preprocess.plain_quotes = style == Style::Transformers;
        if (preprocess, style) == (self.preprocess, self.style) {
            return Ok(self);
        }
        Self::new(self.pieces, preprocess, self.normalizer, style, self.engine.arithmetic())
    }

    /// Appends the ids of a text.
    pub fn encode(&self, text: &str, buffers: &mut Buffers, words: &mut WordCache, ids: &mut Vec<u32>) {
        let mut sum = 0.0;
        self.for_each_word(text, buffers, |word| self.encode_word(word, &mut sum, words, ids));
    }

    /// Appends the ids of a word that comes after text with the sum `before`, which becomes the sum after it.
    fn encode_word(&self, word: &str, before: &mut f32, words: &mut WordCache, ids: &mut Vec<u32>) {
        let viterbi = match &self.engine {
            Engine::SentencePiece(viterbi) => viterbi,
            Engine::Library(segmenter) => {
                if let Some(known) = words.get(word) {
                    return ids.extend_from_slice(known.ids);
                }
                let tokens = segmenter.tokenize(word);
                let tokens = tokens.expect("with an unknown piece every text has a segmentation");
                let start = ids.len();
                self.apply_rules(tokens.into_iter().map(|token| token.id), ids);
                return words.insert(word, Remembered { ids: &ids[start..], path: &[], lead: 0.0 });
            }
        };
        let start = ids.len();
        let (certain, after) = match words.get(word) {
            Some(known) => {
                ids.extend_from_slice(known.ids);
                let after = viterbi.sum_after(*before, known.path);
                (viterbi.is_certain(after, known.lead, word.len()), after)
            }
            None => {
                let Segmentation { path, lead } = viterbi.segment(word);
                self.apply_rules(path.iter().copied(), ids);
                words.insert(word, Remembered { ids: &ids[start..], path: &path, lead });
                let after = viterbi.sum_after(*before, &path);
                (viterbi.is_certain(after, lead, word.len()), after)
            }
        };
        if certain {
            *before = after;
            return;
        }
        ids.truncate(start);
        let (path, after) = viterbi.segment_after(*before, word);
        self.apply_rules(path.into_iter(), ids);
        *before = after;
    }

    /// Appends a path as the ids it becomes: unknown characters side by side are one piece, and pieces like `▁2014,`
    /// are taken apart.
    fn apply_rules(&self, path: impl Iterator<Item = u32>, ids: &mut Vec<u32>) {
        let unknown = self.vocabulary.special.unknown;
        let mut last = None;
        for id in path {
            if id == unknown && last == Some(id) {
                continue;
            }
            last = Some(id);
            match self.digit_comma.get(&id) {
                Some(instead) => ids.extend_from_slice(instead),
                None => ids.push(id),
            }
        }
    }

    /// Calls `visit` with each stretch of the text that can be segmented by itself.
    pub fn for_each_word(&self, text: &str, buffers: &mut Buffers, visit: impl FnMut(&str)) {
        let Buffers { prepared, normalized } = buffers;
        self.preprocess.apply(text, prepared);
        self.normalize(prepared, normalized);
        self.split(normalized, visit);
    }

    fn normalize(&self, prepared: &str, normalized: &mut String) {
        self.normalizer.apply(prepared, |rest| self.symbols.prefix(rest), normalized);
        if self.engine.arithmetic() == Arithmetic::SentencePiece {
            // It takes spaces off the end when they have become `▁` already.
            normalized.truncate(normalized.trim_end_matches(SPACE).len());
        }
    }

    /// Splits normalised text where no segmentation can differ: before each `▁`, around user-defined pieces whose
    /// characters are in no other piece, between characters that stand together in no piece.
    fn split(&self, normalized: &str, mut visit: impl FnMut(&str)) {
        let mut start = 0;
        let mut symbol_end = 0;
        let mut before = '\0';
        for (i, c) in normalized.char_indices() {
            if i < symbol_end {
                continue;
            }
            let symbol = self.symbols.isolated_prefix(&normalized[i..]);
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
            let (mut normalized, mut ids, mut sum) = (String::new(), Vec::new(), 0.0);
            self.normalize(&rest, &mut normalized);
            let mut words = WordCache::default();
            self.split(&normalized, |word| self.encode_word(word, &mut sum, &mut words, &mut ids));
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
    pub fn fingerprint(&self, kind: Fingerprint, add: &mut impl FnMut(&[u8])) {
        let Preprocess { lower_case, keep_accents, plain_quotes } = self.preprocess;
        add(match (self.engine.arithmetic(), kind) {
            (Arithmetic::SentencePiece, Fingerprint::Current) => {
                b"unigram, sums as sentencepiece's".as_slice()
            }
            (Arithmetic::SentencePiece, Fingerprint::Version1) | (Arithmetic::Library, _) => b"unigram",
        });
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
    pub fn decode<'a>(&self, pieces: impl Iterator<Item = &'a Piece>) -> String {
        let mut text = String::new();
        let mut after_control = false;
        for piece in pieces {
            let control = matches!(piece.kind, Kind::Control | Kind::Unknown);
            let piece = piece.text.as_str();
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
/// character besides ASCII letters and marks. The apostrophe, `=`, `>` and digits are not among the marks. To it every piece
/// with a letter outside ASCII begins a word; masking knows another rule for such vocabularies.
pub(super) fn starts_word(piece: &str) -> bool {
    const MARKS: &str = "!\"#$%&()*+,-./:;?@[\\]^_`{|}~";
    let is_mark = |c| MARKS.contains(c);
    let mut chars = piece.chars();
    let alone = matches!((chars.next(), chars.next()), (Some(c), None) if is_mark(c));
    alone || piece.starts_with([SPACE, '<']) || piece.chars().any(|c| !c.is_ascii_alphabetic() && !is_mark(c))
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
        Unigram::new(pieces, preprocess, Normalizer::Identity, style, Arithmetic::SentencePiece).unwrap()
    }

    fn pieces(unigram: &Unigram, text: &str) -> String {
        let mut ids = Vec::new();
        unigram.encode(text, &mut Buffers::default(), &mut WordCache::default(), &mut ids);
        ids.iter().map(|&id| unigram.vocabulary.text(id).unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn start_pieces() {
        for piece in [
            "▁the",
            "'",
            "'s",
            "n't",
            ",",
            "9",
            "2009,",
            "▁é",
            "▁",
            "<unk>",
            "(",
            ")",
            "=",
            "–",
            "£",
            "don't",
            "é",
            "ция",
            "▁мир",
            "漢",
            "字x",
            "カ",
            "ไทย",
            "\u{e47}น",
            "ខ្មែរ",
        ] {
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
            let (style, arithmetic) = (Style::Reference, Arithmetic::SentencePiece);
            let unigram = Unigram::new(pieces.collect(), preprocess, Normalizer::Identity, style, arithmetic);
            unigram.unwrap_err().to_string()
        };
        assert!(reject(&["<pad>", "<unk>", "[CLS]", "[SEP]"], -1.0).contains("[MASK]"));
        assert!(reject(&[], -1.0).contains("<pad>"));
        assert!(reject(&[SPECIAL.as_slice(), &["a", "a"]].concat(), -1.0).contains("both \"a\""));
        assert!(reject(&[SPECIAL.as_slice(), &[""]].concat(), -1.0).contains("empty"));
        assert!(reject(&[SPECIAL.as_slice(), &["a"]].concat(), f32::NAN).contains("NaN"));
    }
}
