//! From text to batches.
//!
//! ```text
//! text ─ prepare ─▶ shards ─ Corpus ─▶ Sampler ─▶ masking ─▶ Example ─▶ Batch ─ BatchStream ─▶ the run
//! ```
//!
//! [`Corpus`] is a folder of memory-mapped shards seen as one sequence of documents; [`Dataset`] says what example
//! *i* of epoch *e* is, as a pure function of (seed, epoch, index); [`BatchStream`] makes batches ahead of the run.
//! What differs from the reference, and why, is written where it is decided: in `pretraining/sampler` (pairs),
//! `pretraining/masking` and `text/documents` (reading).
//!
//! | folder | what a reader finds there |
//! |---|---|
//! | `text` | files to lines, sentences, documents |
//! | `shards` | documents to ids: shards, their manifest, the corpus they make up |
//! | `pretraining` | ids to masked examples: ALBERT's two tasks |
//! | `batch` | examples to packed batches, ahead of time |
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
mod error;
mod pretraining;
mod report;
mod shards;
mod text;

pub use batch::{Batch, BatchStream, Normalizers, Padded, Step, next_step};
pub use error::DataError;
pub use pretraining::{
    Dataset, Epoch, Example, LONGEST_NGRAM, Masking, MaskingOptions, Origin, Pair, Position, Reader,
    SampleOptions, Sampler, Shown, SingleSegment, Span, Statistics, WordStarts, write_examples,
};
pub use report::{CutOff, REPORT, Report, Spread, share_repeated_in};
pub use shards::{
    BytesDone, Corpus, Counts, Document, MANIFEST, Manifest, Preparation, Prepared, Selection, Shard,
    ShardBuilder, ShardEntry, Source, TOKENIZER_FOLDER, TokenizerIdentity, is_prepared, tokenizer_in,
};
pub use text::{
    Event, Format, LONGEST_DOCUMENT, LONGEST_LINE, LONGEST_PARAGRAPH, Oddities, Reading, STANDARD_INPUT,
    few_documents, files_of, is_stream, look_at, read_lines, repeatable, text_size, with_sentences,
};
