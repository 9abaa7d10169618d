//! A corpus of text files that leaves nothing on the disk: for what is read once, as in an evaluation.

use std::path::PathBuf;

use super::corpus::Corpus;
use super::manifest::TokenizerIdentity;
use super::shard::ShardBuilder;
use crate::data::error::DataError;
use crate::data::text::{Event, Format, read_documents};
use crate::tokenizer::Tokenizer;

/// Tokens of a shard, at least; a shard ends with a document.
const SHARD_TOKENS: usize = 1 << 24;

impl Corpus {
    /// The text of `sources` as a corpus, two bytes a token.
    ///
    /// # Errors
    /// If a file cannot be read or holds something that is not text, there is no text at all, or the vocabulary is too
    /// large for 16 bits.
    pub fn of_text(sources: &[PathBuf], format: Format, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let vocabulary_size = tokenizer.vocabulary_size();
        let mut encoder = tokenizer.encoder();
        let mut builder = ShardBuilder::new(vocabulary_size)?;
        let (mut shards, mut tokens, mut ids) = (Vec::new(), 0, Vec::new());
        for source in sources {
            read_documents(source, 0..u64::MAX, format, &mut |event| {
                match event {
                    Event::Sentence(sentence) => {
                        ids.clear();
                        encoder.encode(sentence, &mut ids);
                        tokens += ids.len();
                        builder.push_sentence(&ids);
                    }
                    Event::DocumentEnd => {
                        builder.end_document();
                        if tokens >= SHARD_TOKENS {
                            let full = std::mem::replace(&mut builder, ShardBuilder::new(vocabulary_size)?);
                            shards.push(full.into_shard());
                            tokens = 0;
                        }
                    }
                }
                Ok(())
            })?;
        }
        shards.push(builder.into_shard());
        let corpus = Self::new(shards, TokenizerIdentity::of(tokenizer));
        if corpus.tokens() == 0 {
            let names: Vec<_> = sources.iter().map(|source| source.display().to_string()).collect();
            return Err(DataError::EmptyText { what: names.join(", ") });
        }
        Ok(corpus)
    }
}
