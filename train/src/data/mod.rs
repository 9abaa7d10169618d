//! From text to ids: files to documents, documents to shards.
//!
//! ```text
//! text ─ prepare ─▶ shards ─ Corpus ─▶ what a run learns from (`pretraining`)
//! ```
//!
//! [`Corpus`] is a folder of memory-mapped shards seen as one sequence of documents. What differs from the reference, and why,
//! is written where it is decided: in `text/documents` (reading).
//!
//! | folder | what a reader finds there |
//! |---|---|
//! | `text` | files to lines, sentences, documents |
//! | `shards` | documents to ids: shards, their manifest, the corpus they make up |

pub(crate) mod error;
pub(crate) mod shards;
pub(crate) mod text;

pub use error::DataError;
pub use shards::{
    BytesDone, Claim, Corpus, Counts, Document, MANIFEST, Manifest, Preparation, Prepared, REPORT, Selection,
    Shard, ShardBuilder, ShardEntry, Source, TOKENIZER_FOLDER, TokenizerIdentity, is_prepared,
    remove_prepared, remove_tokenizer, tokenizer_in,
};
pub(crate) use text::texts_of;
pub use text::{
    Copied, Event, Few, Format, LONGEST_DOCUMENT, LONGEST_LINE, LONGEST_PARAGRAPH, Oddities, Reading,
    STANDARD_INPUT, copied, few_documents, files_of, has_copies, is_stream, left_out, look_at, read_lines,
    reads_standard_input, remove_copies, repeatable, text_size, with_sentences,
};
