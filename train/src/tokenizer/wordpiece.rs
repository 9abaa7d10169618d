//! BERT's WordPiece vocabularies, which the reference uses for its Chinese models.

use super::Fingerprint;
use super::cache::{Remembered, WordCache};
use super::error::Invalid;
use super::limits::{MAX_PIECES, check_pieces};
use super::vocabulary::Vocabulary;
use std::collections::HashMap;
use tokenizers::models::wordpiece::WordPiece as Segmenter;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

/// Names of the special pieces, in the order of `SpecialTokens`.
pub(super) const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Marks a piece that continues a word.
pub(super) const CONTINUATION: &str = "##";

/// Longer words are unknown.
pub(super) const MAX_WORD_CHARS: usize = 200;

/// Text is looked at in stretches of this many bytes and a little more.
const STRETCH: usize = 4096;

/// A WordPiece vocabulary with BERT's treatment of text before it.
#[derive(Debug)]
pub(super) struct WordPiece {
    pub vocabulary: Vocabulary,
    /// All but lower-casing, which the library does character by character; a sigma at the end of a word needs the word.
    pub normalizer: BertNormalizer,
    pub lower_case: bool,
    segmenter: Segmenter,
}

impl WordPiece {
    /// Accents go with the case, unless `keep_accents` says otherwise.
    pub fn new(texts: Vec<String>, lower_case: bool, keep_accents: Option<bool>) -> Result<Self, Invalid> {
        let vocabulary = Vocabulary::new(texts, SPECIAL)?;
        let segmenter = Segmenter::builder()
            .vocab(vocabulary.texts().map(str::to_owned).zip(0..).collect::<HashMap<_, _, _>>())
            .unk_token(vocabulary.text(vocabulary.special.unknown).unwrap_or_default().to_owned())
            .max_input_chars_per_word(MAX_WORD_CHARS)
            .build()
            .map_err(|e| Invalid(e.to_string()))?;
        let strip_accents = keep_accents.map_or(lower_case, |keep| !keep);
        let normalizer = BertNormalizer::new(true, true, Some(strip_accents), false);
        Ok(Self { vocabulary, normalizer, lower_case, segmenter })
    }

    /// Reads a `vocab.txt`: one piece per line, its first field; an empty line is a space.
    ///
    /// Equal lines are refused: ids after the second are one less for each in ALBERT's program, which gives it none, than
    /// in BERT's and in the libraries, where the last of the lines is the piece's id. At the end of the file that makes no
    /// difference for blank ones.
    pub fn read(text: &str) -> Result<Vec<String>, Invalid> {
        let mut seen = HashMap::new();
        let mut texts = Vec::new();
        let mut scored = 0;
        let mut doubled = None;
        let (lines, end) = text.split_at(text.trim_end().len());
        for (line, number) in lines.lines().zip(1usize..) {
            let mut fields = line.split_whitespace();
            let piece = fields.next().unwrap_or(" ");
            scored += usize::from(fields.next().is_some_and(|field| field.parse::<f32>().is_ok()));
            match seen.insert(piece, number) {
                Some(first) => doubled = doubled.or(Some((piece, first, number))),
                None => texts.push(piece.to_owned()),
            }
            if texts.len() > MAX_PIECES {
                break;
            }
        }
        if end.lines().nth(1).is_some() && !seen.contains_key(" ") {
            texts.push(" ".into());
        }
        check_pieces(texts.iter().map(String::as_str))?;
        if scored > 0 && scored * 2 >= texts.len() {
            return Err(Invalid::new(
                "it lists sentencepiece pieces with their scores, for people to read; \
                 it is not BERT's vocab.txt. Give the .model file that came with it",
            ));
        }
        if let Some((piece, first, second)) = doubled {
            return Err(Invalid(format!(
                "its lines {first} and {second} are both {piece:?}: programs disagree about the ids of the lines after that. \
                 Make the second one that no text gives, such as [unused{second}], if the model counts it (as BERT's do), or \
                 take it out if the model does not"
            )));
        }
        Ok(texts)
    }

    /// Calls `visit` with each word: a run without white space, or one punctuation mark or ideograph.
    pub fn for_each_word(&self, text: &str, mut visit: impl FnMut(&str)) {
        for stretch in stretches(text) {
            let mut normalized = NormalizedString::from(stretch);
            self.normalizer.normalize(&mut normalized).expect("BERT's normalizer has no way to fail");
            if self.lower_case {
                normalized = NormalizedString::from(normalized.get().to_lowercase());
            }
            let mut words = PreTokenizedString::from(normalized);
            BertPreTokenizer.pre_tokenize(&mut words).expect("BERT's splitting has no way to fail");
            for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
                if !word.is_empty() {
                    visit(word);
                }
            }
        }
    }

    /// Appends the ids of a text.
    pub fn encode(&self, text: &str, words: &mut WordCache, ids: &mut Vec<u32>) {
        self.for_each_word(text, |word| {
            if let Some(known) = words.get(word) {
                return ids.extend_from_slice(known.ids);
            }
            let start = ids.len();
            let tokens = self.segmenter.tokenize(word).expect("the unknown piece is in the vocabulary");
            ids.extend(tokens.into_iter().map(|token| token.id));
            words.insert(word, Remembered { ids: &ids[start..], path: &ids[start..], lead: 0.0 });
        });
    }

    /// Feeds everything that determines ids to a hash, part by part.
    pub fn fingerprint(&self, kind: Fingerprint, add: &mut impl FnMut(&[u8])) {
        add(match kind {
            Fingerprint::Current => b"wordpiece, words in lower case".as_slice(),
            Fingerprint::Version1 => b"wordpiece",
        });
        add(&[self.lower_case, self.normalizer.strip_accents == Some(true)].map(u8::from));
        self.vocabulary.texts().for_each(|text| add(text.as_bytes()));
    }
}

