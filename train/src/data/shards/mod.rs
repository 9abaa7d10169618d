//! Text as token ids: made once, mapped into memory, seen as one sequence of documents.

mod claim;
mod corpus;
mod document;
mod in_memory;
mod manifest;
mod prepare;
mod removal;
mod shard;

pub use claim::{Claim, is_prepared};
pub use corpus::{Corpus, Selection};
pub use document::Document;
pub use manifest::{Counts, MANIFEST, Manifest, ShardEntry, Source, TokenizerIdentity};
pub use prepare::{BytesDone, Preparation, Prepared, REPORT, TOKENIZER_FOLDER, tokenizer_in};
pub use removal::{remove_prepared, remove_tokenizer};
pub use shard::{Shard, ShardBuilder};
