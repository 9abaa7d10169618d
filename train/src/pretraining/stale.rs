//! What an earlier start of a run made of other text, before the run had begun.

use std::path::Path;

use crate::config::Pretrain;
use crate::data::{remove_copies, remove_prepared, remove_tokenizer};
use crate::training::SessionError;

/// Whether two settings name the same text to learn from, read alike and by the same tokenizer.
pub fn is_of_same_text(one: &Pretrain, other: &Pretrain) -> bool {
    let text = |settings: &Pretrain| {
        let data = &settings.data;
        (data.train.clone(), data.reading(), data.tokenizer.clone(), settings.model.vocab_size)
    };
    text(one) == text(other)
}

/// Removes from `folder`, the `data/` of a run that has not begun, what an earlier start made of other text or with
/// another vocabulary; `earlier` are its settings if they can be read. What still fits is kept.
///
/// # Errors
/// If something cannot be removed, or is a file of somebody else.
pub fn drop_other_data(
    folder: &Path,
    earlier: Option<&Pretrain>,
    now: &Pretrain,
) -> Result<(), SessionError> {
    let stale: &[&str] = match earlier {
        Some(earlier) if is_of_same_text(earlier, now) && earlier.data.held_out == now.data.held_out => &[],
        Some(earlier) if is_of_same_text(earlier, now) => &["held-out", "held-out-text"],
        _ => &["tokenizer", "training", "training-text", "held-out", "held-out-text"],
    };
    drop_parts(folder, stale)
}

/// Removes from `folder` what was made of the text; copies of what was piped in stay.
///
/// # Errors
/// If something cannot be removed, or is a file of somebody else.
pub(super) fn drop_prepared(folder: &Path) -> Result<(), SessionError> {
    drop_parts(folder, &["tokenizer", "training", "held-out"])
}

/// Removes these parts of it.
pub(super) fn drop_parts(folder: &Path, names: &[&str]) -> Result<(), SessionError> {
    for name in names {
        let path = folder.join(name);
        match *name {
            "tokenizer" => remove_tokenizer(&path)?,
            "training-text" | "held-out-text" => remove_copies(&path)?,
            _ => remove_prepared(&path)?,
        }
    }
    Ok(())
}
