//! Made-up corpora for tests.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::dataset::Dataset;
use super::masking::MaskingOptions;
use super::sampler::SampleOptions;
use super::words::WordStarts;
use crate::data::shards::ShardBuilder;
use crate::data::shards::TokenizerIdentity;
use crate::data::shards::{Corpus, Selection};
use crate::draws::{Draws, Purpose};
use crate::tokenizer::SpecialTokens;

pub(crate) const VOCABULARY: usize = 200;
pub(crate) const SPECIAL: SpecialTokens =
    SpecialTokens { pad: 0, unknown: 1, classification: 2, separator: 3, mask: 4 };

/// The shape of a random corpus.
pub(crate) struct Shape {
    pub documents: usize,
    pub sentences: RangeInclusive<usize>,
    pub tokens: RangeInclusive<usize>,
    /// Documents in a shard.
    pub shard: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self { documents: 50, sentences: 1..=30, tokens: 1..=20, shard: 17 }
    }
}

impl Shape {
    /// Random ordinary ids.
    pub fn corpus(&self) -> Arc<Corpus> {
        let mut draws = Draws::new(99, Purpose::Pair, 0, 0);
        let mut within =
            |range: &RangeInclusive<usize>| range.start() + draws.below(range.end() - range.start() + 1);
        let mut shards = Vec::new();
        for start in (0..self.documents).step_by(self.shard) {
            let mut builder = ShardBuilder::new(VOCABULARY).unwrap();
            for _ in start..self.documents.min(start + self.shard) {
                for _ in 0..within(&self.sentences) {
                    let length = within(&self.tokens);
                    let ids: Vec<u32> = (0..length).map(|_| within(&(5..=VOCABULARY - 1)) as u32).collect();
                    builder.push_sentence(&ids);
                }
                builder.end_document();
            }
            shards.push(builder.into_shard());
        }
        let tokenizer = TokenizerIdentity {
            fingerprint: "synthetic".into(),
            vocabulary_size: VOCABULARY,
            special: SPECIAL,
        };
        Arc::new(Corpus::new(shards, tokenizer))
    }
}

/// A quarter of the pieces continue a word.
pub(crate) fn words() -> WordStarts {
    WordStarts::new(VOCABULARY, |id| id % 4 != 0)
}

pub(crate) fn samples(max_seq_length: usize) -> SampleOptions {
    SampleOptions { max_seq_length, ..SampleOptions::default() }
}

/// All of a random corpus.
pub(crate) fn dataset(shape: &Shape, max_seq_length: usize, seed: u64) -> Dataset {
    let options = samples(max_seq_length);
    Dataset::new(shape.corpus(), words(), Selection::All, options, MaskingOptions::default(), seed).unwrap()
}
