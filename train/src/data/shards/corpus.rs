//! A folder of shards, seen as one sequence of documents.

use std::path::Path;

use rayon::prelude::*;

use super::document::Document;
use super::manifest::{MANIFEST, Manifest, TokenizerIdentity};
use super::shard::Shard;
use crate::data::error::DataError;
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Verified shards, one after the other.
#[derive(Debug)]
pub struct Corpus {
    shards: Vec<Shard>,
    /// The corpus-wide number of each shard's first document; then the number of documents.
    first_documents: Vec<usize>,
    /// The corpus-wide number of each shard's first sentence.
    first_sentences: Vec<u64>,
    tokenizer: TokenizerIdentity,
    sentences: u64,
    tokens: u64,
}

impl Corpus {
    /// Opens what `prepare` left in `folder` and verifies every byte of it, on all cores.
    ///
    /// # Errors
    /// If the folder is not prepared, or anything in it is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let missing = |detail| DataError::NotPrepared { path: folder.to_path_buf(), detail };
        let manifest = match Manifest::read(folder, MANIFEST)? {
            Some(manifest) => manifest,
            None if folder.is_dir() => {
                return Err(missing("no manifest.json: `prepare` did not finish here"));
            }
            None => return Err(missing("no such folder")),
        };
        let open = |entry: &super::manifest::ShardEntry| {
            let path = folder.join(&entry.file);
            let shard = Shard::open(&path)?;
            if shard.hash().to_hex().as_str() != entry.blake3 || shard.file_size() != entry.bytes {
                return Err(DataError::damaged(&path, "it is not the shard that the manifest names"));
            }
            if shard.vocabulary_size() != manifest.tokenizer.vocabulary_size {
                return Err(DataError::damaged(&path, "its vocabulary is not the manifest's"));
            }
            Ok(shard)
        };
        let shards = manifest.shards.par_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(shards, manifest.tokenizer))
    }

    /// A corpus of shards at hand, all made with `tokenizer`.
    ///
    /// # Panics
    /// If a shard has another vocabulary size.
    pub fn new(shards: Vec<Shard>, tokenizer: TokenizerIdentity) -> Self {
        let (mut documents, mut sentences, mut tokens) = (0, 0, 0);
        let (mut first_documents, mut first_sentences) = (vec![0], Vec::new());
        for shard in &shards {
            assert_eq!(shard.vocabulary_size(), tokenizer.vocabulary_size, "a shard of another vocabulary");
            first_sentences.push(sentences);
            documents += shard.documents();
            sentences += shard.sentences() as u64;
            tokens += shard.ids().len() as u64;
            first_documents.push(documents);
        }
        Self { shards, first_documents, first_sentences, tokenizer, sentences, tokens }
    }

    /// Refuses a tokenizer that is not the one the shards were made with.
    ///
    /// # Errors
    /// Naming both; `folder` is only for the message.
    pub fn expect_tokenizer(&self, folder: &Path, tokenizer: &Tokenizer) -> Result<(), DataError> {
        if self.tokenizer.is_of(tokenizer) {
            return Ok(());
        }
        Err(DataError::OtherTokenizer {
            path: folder.to_path_buf(),
            prepared: self.tokenizer.fingerprint.clone(),
            given: tokenizer.fingerprint_text(),
        })
    }

    /// The number of documents.
    pub fn documents(&self) -> usize {
        *self.first_documents.last().expect("the list ends with the total")
    }

    /// The number of tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Document `index`, and the corpus-wide number of its first sentence.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn document(&self, index: usize) -> (Document<'_>, u64) {
        let shard = self.first_documents.partition_point(|&first| first <= index) - 1;
        let within = index - self.first_documents[shard];
        let sentence = self.first_sentences[shard] + u64::from(self.shards[shard].document_offsets()[within]);
        (self.shards[shard].document(within), sentence)
    }

    /// The number of sentences.
    pub fn sentences(&self) -> u64 {
        self.sentences
    }

    /// Its shards.
    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The document that sentence `number` is of.
    ///
    /// # Panics
    /// If there is no such sentence.
    fn document_of(&self, number: u64) -> usize {
        let shard = self.first_sentences.partition_point(|&first| first <= number) - 1;
        let within = number - self.first_sentences[shard];
        let offsets = self.shards[shard].document_offsets();
        self.first_documents[shard] + offsets.partition_point(|&first| u64::from(first) <= within) - 1
    }

    /// The tokenizer the ids come from.
    pub fn tokenizer(&self) -> &TokenizerIdentity {
        &self.tokenizer
    }

    /// Its special ids.
    pub fn special(&self) -> SpecialTokens {
        self.tokenizer.special
    }

    /// Tells this corpus from any other: two with equal identity give equal samples.
    pub fn identity(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.tokenizer.fingerprint.as_bytes());
        self.shards.iter().for_each(|shard| {
            hasher.update(shard.hash().as_bytes());
        });
        hasher.finalize()
    }
}

