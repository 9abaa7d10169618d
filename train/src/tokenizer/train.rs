//! Training of a Unigram vocabulary from text.

use super::error::TokenizerError;
use super::learn::{MAX_SEEDS, learn};
use super::limits::MAX_PIECES;
use super::normalizer::{Normalizer, SPACE};
use super::preprocess::Preprocess;
use super::unigram::{Arithmetic, SPECIAL, Unigram};
use super::vocabulary::{Kind, Piece};
use super::words::{Sample, Words, count, cover};
use super::{Model, Style, Tokenizer};
use std::collections::HashSet;

/// The pieces that follow the special ones in ALBERT's vocabularies: each always stands alone.
const SYMBOLS: [&str; 8] = ["(", ")", "\"", "-", ".", "–", "£", "€"];

/// Choices for [`Tokenizer::train`]. The defaults are those with which the released vocabulary was trained.
#[derive(Debug, Clone, Copy)]
pub struct TrainOptions {
    /// Pieces in all, the special ones included.
    pub vocabulary_size: usize,
    /// That size is nobody's wish, but what suits the text: where its characters alone would fill the vocabulary, it has so
    /// many pieces beside them, as far as ids reach.
    pub grows: bool,
    /// Lower-case the text.
    pub lower_case: bool,
    /// Keep accents and other combining marks, which the reference drops.
    pub keep_accents: bool,
    /// Look at this many sentences at most, drawn at random from all.
    pub max_sentences: usize,
    /// About the bytes of memory to use. What is too much text for it is left out at random.
    pub memory: usize,
    /// Characters that make up this share of the text get a piece; rarer ones become `<unk>`.
    pub character_coverage: f64,
    /// Determines the draw of sentences.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            vocabulary_size: 30_000,
            grows: false,
            lower_case: true,
            keep_accents: false,
            max_sentences: 10_000_000,
            memory: 1 << 30,
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

    /// What to say where a trained vocabulary has fewer `pieces` than somebody asked for.
    pub fn shortfall(&self, pieces: usize) -> Option<String> {
        let asked = self.vocabulary_size;
        (!self.grows && pieces < asked).then(|| {
            format!("warning: {pieces} pieces, not {asked}: the text has not enough different words for more")
        })
    }
}

/// Shares of the memory: a byte of text for 8, a character of different words for 128 (16 pieces may begin there, of 4
/// bytes each, and the rest is needed to find them), a substring to start from for 1024.
const MEMORY_PER_BYTE: usize = 8;
const MEMORY_PER_CHAR: usize = 128;
const MEMORY_PER_SEED: usize = 1024;
/// With less, nothing could be learnt.
const LEAST_MEMORY: usize = 16 << 20;

impl Tokenizer {
    /// Trains a vocabulary: ALBERT's special and user-defined pieces at ALBERT's ids, then the pieces that make
    /// the text likeliest under a unigram model. As in ALBERT's, no piece crosses a word's border or mixes
    /// letters, digits and other characters; unlike there, none joins a digit and a comma, since the
    /// digit-comma rule would take it apart again.
    ///
    /// The sentences are streamed, and may be of any length, with spaces or without. The same sentences and options give
    /// the same vocabulary on any machine. It has fewer pieces than asked for where the text has not enough different
    /// words to choose from.
    pub fn train(
        sentences: impl IntoIterator<Item = impl AsRef<str>>,
        options: &TrainOptions,
    ) -> Result<Self, TokenizerError> {
        let memory = options.memory.max(LEAST_MEMORY);
        let mut sample = Sample::new(options.seed, options.max_sentences, memory / MEMORY_PER_BYTE);
        sentences.into_iter().for_each(|sentence| sample.add(sentence.as_ref()));
        let (sentences, seen) = sample.finish();
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
        let splitter = unigram(fixed_pieces().chain(untrained).collect())?;
        let (counts, looked_at) = count(&sentences, memory / MEMORY_PER_CHAR, |sentence, visit| {
            splitter.for_each_word(sentence, &mut Default::default(), |word| {
                if !SYMBOLS.contains(&word) {
                    visit(word);
                }
            });
        });
        if (looked_at as u64) < seen {
            let memory = memory >> 20;
            tracing::warn!(
                "the vocabulary is learnt from {looked_at} of {seen} sentences, drawn at random: {memory} MiB of memory \
                 and {} sentences are the most",
                options.max_sentences
            );
        }
        drop(sentences);
        let words = cover(counts, options.character_coverage);
        let seeds = MAX_SEEDS.min(memory / MEMORY_PER_SEED);
        pieces.extend(learn_pieces(words, options, pieces.len(), seeds)?);
        Ok(Self::new(Model::Unigram(unigram(pieces)?), None))
    }
}

