//! Text and samples that are read once, to measure with: nothing is written.

use std::path::PathBuf;
use std::sync::Arc;

use super::dataset::Dataset;
use super::preparation::{open_prepared, prepared_folder};
use super::recorded::{Limits, Recorded, is_recorded};
use crate::data::{Corpus, DataError, Reading, Selection};
use crate::tokenizer::Tokenizer;
use crate::training::SessionError;

/// The text of `paths`, files or one prepared folder, as a corpus; nothing is written.
///
/// # Errors
/// If it cannot be read, or was prepared with another tokenizer.
pub fn read_corpus(
    paths: &[PathBuf],
    reading: Reading,
    tokenizer: &Tokenizer,
) -> Result<Arc<Corpus>, SessionError> {
    Ok(Arc::new(match prepared_folder(paths)? {
        Some(folder) => open_prepared(&folder, tokenizer)?,
        None => Corpus::of_text(paths, reading, tokenizer)?,
    }))
}

/// Samples that somebody made before, to measure a model of `vocabulary_size` with: records of at most `length` tokens.
///
/// # Errors
/// If some of `paths` are no such files, or a record does not fit.
pub fn read_recorded(
    paths: &[PathBuf],
    selection: Selection,
    tokenizer: &Tokenizer,
    (vocabulary_size, length): (usize, usize),
) -> Result<Arc<Dataset>, SessionError> {
    let (records, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| is_recorded(path));
    if let (Some(&path), false) = (records.first(), others.is_empty()) {
        return Err(DataError::Recorded { path: path.clone(), problem: "give such files alone" }.into());
    }
    let limits = Limits { vocabulary_size, length, predictions: length };
    let (recorded, _) = Recorded::open(paths, selection, limits, tokenizer.special(), 0)?;
    Ok(Arc::new(Dataset::recorded(recorded)))
}
