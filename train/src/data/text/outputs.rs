//! What programs of this kind write: no text to learn from, though it lies in a folder of text.

use std::path::Path;

use crate::data::is_prepared;
use crate::run::directory;
use crate::tokenizer;

/// What a folder is that this program, or one like it, has made; `None` for any other.
pub(super) fn what_is(folder: &Path) -> Option<&'static str> {
    let has = |name: &str| folder.join(name).is_file();
    if directory::is_run(folder) {
        Some("a run")
    } else if is_prepared(folder) {
        Some("prepared data")
    } else if has(tokenizer::CONFIG) || has(model::CONFIG_FILE) && has(model::WEIGHTS_FILE) {
        Some("a tokenizer or a model")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A model that was converted without a tokenizer is one too; a folder with a configuration alone may be anybody's.
    #[test]
    fn a_model_needs_no_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(what_is(folder.path()), None);
        fs::write(folder.path().join(model::CONFIG_FILE), "{}").unwrap();
        assert_eq!(what_is(folder.path()), None);
        fs::write(folder.path().join(model::WEIGHTS_FILE), "").unwrap();
        assert_eq!(what_is(folder.path()), Some("a tokenizer or a model"));
    }
}
