//! Training of a Unigram vocabulary from text.

use super::error::TokenizerError;
use super::learn::learn;
use super::normalizer::{Normalizer, SPACE};
use super::preprocess::Preprocess;
use super::unigram::{Arithmetic, SPECIAL, Unigram};
use super::vocabulary::{Kind, Piece};
use super::{Model, Style, Tokenizer};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use unicode_normalization::char::canonical_combining_class;

/// The pieces that follow the special ones in ALBERT's vocabularies: each always stands alone.
const SYMBOLS: [&str; 8] = ["(", ")", "\"", "-", ".", "–", "£", "€"];

/// Choices for [`Tokenizer::train`]. The defaults are those with which the released vocabulary was trained.
#[derive(Debug, Clone, Copy)]
pub struct TrainOptions {
    /// Pieces in all, the special ones included.
    pub vocabulary_size: usize,
    /// Lower-case the text.
    pub lower_case: bool,
    /// Keep accents and other combining marks, which the reference drops.
    pub keep_accents: bool,
    /// Look at this many sentences at most, drawn at random from all.
    pub max_sentences: usize,
    /// Characters that make up this share of the text get a piece; rarer ones become `<unk>`.
    pub character_coverage: f64,
    /// Determines the draw of sentences.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            vocabulary_size: 30_000,
            lower_case: true,
            keep_accents: false,
            max_sentences: 10_000_000,
            character_coverage: 0.99995,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// A number of pieces that suits so many bytes of text: one for every 500, which are some hundred words, from a
    /// thousand up to the 30 000 of ALBERT. By Zipf's law the rarest of V pieces in N words is met about N/(V·ln V) times;
    /// at this size that is ten times, enough for its embedding to learn something.
    pub fn suitable_size(bytes: u64) -> usize {
        (bytes / 500).clamp(1_000, 30_000) as usize / 100 * 100
    }
}

/// Only this much of a sentence is looked at (sentencepiece's `max_sentence_length`).
const MAX_SENTENCE_BYTES: usize = 4192;
/// No longer words are looked at.
const MAX_WORD_CHARS: usize = 128;
/// Only so many different words are looked at, the most frequent.
const MAX_WORDS: usize = 500_000;

impl Tokenizer {
    /// Trains a vocabulary: ALBERT's special and user-defined pieces at ALBERT's ids, then the pieces that make
    /// the text likeliest under a unigram model. As in ALBERT's, no piece crosses a word's border or mixes
    /// letters, digits and other characters; unlike there, none joins a digit and a comma, since the
    /// digit-comma rule would take it apart again.
    ///
    /// The sentences are streamed; memory holds at most `max_sentences` of them. The same sentences and options
    /// give the same vocabulary on any machine. It has fewer pieces than asked for where the text has not enough
    /// different words to choose from.
    pub fn train(
        sentences: impl IntoIterator<Item = impl AsRef<str>>,
        options: &TrainOptions,
    ) -> Result<Self, TokenizerError> {
        let sentences = sample(sentences.into_iter(), options.max_sentences, options.seed);
        let preprocess = Preprocess {
            lower_case: options.lower_case,
            keep_accents: options.keep_accents,
            plain_quotes: false,
        };
        let mut pieces: Vec<_> = fixed_pieces().collect();
        let untrained =
            [(SPACE.to_string(), -1.0)].map(|(text, score)| Piece { text, score, kind: Kind::Normal });
        let unigram = |pieces| {
            Unigram::new(pieces, preprocess, Normalizer::NmtNfkc, Style::Reference, Arithmetic::Library)
                .map_err(|e| TokenizerError::Training(e.to_string()))
        };
        let words = count_words(&unigram(fixed_pieces().chain(untrained).collect())?, &sentences);
        drop(sentences);
        let words = cover(words, options.character_coverage);
        pieces.extend(learn_pieces(&words, options.vocabulary_size, pieces.len())?);
        Ok(Self::new(Model::Unigram(unigram(pieces)?), None))
    }
}

