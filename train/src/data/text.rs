//! How text is laid out in files.

use serde::{Deserialize, Serialize};

/// How a text file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One sentence a line, a blank line between documents (the reference).
    #[default]
    Sentences,
    /// Paragraphs with a blank line between them, two or more blank lines between documents.
    Prose,
    /// One JSON object a line, its `text` a document in prose.
    Jsonl,
}
