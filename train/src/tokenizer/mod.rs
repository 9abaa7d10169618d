//! Text to token ids and back: the released sentencepiece vocabularies, one trained from text, or BERT's
//! WordPiece.
//!
//! [`Tokenizer::load`] takes any file or directory that holds one. The ids of a sentencepiece `.model` are the
//! reference's, its digit-comma rule included; text is prepared inside (white space, NFKD, accents, case), so
//! callers pass it as it is.
//!
//! Names of special pieces that stand in a text (`<unk>` in WikiText, `[MASK]` in an article about BERT) are text: no text
//! becomes a control piece, as in the reference, and the `tokenizer.json` that is written here says the same to the
//! `tokenizers` library. A `tokenizer.json` of another program is followed as it is: what it lists as `added_tokens` is
//! taken out of the text.
//!
//! ```
//! use train::tokenizer::{Tokenizer, TrainOptions};
//!
//! let text = ["The cat sat on the mat.", "The dog sat on the cat."];
//! let options = TrainOptions { vocabulary_size: 40, ..TrainOptions::default() };
//! let tokenizer = Tokenizer::train(text, &options)?;
//! let ids = tokenizer.encode("The cat sat.");
//! assert_eq!(tokenizer.decode(&ids), "the cat sat.");
//! # Ok::<(), train::tokenizer::TokenizerError>(())
//! ```

mod cache;
mod cuts;
mod error;
mod files;
mod json;
mod learn;
mod library;
mod limits;
mod normalizer;
mod preprocess;
mod report;
mod segmentations;
mod sentencepiece;
mod substrings;
mod train;
mod trie;
mod unigram;
mod viterbi;
mod vocabulary;
mod wordpiece;
mod words;

pub use error::{Invalid, TokenizerError};
pub(crate) use files::{CONFIG, FILES};
pub use report::Coverage;
pub use train::TrainOptions;
pub use vocabulary::SpecialTokens;

use cache::WordCache;
use library::Library;
use unigram::Unigram;
use vocabulary::Vocabulary;
use wordpiece::WordPiece;

/// Choices for [`Tokenizer::load`]. What is `None` is taken from `tokenizer.json` or the `tokenizer_config.json`
/// beside the file, and is else as in the released models: lower case, no accents, the reference's style.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// Lower-case the text.
    pub lower_case: Option<bool>,
    /// Keep accents and other combining marks, which the reference drops.
    pub keep_accents: Option<bool>,
    /// Whose treatment of text to follow where they differ.
    pub style: Option<Style>,
}

/// Whose treatment of text to follow. Matters for sentencepiece vocabularies only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    /// The reference implementation, with which the released models were trained.
    #[default]
    Reference,
    /// The transformers library: ``` `` ``` and `''` become `"`, and a piece like `/12,` that is taken apart
    /// gains no `▁`.
    Transformers,
}

/// A vocabulary and the way from text to its ids. Cheap to share between threads; see [`Encoder`] for speed.
pub struct Tokenizer {
    model: Model,
    starts_word: Vec<bool>,
    /// The sentencepiece file this was read from, kept to be saved again.
    source: Option<Vec<u8>>,
    fingerprint: [u8; 32],
}

/// How a fingerprint is made: data that were prepared long ago bear one of that time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fingerprint {
    /// Everything that determines the ids of a text.
    Current,
    /// The same but for how equal scores and a sigma at the end of a word are treated, which was otherwise.
    Version1,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one or two")]
enum Model {
    Unigram(Unigram),
    WordPiece(WordPiece),
    Library(Library),
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pieces = self.vocabulary_size();
        f.debug_struct("Tokenizer").field("pieces", &pieces).finish_non_exhaustive()
    }
}

impl Tokenizer {
    fn new(model: Model, source: Option<Vec<u8>>) -> Self {
        let fingerprint = *fingerprint(&model, Fingerprint::Current).as_bytes();
        let starts_word = match &model {
            Model::Unigram(unigram) => unigram.vocabulary.texts().map(unigram::starts_word).collect(),
            Model::WordPiece(wordpiece) => {
                wordpiece.vocabulary.texts().map(|text| !text.starts_with(wordpiece::CONTINUATION)).collect()
            }
            Model::Library(library) => {
                library.vocabulary.texts().map(|text| library.starts_word(text)).collect()
            }
        };
        Self { model, starts_word, source, fingerprint }
    }

    fn vocabulary(&self) -> &Vocabulary {
        match &self.model {
            Model::Unigram(unigram) => &unigram.vocabulary,
            Model::WordPiece(wordpiece) => &wordpiece.vocabulary,
            Model::Library(library) => &library.vocabulary,
        }
    }

