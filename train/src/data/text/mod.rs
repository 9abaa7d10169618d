//! Text files: lines, sentences, documents.

mod documents;
mod reading;
mod sentences;

pub(super) use documents::parts;
pub use documents::{Event, Format, LONGEST_DOCUMENT, LONGEST_LINE, read_documents, read_lines};
pub(super) use reading::text_file;
pub use reading::with_sentences;