fn fixed_pieces() -> impl Iterator<Item = Piece> {
    let special = SPECIAL.map(|text| (text, if text == "<unk>" { Kind::Unknown } else { Kind::Control }));
    let symbols = SYMBOLS.map(|text| (text, Kind::UserDefined));
    special.into_iter().chain(symbols).map(|(text, kind)| Piece { text: text.to_owned(), score: 0.0, kind })
}

/// Reservoir sampling: `count` sentences of the stream, each subset of that size as likely as any other.
fn sample(sentences: impl Iterator<Item = impl AsRef<str>>, count: usize, seed: u64) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for (seen, sentence) in (0u64..).zip(sentences) {
        let sentence = sentence.as_ref();
        let sentence = &sentence[..sentence.floor_char_boundary(MAX_SENTENCE_BYTES)];
        if kept.len() < count {
            kept.push(sentence.to_owned());
        } else if let Some(place) = kept.get_mut((mix(seed ^ mix(seen)) % (seen + 1)) as usize) {
            sentence.clone_into(place);
        }
    }
    kept
}

/// SplitMix64's output function: a good hash of one number.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

type Words = HashMap<String, u64>;

fn count_words(unigram: &Unigram, sentences: &[String]) -> Words {
    let mut words = Words::new();
    let mut buffers = Default::default();
    for sentence in sentences {
        unigram.for_each_word(sentence, &mut buffers, |word| {
            if SYMBOLS.contains(&word) {
                return;
            }
            for range in runs(word) {
                match words.get_mut(&word[range.clone()]) {
                    Some(count) => *count += 1,
                    None => drop(words.insert(word[range].to_owned(), 1)),
                }
            }
        });
    }
    words
}

/// Splits a word between letters, digits and other characters. A leading `▁` stays with what follows it, a
/// combining mark with what it marks.
fn runs(word: &str) -> impl Iterator<Item = Range<usize>> {
    let class = |c: char| if c.is_alphabetic() { 0 } else { 1 + u8::from(c.is_numeric()) };
    let mut start = 0;
    let mut current = None;
    let mut ends = word.char_indices().filter_map(move |(i, c)| {
        let joins = c == SPACE || canonical_combining_class(c) != 0;
        let border = !joins && current.is_some_and(|current| current != class(c));
        if !joins {
            current = Some(class(c));
        }
        border.then_some(i)
    });
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let end = ends.next().unwrap_or_else(|| {
            done = true;
            word.len()
        });
        Some(std::mem::replace(&mut start, end)..end)
    })
}

/// Takes out the rarest characters, as many as make up no more than 1 − `coverage` of the text, then the longest
/// and the rarest words. In order, so that all that follows is determined.
fn cover(words: Words, coverage: f64) -> Vec<(String, u64)> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for (word, count) in &words {
        for c in word.chars() {
            *counts.entry(c).or_default() += count;
        }
    }
    let total: u64 = counts.values().sum();
    let mut by_count: Vec<_> = counts.into_iter().collect();
    by_count.sort_unstable_by_key(|&(c, count)| (Reverse(count), c));
    let mut covered = 0;
    let kept = by_count.into_iter().take_while(|(_, count)| {
        let more = (covered as f64) < coverage * total as f64;
        covered += count;
        more
    });
    let kept: HashSet<char> = kept.map(|(c, _)| c).collect();

    let mut parts = Words::new();
    for (word, count) in words {
        for part in word.split(|c| !kept.contains(&c)) {
            if !part.is_empty() && part.chars().count() <= MAX_WORD_CHARS {
                *parts.entry(part.to_owned()).or_default() += count;
            }
        }
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    parts.truncate(MAX_WORDS);
    // A word of its own for every character: each is certain to be a piece.
    let mut characters: Vec<_> = kept.into_iter().map(|c| (c.to_string(), 1)).collect();
    characters.sort_unstable();
    characters.extend(parts);
    characters
}