    /// The ids of a text. No special pieces are added, and none is produced from text that spells one.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encoder().encode(text, &mut ids);
        ids
    }

    /// An encoder that remembers words: several times faster than [`encode`](Self::encode) over much text.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { tokenizer: self, buffers: unigram::Buffers::default(), words: WordCache::default() }
    }

    /// The text of a sequence of ids, special pieces included, as far as encoding left it. An id outside the
    /// vocabulary reads as the unknown piece.
    pub fn decode(&self, ids: &[u32]) -> String {
        let unknown = self.special().unknown;
        let texts = || ids.iter().filter_map(|&id| self.piece(id).or_else(|| self.piece(unknown)));
        match &self.model {
            Model::Unigram(unigram) => unigram.decode(ids.iter().map(|&id| {
                unigram.pieces.get(id as usize).unwrap_or_else(|| &unigram.pieces[unknown as usize])
            })),
            Model::WordPiece(_) => wordpiece::join(texts(), wordpiece::CONTINUATION),
            Model::Library(library) => library.decode(texts()),
        }
    }

    /// How many ids there are: 0 to this, exclusive.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary().len()
    }

    /// Refuses a model that has no `rows` for some of the pieces, or was `trained_with` another tokenizer. Only files of this
    /// program say which that was, those of an earlier version by its fingerprint.
    ///
    /// # Errors
    /// If it is such a model.
    pub fn expect_model(&self, rows: usize, trained_with: Option<&str>) -> Result<(), TokenizerError> {
        let pieces = self.vocabulary_size();
        if pieces > rows {
            return Err(TokenizerError::TooManyPieces { pieces, rows });
        }
        let is_known = |known: &str| {
            [self.fingerprint_text(), self.fingerprint_of_version_1()].iter().any(|own| own == known)
        };
        if trained_with.is_none_or(is_known) { Ok(()) } else { Err(TokenizerError::OtherModel) }
    }

    /// The piece of an id.
    pub fn piece(&self, id: u32) -> Option<&str> {
        self.vocabulary().text(id)
    }

    /// The text that a piece stands for: the piece without the mark of pieces that continue a word.
    pub fn surface(&self, id: u32) -> Option<&str> {
        let continuation = match &self.model {
            Model::Unigram(_) => None,
            Model::WordPiece(_) => Some(wordpiece::CONTINUATION),
            Model::Library(library) => library.continuation(),
        };
        let piece = self.piece(id)?;
        Some(
            continuation
                .and_then(|mark| piece.strip_prefix(mark))
                .filter(|rest| !rest.is_empty())
                .unwrap_or(piece),
        )
    }

    /// The id of a piece, special ones included.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.vocabulary().id(piece)
    }

    /// The ids of the special pieces.
    pub fn special(&self) -> SpecialTokens {
        self.vocabulary().special
    }

    /// Whether a piece begins a word: for sentencepiece vocabularies by the reference's test (whether it begins with `▁` or
    /// `<`, is one punctuation mark, or has any character besides ASCII letters and marks, digits and the apostrophe not
    /// counting as marks), for WordPiece whether it lacks `##`. False for an id outside the vocabulary.
    pub fn starts_word(&self, id: u32) -> bool {
        self.starts_word.get(id as usize).copied().unwrap_or(false)
    }

    /// A hash of everything that determines the ids of a text.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The same in hexadecimal.
    pub fn fingerprint_text(&self) -> String {
        blake3::Hash::from_bytes(self.fingerprint).to_hex().to_string()
    }

    /// What version 1 of prepared folders has in its place.
    pub(crate) fn fingerprint_of_version_1(&self) -> String {
        fingerprint(&self.model, Fingerprint::Version1).to_hex().to_string()
    }
}

/// Encodes text after text, remembering the words it has seen. One per thread.
#[derive(Debug)]
pub struct Encoder<'t> {
    tokenizer: &'t Tokenizer,
    buffers: unigram::Buffers,
    words: WordCache,
}

impl<'t> Encoder<'t> {
    /// The tokenizer whose encoder this is.
    pub fn tokenizer(&self) -> &'t Tokenizer {
        self.tokenizer
    }

    /// Appends the ids of a text; the same as [`Tokenizer::encode`].
    pub fn encode(&mut self, text: &str, ids: &mut Vec<u32>) {
        match &self.tokenizer.model {
            Model::Unigram(unigram) => unigram.encode(text, &mut self.buffers, &mut self.words, ids),
            Model::WordPiece(wordpiece) => wordpiece.encode(text, &mut self.words, ids),
            Model::Library(library) => library.encode(text, ids),
        }
    }
}

fn fingerprint(model: &Model, kind: Fingerprint) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match model {
        Model::Unigram(unigram) => unigram.fingerprint(kind, &mut add),
        Model::WordPiece(wordpiece) => wordpiece.fingerprint(kind, &mut add),
        Model::Library(library) => library.fingerprint(&mut add),
    }
    hasher.finalize()
}
