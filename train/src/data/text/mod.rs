//! Text files: lines, sentences, documents.
//!
//! ```text
//! files ─ source ─▶ UTF-8 ─ parts ─▶ parts of one size ─ documents ─▶ sentences and ends of documents
//! ```

mod abbreviations;
mod documents;
mod encoding;
mod format;
mod outputs;
mod parts;
mod reading;
mod record;
mod scripts;
mod sentences;
mod source;

pub use documents::{Event, LONGEST_DOCUMENT, LONGEST_LINE, LONGEST_PARAGRAPH, Oddities};
pub use format::{Format, Reading};
pub(crate) use parts::{PART_SIZE, Part, Parts};
pub use reading::{Few, few_documents, read_lines, with_sentences};
pub(crate) use record::texts_of;
pub(crate) use scripts::is_spaced_letter;
pub(crate) use sentences::is_sentence_end;
pub use source::{
    Copied, STANDARD_INPUT, copied, files_of, has_copies, is_stream, left_out, look_at, reads_standard_input,
    remove_copies, repeatable, text_size,
};
pub(crate) use source::{format_of, names_of};
