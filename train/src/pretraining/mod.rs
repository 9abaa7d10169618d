//! ALBERT's two tasks, masked words and sentence order, as an objective of the training loop.
//!
//! ```text
//! Corpus ─▶ Sampler ─▶ masking ─▶ Example ─▶ Batch ─ Pretraining ─▶ the loop
//! ```
//!
//! [`Dataset`] says what example *i* of epoch *e* is, as a pure function of (seed, epoch, index); [`Pretraining`] gives the
//! loop its batches, adds up what a model predicts, and says what the figures mean. [`DataPreparation`] gathers what a run
//! learns from. What differs from the reference, and why, is written where it is decided: in `sampler` (pairs) and `masking`.
//!
//! ```
//! use std::sync::Arc;
//! use train::data::*;
//! use train::pretraining::*;
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
mod benchmark;
mod dataset;
mod diagnosis;
mod example;
mod job;
mod maskable;
mod masking;
mod objective;
mod own_text;
mod preparation;
mod reading;
pub mod recipes;
mod recorded;
#[cfg(test)]
mod reference_tests;
mod report;
mod sampler;
mod settings;
mod show;
mod stale;
mod statistics;
#[cfg(test)]
pub(crate) mod synthetic;
mod words;

pub use batch::{Batch, Division, Normalizers, Padded};
pub use benchmark::{RandomBatch, Timing, time_steps};
pub use dataset::{Dataset, Reader};
pub use example::Example;
pub use job::{PretrainingJob, albert_config, capacity, division, learner, micro_batch, plans};
pub use masking::{LONGEST_NGRAM, Masking, MaskingOptions, Span};
pub use objective::{Pretraining, beats_frequency};
pub use preparation::{DataPreparation, RunData, dataset};
pub use reading::{read_corpus, read_recorded};
pub use recorded::{Limits, Recorded, is_recorded};
pub use report::{CutOff, Report, Spread, share_repeated_in};
pub use sampler::{Epoch, Origin, Pair, SampleOptions, Sampler, SingleSegment};
pub use show::{Shown, write_examples};
pub use stale::{drop_other_data, is_of_same_text};
pub use statistics::Statistics;
pub use words::WordStarts;