/// The pieces beside the `fixed` ones, likeliest first.
fn learn_pieces(words: &[(String, u64)], size: usize, fixed: usize) -> Result<Vec<Piece>, TokenizerError> {
    let characters: HashSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
    if characters.iter().all(|&c| c == SPACE) {
        return Err(TokenizerError::Training("the text holds no words".to_owned()));
    }
    let least = fixed + characters.len();
    if size < least {
        return Err(TokenizerError::Training(format!(
            "vocabulary_size is {size}, but the text needs at least {least}: {} characters and {fixed} fixed \
             pieces. Raise vocabulary_size or lower character_coverage",
            characters.len(),
        )));
    }
    let learnt = learn(words, size - fixed).into_iter();
    let pieces: Vec<_> = learnt.map(|(text, score)| Piece { text, score, kind: Kind::Normal }).collect();
    if fixed + pieces.len() < size {
        tracing::warn!(asked = size, pieces = fixed + pieces.len(), "the text gives a smaller vocabulary");
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_kind() {
        let runs = |word: &str| runs(word).map(|range| word[range].to_owned()).collect::<Vec<_>>();
        assert_eq!(runs("▁don't"), ["▁don", "'", "t"]);
        assert_eq!(runs("▁2014,x"), ["▁2014", ",", "x"]);
        assert_eq!(runs("क\u{94d}ष!"), ["क\u{94d}ष", "!"]);
        assert_eq!(runs("▁"), ["▁"]);
        assert_eq!(runs("▁..."), ["▁..."]);
    }

    #[test]
    fn a_sample_is_fair_and_repeatable() {
        let draw = |seed| sample((0..1000).map(|i| i.to_string()), 100, seed);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(sample(["a", "b"].into_iter(), 100, 0), ["a", "b"]);
        // Each of 1000 is drawn with probability 1/10: over 400 draws 40 times, standard deviation 6.
        let mut drawn = [0i32; 1000];
        for seed in 0..400 {
            draw(seed).iter().for_each(|i| drawn[i.parse::<usize>().unwrap()] += 1);
        }
        assert!(drawn.iter().all(|n| (40 - n).abs() < 6 * 6), "{drawn:?}");
        let long = "é".repeat(MAX_SENTENCE_BYTES);
        assert_eq!(sample([long].into_iter(), 1, 0)[0].len(), MAX_SENTENCE_BYTES);
    }

    #[test]
    fn rare_characters_and_endless_words_are_left_out() {
        let words = [("▁aaaa", 100), ("▁aéa", 1), ("ü", 1)].map(|(word, count)| (word.to_owned(), count));
        let words = words.into_iter().chain([("b".repeat(MAX_WORD_CHARS + 1), 1)]).collect();
        let expected = [("b", 1), ("a", 1), ("▁", 1), ("▁aaaa", 100), ("a", 1), ("▁a", 1)];
        let mut found = cover(words, 0.99);
        let mut expected = expected.map(|(word, count)| (word.to_owned(), count)).to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_fixed_pieces_have_alberts_ids() {
        let options = TrainOptions { vocabulary_size: 60, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(["The U.S. dollar (1.234,5 £ – \"or so\")"; 3], &options).unwrap();
        let fixed = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "(", ")", "\"", "-", ".", "–", "£", "€"];
        for (id, piece) in (0..).zip(fixed) {
            assert_eq!(tokenizer.piece(id), Some(piece));
        }
        assert_eq!(tokenizer.special().ids(), [0, 1, 2, 3, 4]);
        let pieces =
            |text| tokenizer.encode(text).iter().map(|&id| tokenizer.piece(id).unwrap()).collect::<Vec<_>>();
        assert_eq!(pieces("(U.S.) DOLLAR"), ["▁", "(", "u", ".", "s", ".", ")", "▁dollar"]);
    }

    #[test]
    fn what_cannot_be_trained() {
        let train = |text: &[&str], vocabulary_size| {
            let options = TrainOptions { vocabulary_size, ..TrainOptions::default() };
            Tokenizer::train(text, &options).unwrap_err().to_string()
        };
        for text in [&[][..], &["", " \n"], &["(.)"]] {
            assert!(train(text, 100).contains("no words"), "{text:?}");
        }
        assert!(train(&["abc"], 16).contains("at least 17"), "4 characters and 13 fixed pieces");
    }
}