fn fixed_pieces() -> impl Iterator<Item = Piece> {
    let special = SPECIAL.map(|text| (text, if text == "<unk>" { Kind::Unknown } else { Kind::Control }));
    let symbols = SYMBOLS.map(|text| (text, Kind::UserDefined));
    special.into_iter().chain(symbols).map(|(text, kind)| Piece { text: text.to_owned(), score: 0.0, kind })
}

/// The pieces beside the `fixed` ones, likeliest first.
fn learn_pieces(
    words: Vec<(String, u64)>,
    options: &TrainOptions,
    fixed: usize,
    seeds: usize,
) -> Result<Vec<Piece>, TokenizerError> {
    let characters: HashSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
    if characters.iter().all(|&c| c == SPACE) {
        return Err(TokenizerError::Training("the text holds no words".to_owned()));
    }
    let asked = options.vocabulary_size;
    let least = fixed + characters.len();
    let size = if options.grows && asked < least { MAX_PIECES.min(least + asked) } else { asked };
    if size > MAX_PIECES {
        return Err(TokenizerError::Training(format!(
            "{size} pieces are asked for, and ids are stored in 16 bits: at most {MAX_PIECES}"
        )));
    }
    if size < least {
        return Err(TokenizerError::Training(format!(
            "{size} pieces are asked for, but the text needs at least {least}: {} characters and {fixed} fixed pieces\n  \
             help: give --vocab-size {least} or more",
            characters.len(),
        )));
    }
    let coded = Words::new(&words);
    drop(words);
    let learnt = learn(&coded, size - fixed, seeds.max(2 * size)).into_iter();
    Ok(learnt.map(|(text, score)| Piece { text, score, kind: Kind::Normal }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(train(&["abc"], 16).contains("--vocab-size 17"));
        assert!(train(&["abc"], 65_537).contains("at most 65536"));
    }

    /// Four characters and 13 fixed pieces leave no room in 16: sixteen pieces more are looked for, not one an error.
    #[test]
    fn a_size_that_nobody_asked_for_gives_way_to_the_characters() {
        let options = TrainOptions { vocabulary_size: 16, grows: true, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(["abc abc ab"; 4], &options).unwrap();
        assert!((18..=33).contains(&tokenizer.vocabulary_size()), "{}", tokenizer.vocabulary_size());
        assert!(tokenizer.encode("abc").len() < 4, "words are more than their letters");
    }

    /// Little memory: fewer sentences are looked at, whatever their letters; words of all kinds are learnt.
    #[test]
    fn memory_is_a_setting() {
        let words =
            |first: u32| (0..20).map(move |i| char::from_u32(first + i).unwrap()).collect::<Vec<char>>();
        let (low, high) = (words(0x4E00), words(0x9000));
        let mut state = 0u32;
        let sentence = |i: usize| {
            let opening = if i.is_multiple_of(2) { low[i / 2 % 20] } else { high[i / 2 % 20] };
            let body = (0..12).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from_u32(0x5000 + (state >> 16) % 0x800).unwrap()
            });
            format!("{opening}{opening}{}", body.collect::<String>())
        };
        let sentences: Vec<String> = (0..30_000).map(sentence).collect();
        let options = TrainOptions { vocabulary_size: 2400, memory: 16 << 20, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(&sentences, &options).unwrap();
        for opening in low.into_iter().chain(high) {
            assert!(tokenizer.id(&format!("▁{opening}{opening}")).is_some(), "{opening}");
        }
    }
}
