//! Models of the Hugging Face Hub: `hf:owner/name` means one wherever a model is expected.
//!
//! It is read in place from the cache that huggingface_hub keeps on this machine, and transformers with it. Nothing is
//! fetched unless it is asked for: that is [`download`].

mod cache;
mod download;
mod error;
mod known;

use std::fmt;
use std::path::{Path, PathBuf};

pub use download::{Downloaded, Event, download};
pub use error::{DownloadError, HubError};
pub use known::{KNOWN, Known};

use model::{ModelError, Origin};

use cache::Cache;

/// What a model of the Hub begins with where a path is expected.
const SCHEME: &str = "hf:";
/// The revision that is meant where none is named.
const MAIN: &str = "main";

/// A model of the Hub in one of its revisions: `hf:owner/name`, or `hf:owner/name@revision`.
///
/// ```
/// use train::hub::Reference;
/// let short = Reference::parse("albert-base-v2")?;
/// assert_eq!(short, Reference::parse("hf:albert/albert-base-v2@main")?);
/// assert_eq!(short.to_string(), "hf:albert/albert-base-v2");
/// # Ok::<(), train::hub::HubError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    model: String,
    revision: String,
}

impl Reference {
    /// Reads a reference, with or without its `hf:`. ALBERT's own models need no owner.
    ///
    /// # Errors
    /// If it names no model.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let reference = text.strip_prefix(SCHEME).unwrap_or(text);
        let (model, revision) = reference.split_once('@').unwrap_or((reference, MAIN));
        let is_model = model.split('/').count() <= 2 && model.split('/').all(is_name);
        // A revision may be a branch with slashes in its name; it never leads out of the model's folder.
        if !is_model || !revision.split('/').all(is_name) {
            return Err(HubError::Name(text.into()));
        }
        let model = match Known::of(model) {
            Some(known) => known.model(),
            None => model.into(),
        };
        Ok(Self { model, revision: revision.into() })
    }

    /// `owner/name`
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.model)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Whether a part of a name, a revision or a commit can be a part of a path that leads nowhere else.
fn is_name(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Whether a path stands for a model of the Hub.
pub fn is_of_hub(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(SCHEME))
}

/// The folder of a model of the Hub in this machine's cache; `None` where `path` is a path. Whoever needed its tokenizer alone
/// may have fetched nothing else.
///
/// # Errors
/// If it is not there.
pub fn cached(path: &Path) -> Result<Option<PathBuf>, HubError> {
    reference_in(path)?.map(|reference| Cache::of_environment()?.find(&reference)).transpose()
}

/// As [`cached`], of a model that is there with its weights.
///
/// # Errors
/// If some of its files are missing. One that is odd in another way is for its reader to refuse.
pub fn cached_model(path: &Path) -> Result<Option<PathBuf>, HubError> {
    let Some(reference) = reference_in(path)? else { return Ok(None) };
    let snapshot = Cache::of_environment()?.find(&reference)?;
    let otherwise = match is_whole(&snapshot) {
        Ok(false) => String::new(),
        Err(error @ ModelError::OtherForm { .. }) => format!("; if the Hub has none either: {error}"),
        Ok(true) | Err(_) => return Ok(Some(snapshot)),
    };
    Err(HubError::NoWeights { reference, otherwise })
}

/// The model of the Hub that may be meant by a path that leads nowhere: one of ALBERT's own by its name, or `owner/name`.
pub(crate) fn perhaps_meant(path: &Path) -> Option<Reference> {
    let text = path.to_str().filter(|_| !is_of_hub(path) && !path.exists())?;
    let name = text.split('@').next().unwrap_or_default();
    let is_elsewhere = |owner: &str| !owner.is_empty() && !Path::new(owner).exists();
    let is_name = match name.split_once('/') {
        Some((owner, _)) => is_elsewhere(owner),
        None => Known::of(name).is_some(),
    };
    Reference::parse(text).ok().filter(|_| is_name)
}

/// Whether a path is the name of a model of the Hub, be it without its `hf:`, which is refused where the model is looked for.
pub(crate) fn is_model_name(path: &Path) -> bool {
    is_of_hub(path) || perhaps_meant(path).is_some()
}

fn reference_in(path: &Path) -> Result<Option<Reference>, HubError> {
    path.to_str().filter(|_| is_of_hub(path)).map(Reference::parse).transpose()
}

/// Whether a snapshot holds a model and not only some of its files.
fn is_whole(snapshot: &Path) -> Result<bool, ModelError> {
    Origin::of(snapshot)?.is_whole()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_model_is_refused() {
        for wrong in ["", "a/b/c", "../b", "a/..", "a/b@../../x", "a b", "a/b@", "hf:hf:a/b", "a/b@x y"] {
            let error = Reference::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("names no model"), "{wrong}: {error}");
        }
        let reference = Reference::parse("hf:me/mine@refs/pr/1").unwrap();
        assert_eq!((reference.model(), reference.revision()), ("me/mine", "refs/pr/1"));
        assert_eq!(reference.to_string(), "hf:me/mine@refs/pr/1");
    }

    #[test]
    fn a_name_without_its_scheme_is_known_as_one() {
        let meant = |path: &str| perhaps_meant(Path::new(path)).map(|reference| reference.to_string());
        assert_eq!(meant("albert-base-v2").as_deref(), Some("hf:albert/albert-base-v2"));
        assert_eq!(meant("me/mine@v1").as_deref(), Some("hf:me/mine@v1"));
        // Paths of this machine, misspelt or not: tests run in the folder of their package, which has `src`.
        for path in ["src", "src/no-such", "no-such", "/no/such", "./no-such", "a/b/c", "hf:me/mine"] {
            assert_eq!(meant(path), None, "{path}");
        }
    }

    #[test]
    fn paths_are_no_references() {
        assert!(!is_of_hub(Path::new("albert-base-v2")));
        assert_eq!(cached(Path::new("me/mine")).unwrap(), None);
    }
}
