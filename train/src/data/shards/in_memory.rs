//! A corpus of text files that leaves nothing on the disk: for what is read once, as in an evaluation.

use std::path::PathBuf;

use super::corpus::Corpus;
use super::manifest::TokenizerIdentity;
use super::shard::ShardBuilder;
use crate::data::error::DataError;
use crate::data::text::{Event, Parts, Reading, files_of, names_of};
use crate::tokenizer::Tokenizer;

impl Corpus {
    /// The text of `sources` as a corpus, two bytes a token.
    ///
    /// # Errors
    /// If a file cannot be read or holds something that is not text, there is no text at all, or the vocabulary is too
    /// large for 16 bits.
    pub fn of_text(sources: &[PathBuf], reading: Reading, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let files = files_of(sources)?;
        let vocabulary_size = tokenizer.vocabulary_size();
        let mut encoder = tokenizer.encoder();
        let (mut shards, mut ids) = (Vec::new(), Vec::new());
        for part in Parts::new(&files, reading) {
            let mut builder = ShardBuilder::new(vocabulary_size)?;
            part?.read(reading.skip_bad_lines, &mut |event| {
                match event {
                    Event::Sentence(sentence) => {
                        ids.clear();
                        encoder.encode(sentence, &mut ids);
                        builder.push_sentence(&ids);
                    }
                    Event::DocumentEnd => builder.end_document(),
                }
                Ok(())
            })?;
            shards.push(builder.into_shard());
        }
        let corpus = Self::new(shards, TokenizerIdentity::of(tokenizer));
        if corpus.tokens() == 0 {
            return Err(DataError::EmptyText { what: names_of(&files) });
        }
        Ok(corpus)
    }
}
