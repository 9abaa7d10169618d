//! A folder of shards, seen as one sequence of documents.

use std::path::Path;

use rayon::prelude::*;

use super::manifest::{MANIFEST, Manifest, TokenizerIdentity};
use super::shard::{Document, Shard};
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
        Self { shards, first_documents, first_sentences, tokenizer, tokens }
    }

    /// Refuses a tokenizer that is not the one the shards were made with.
    ///
    /// # Errors
    /// Naming both; `folder` is only for the message.
    pub fn expect_tokenizer(&self, folder: &Path, tokenizer: &Tokenizer) -> Result<(), DataError> {
        let given = TokenizerIdentity::of(tokenizer);
        if self.tokenizer == given {
            return Ok(());
        }
        Err(DataError::OtherTokenizer {
            path: folder.to_path_buf(),
            prepared: self.tokenizer.fingerprint.clone(),
            given: given.fingerprint,
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
}

impl Selection {
    /// How many of `documents` are selected.
    pub fn count(self, documents: usize) -> usize {
        match self {
            Self::All => documents,
            Self::Training { every } => documents - documents / every,
            Self::HeldOut { every } => documents / every,
        }
    }

    /// The corpus-wide number of the `index`-th selected document.
    pub fn nth(self, index: usize) -> usize {
        match self {
            Self::All => index,
            Self::Training { every } => index + index / (every - 1),
            Self::HeldOut { every } => index * every + every - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_and_held_out_documents_divide_the_corpus() {
        for documents in 0..50 {
            for every in 2..7 {
                let pick =
                    |selection: Selection| (0..selection.count(documents)).map(move |i| selection.nth(i));
                let mut both: Vec<usize> =
                    pick(Selection::Training { every }).chain(pick(Selection::HeldOut { every })).collect();
                both.sort_unstable();
                assert_eq!(both, (0..documents).collect::<Vec<_>>(), "every {every}");
                assert!(pick(Selection::HeldOut { every }).all(|d| d % every == every - 1));
            }
        }
    }
}
