//! From text to batches.
//!
//! ```text
//! text ─ prepare ─▶ shards ─ Corpus ─▶ Sampler ─▶ masking ─▶ Example ─▶ Batch ─ BatchStream ─▶ the run
//! ```
//!
//! [`Corpus`] is a folder of memory-mapped shards seen as one sequence of documents; [`Dataset`] says what example
//! *i* of epoch *e* is, as a pure function of (seed, epoch, index); [`BatchStream`] makes batches ahead of the run.
//! What differs from the reference, and why, is written where it is decided: in `sampler` (pairs), `masking` and
//! `text` (reading).
//!
//! ```
//! use std::sync::Arc;
//! use train::data::*;
//! use train::tokenizer::SpecialTokens;
//!
//! let special = SpecialTokens { pad: 0, unknown: 1, classification: 2, separator: 3, mask: 4 };
//! let tokenizer = TokenizerIdentity { fingerprint: "example".into(), vocabulary_size: 20, special };
//! let mut shard = ShardBuilder::new(20)?;
//! shard.push_sentence(&[5, 6, 7]);
//! shard.push_sentence(&[8, 9]);
//! let corpus = Arc::new(Corpus::new(vec![shard.into_shard()], tokenizer));
//!
//! let words = WordStarts::new(20, |_| true);
//! let samples = SampleOptions { short_seq_prob: 0.0, ..SampleOptions::default() };
//! let dataset = Dataset::new(corpus, words, Selection::All, samples, MaskingOptions::default(), 1)?;
//! let example = dataset.example(&dataset.epoch(0), 0);
//! assert_eq!(example.token_ids.len(), 8, "[CLS] 3 tokens [SEP] 2 tokens [SEP], in either order");
//! # Ok::<(), DataError>(())
//! ```

mod batch;
mod corpus;
mod dataset;
mod error;
mod example;
mod in_memory;
mod manifest;
mod masking;
mod permutation;
mod prepare;
mod reading;
#[cfg(test)]
mod reference_tests;
mod sampler;
mod sentences;
mod shard;
mod show;
mod statistics;
mod stream;
#[cfg(test)]
mod synthetic;
mod text;
mod words;

pub use batch::{Batch, Normalizers, Padded};
pub use corpus::{Corpus, Selection};
pub use dataset::{Dataset, Position, Reader};
pub use error::DataError;
pub use example::Example;
pub use manifest::{Counts, MANIFEST, Manifest, ShardEntry, Source, TokenizerIdentity};
pub use masking::{LONGEST_NGRAM, Masking, MaskingOptions, Span};
pub use prepare::{Preparation, Prepared, TOKENIZER_FOLDER};
pub use reading::with_sentences;
pub use sampler::{Epoch, Origin, Pair, SampleOptions, Sampler, SingleSegment};
pub use shard::{Document, Shard, ShardBuilder};
pub use show::{Shown, write_examples};
pub use statistics::Statistics;
pub use stream::{BatchStream, Step, next_step};
pub use text::{Event, Format, LONGEST_DOCUMENT, LONGEST_LINE, read_documents, read_lines};
pub use words::WordStarts;