/// Which documents of a corpus are meant. Held-out documents are every `every`-th one, so that they come from all over
/// the corpus and stay the same however it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// All but every `every`-th (at least 2).
    Training {
        /// Distance between held-out documents.
        every: usize,
    },
    /// Only every `every`-th (at least 2).
    HeldOut {
        /// Distance between held-out documents.
        every: usize,
    },
    /// All sentences before one, for a corpus of too few documents: that one's document is divided.
    Before {
        /// The corpus-wide number of the sentence.
        sentence: u64,
    },
    /// The sentence and all after it.
    From {
        /// The corpus-wide number of the sentence.
        sentence: u64,
    },
}

/// Of a corpus of few documents at least so many sentences are held out, if that is not more than a fifth.
const FEWEST_HELD_OUT: u64 = 20;

impl Selection {
    /// What of `corpus` is trained on, and what is held out: every `every`-th document, or, where it has fewer, the same
    /// share of its sentences, from its end.
    pub fn of_corpus(corpus: &Corpus, every: usize) -> [Self; 2] {
        if corpus.documents() >= every {
            return [Self::Training { every }, Self::HeldOut { every }];
        }
        let sentences = corpus.sentences();
        let held_out = (sentences / every as u64).max(FEWEST_HELD_OUT).min(sentences.div_ceil(5));
        let sentence = sentences - held_out;
        [Self::Before { sentence }, Self::From { sentence }]
    }

    /// How many documents of `corpus` are selected, wholly or in part.
    pub fn count(self, corpus: &Corpus) -> usize {
        let documents = corpus.documents();
        match self {
            Self::All => documents,
            Self::Training { every } => documents - documents / every,
            Self::HeldOut { every } => documents / every,
            Self::Before { sentence: 0 } => 0,
            Self::Before { sentence } => corpus.document_of(sentence - 1) + 1,
            Self::From { sentence } if sentence >= corpus.sentences() => 0,
            Self::From { sentence } => documents - corpus.document_of(sentence),
        }
    }

    /// The `index`-th selected document of `corpus`, as much of it as is selected; its corpus-wide number and that of its
    /// first sentence.
    pub(crate) fn document(self, corpus: &Corpus, index: usize) -> (usize, Document<'_>, u64) {
        let number = match self {
            Self::All | Self::Before { .. } => index,
            Self::Training { every } => index + index / (every - 1),
            Self::HeldOut { every } => index * every + every - 1,
            Self::From { sentence } => index + corpus.document_of(sentence),
        };
        let (document, first) = corpus.document(number);
        let end = first + document.sentences() as u64;
        let cut = |sentence: u64| (sentence.clamp(first, end) - first) as usize;
        match self {
            Self::Before { sentence } => (number, document.part(0..cut(sentence)), first),
            Self::From { sentence } => {
                let begin = cut(sentence);
                (number, document.part(begin..document.sentences()), first + begin as u64)
            }
            _ => (number, document, first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shards::ShardBuilder;

    /// A corpus of documents with these numbers of sentences, two documents a shard.
    fn corpus(documents: &[usize]) -> Corpus {
        let special = SpecialTokens { pad: 0, unknown: 1, classification: 2, separator: 3, mask: 4 };
        let tokenizer = TokenizerIdentity { fingerprint: "made up".into(), vocabulary_size: 9, special };
        let shard = |documents: &[usize]| {
            let mut builder = ShardBuilder::new(9).unwrap();
            for &sentences in documents {
                (0..sentences).for_each(|_| builder.push_sentence(&[5, 6]));
                builder.end_document();
            }
            builder.into_shard()
        };
        Corpus::new(documents.chunks(2).map(shard).collect(), tokenizer)
    }

    /// The corpus-wide numbers of the selected sentences.
    fn sentences(corpus: &Corpus, selection: Selection) -> Vec<u64> {
        (0..selection.count(corpus))
            .flat_map(|index| {
                let (_, document, first) = selection.document(corpus, index);
                assert!(document.sentences() > 0);
                first..first + document.sentences() as u64
            })
            .collect()
    }

    #[test]
    fn training_and_held_out_text_divide_the_corpus() {
        for documents in [&[1][..], &[3], &[200], &[1, 1, 1], &[5, 40, 1, 7], &[2; 30]] {
            let corpus = corpus(documents);
            for every in [2, 3, 7, 100] {
                let [training, held_out] =
                    Selection::of_corpus(&corpus, every).map(|selection| sentences(&corpus, selection));
                assert!(!held_out.is_empty());
                let mut both = [training, held_out].concat();
                both.sort_unstable();
                assert_eq!(both, (0..corpus.sentences()).collect::<Vec<_>>(), "{documents:?}, every {every}");
            }
        }
        let whole = |every| Selection::of_corpus(&corpus(&[2; 30]), every)[1];
        assert_eq!(whole(30), Selection::HeldOut { every: 30 });
        assert_eq!(whole(31), Selection::From { sentence: 48 });
    }
}