/// Joins pieces to text: words apart, continuations not.
pub(super) fn join<'a>(pieces: impl Iterator<Item = &'a str>, continuation: &str) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece.strip_prefix(continuation) {
            Some(rest) if !rest.is_empty() => text.push_str(rest),
            _ => {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(piece);
            }
        }
    }
    text
}

/// Whether a character is no part of the word before it: some of those for which that is so.
fn begins_anew(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '。' | '，' | '\u{4E00}'..='\u{9FFF}')
}

/// Cuts a text before characters that are no part of the word before them. The library needs a hundred times the memory
/// of what it is given at once, and a text may be a line of many MiB.
fn stretches(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let earliest = rest.floor_char_boundary(STRETCH);
        let cut = rest[earliest..].find(begins_anew);
        let (stretch, after) = rest.split_at(cut.map_or(rest.len(), |place| earliest + place));
        rest = after;
        (!stretch.is_empty()).then_some(stretch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wordpiece(normal: &[&str]) -> WordPiece {
        let texts = ["[UNK]", "[CLS]", "[SEP]"].iter().chain(normal).chain(&["[PAD]", "[MASK]"]);
        WordPiece::new(texts.map(|&text| text.to_owned()).collect(), true, None).unwrap()
    }

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        wordpiece(&[]).for_each_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn the_examples_of_the_reference() {
        let wordpiece = wordpiece(&["want", "##want", "##ed", "wa", "un", "runn", "##ing", ","]);
        let ids = |text: &str| {
            let mut ids = Vec::new();
            wordpiece.encode(text, &mut WordCache::default(), &mut ids);
            ids
        };
        assert_eq!(ids("UNwant\u{E9}d,running"), [7, 4, 5, 10, 8, 9]);
        assert_eq!(ids("unwantedx"), [0]);
        assert_eq!(ids(&"un".repeat(101)), [0]);
        assert_eq!(words("ah\u{535A}\u{63A8}zz"), ["ah", "博", "推", "zz"]);
        assert_eq!(words(" \tHeLLo!how  \n Are yoU?  "), ["hello", "!", "how", "are", "you", "?"]);
        assert_eq!(words("H\u{E9}llo\u{0}\u{FFFD}"), ["hello"]);
        assert_eq!(words("[MASK]"), ["[", "mask", "]"]);
        assert_eq!(words("ΟΔΟΣ Σ ΣΑΣ. ΟΣ'ΟΣ"), ["οδος", "σ", "σας", ".", "οσ", "'", "ος"]);
        assert_eq!(join(["un", "##want", "##ed", "runn", "##ing"].into_iter(), "##"), "unwanted running");
    }

    #[test]
    fn accents_go_with_the_case_unless_asked() {
        let words = |lower_case, keep_accents| {
            let texts = SPECIAL.map(str::to_owned).to_vec();
            let mut words = Vec::new();
            WordPiece::new(texts, lower_case, keep_accents)
                .unwrap()
                .for_each_word("É", |word| words.push(word.to_owned()));
            words.concat()
        };
        assert_eq!((words(true, None), words(false, None)), ("e".to_owned(), "É".to_owned()));
        assert_eq!((words(true, Some(true)), words(false, Some(true))), ("é".to_owned(), "É".to_owned()));
        assert_eq!((words(true, Some(false)), words(false, Some(false))), ("e".to_owned(), "E".to_owned()));
    }

    /// Where a long text is cut makes no difference to its words.
    #[test]
    fn long_texts_are_looked_at_in_stretches() {
        for unit in [
            "Élan e\u{301} \u{301}x ",
            "漢字。\u{301}漢，",
            "漢\u{301}字a",
            "かな。",
            "unbroken",
            "a\u{85}b c",
        ] {
            let text = unit.repeat(3 * STRETCH / unit.len());
            let parts: Vec<_> = stretches(&text).collect();
            assert_eq!(parts.concat(), text);
            assert_eq!(parts.len() > 1, unit != "unbroken");
            assert!(parts.len() == 1 || parts.iter().all(|part| part.len() < STRETCH + 2 * unit.len()));
            let mut whole = NormalizedString::from(text.as_str());
            wordpiece(&[]).normalizer.normalize(&mut whole).unwrap();
            let mut whole = PreTokenizedString::from(NormalizedString::from(whole.get().to_lowercase()));
            BertPreTokenizer.pre_tokenize(&mut whole).unwrap();
            let whole = whole.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
            let whole: Vec<_> =
                whole.into_iter().map(|(word, _, _)| word).filter(|word| !word.is_empty()).collect();
            assert_eq!(words(&text), whole);
        }
        assert_eq!(stretches("").count(), 0);
    }

    #[test]
    fn reads_a_list_as_the_reference_does() {
        let texts = WordPiece::read("[PAD]\n a b\n\n[UNK]\nc\r\n").unwrap();
        assert_eq!(texts, ["[PAD]", "a", " ", "[UNK]", "c"]);
        assert_eq!(WordPiece::read("[PAD]\na\n\n\n \n").unwrap(), ["[PAD]", "a", " "]);
        let error = WordPiece::read("[PAD]\na\nb\na c\nd\nb").unwrap_err().to_string();
        assert!(error.contains("lines 2 and 4 are both \"a\"") && error.contains("[unused4]"), "{error}");
        let error = WordPiece::read("<pad>\t0\n<unk>\t0\n▁the\t-2.98\n").unwrap_err();
        assert!(error.to_string().contains(".model"), "{error}");
    }
}
