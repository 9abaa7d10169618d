//! Models of the Hub that are on this machine already: `hf:owner/name` reads the cache that huggingface_hub keeps, in place.
//!
//! The cache (`HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`) has a folder `models--owner--name` for each
//! model; `refs/main` names the commit that `main` was, `snapshots/COMMIT` has the files. Nothing is fetched and nothing is
//! written here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::exit::{Classify, ExitCode};

/// What a model of the Hub begins with where a path is expected.
const SCHEME: &str = "hf:";

/// A model that cannot be had from the cache.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No name of a model.
    #[error("`{0}` names no model of the Hub\n  help: write hf:owner/name, or hf:owner/name@revision")]
    Name(String),
    /// It is not there.
    #[error(
        "{model} is not in the cache {}\n  help: fetch it with `hf download {model}`, or name another cache by HF_HUB_CACHE",
        .cache.display()
    )]
    NotCached {
        /// `owner/name`
        model: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// Another revision of it is.
    #[error("{model} is in the cache, but not its revision {revision}\n  help: {}", known(.revisions))]
    NoRevision {
        /// `owner/name`
        model: String,
        /// What was asked for.
        revision: String,
        /// What there is.
        revisions: Vec<String>,
    },
    /// No home directory.
    #[error("there is no cache of the Hub: neither HF_HUB_CACHE nor HF_HOME nor HOME is set")]
    NoCache,
}

fn known(revisions: &[String]) -> String {
    if revisions.is_empty() {
        "it has none: fetch it again".into()
    } else {
        format!("it has {}", revisions.join(", "))
    }
}

impl Classify for HubError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// Whether a path stands for a model of the Hub.
pub fn is_of_hub(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(SCHEME))
}

/// The folder of a model of the Hub in this machine's cache; `None` where `path` is a path.
///
/// # Errors
/// If it is not there.
pub fn cached(path: &Path) -> Result<Option<PathBuf>, HubError> {
    match path.to_str().and_then(|text| text.strip_prefix(SCHEME)) {
        Some(reference) => find(reference, &cache(|name| std::env::var_os(name))?).map(Some),
        None => Ok(None),
    }
}

/// Where the cache is, as huggingface_hub finds it.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, HubError> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("HF_HUB_CACHE")
        .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(folder("HOME")?.join(".cache/huggingface/hub")))
        .ok_or(HubError::NoCache)
}

/// The snapshot of `owner/name` or `owner/name@revision` in `cache`.
fn find(reference: &str, cache: &Path) -> Result<PathBuf, HubError> {
    let (model, revision) = reference.split_once('@').unwrap_or((reference, "main"));
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    // A revision may be a branch with slashes in its name; it never leads out of the model's folder.
    let is_model = model.split('/').count() <= 2 && model.split('/').all(is_name);
    if !is_model || !revision.split('/').all(is_name) {
        return Err(HubError::Name(format!("{SCHEME}{reference}")));
    }
    let folder = cache.join(format!("models--{}", model.replace('/', "--")));
    if !folder.is_dir() {
        return Err(HubError::NotCached { model: model.into(), cache: cache.into() });
    }
    let commit = std::fs::read_to_string(folder.join("refs").join(revision));
    let commit = commit.map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned());
    let snapshot = folder.join("snapshots").join(&commit);
    if is_name(&commit) && snapshot.is_dir() {
        return Ok(snapshot);
    }
    let names = crate::files::names(&folder.join("refs")).unwrap_or_default();
    let revisions = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    Err(HubError::NoRevision { model: model.into(), revision: revision.into(), revisions })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_snapshot_is_found_by_name_and_revision() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("models--albert--albert-base-v2");
        fs::create_dir_all(folder.join("snapshots/0a1b")).unwrap();
        fs::create_dir_all(folder.join("refs/pr")).unwrap();
        fs::write(folder.join("refs/main"), "0a1b\n").unwrap();
        fs::write(folder.join("refs/pr/3"), "ffff").unwrap();
        let find = |reference: &str| find(reference, cache.path());
        let snapshot = folder.join("snapshots/0a1b");
        for reference in ["albert/albert-base-v2", "albert/albert-base-v2@main", "albert/albert-base-v2@0a1b"]
        {
            assert_eq!(find(reference).unwrap(), snapshot);
        }
        let error = |reference: &str| find(reference).unwrap_err().to_string();
        assert!(
            error("albert/albert-large-v2").contains("is not in the cache"),
            "{}",
            error("albert/albert-large-v2")
        );
        for revision in ["pr/3", "v1"] {
            let error = error(&format!("albert/albert-base-v2@{revision}"));
            assert!(
                error.contains(&format!("not its revision {revision}")) && error.contains("main"),
                "{error}"
            );
        }
        for wrong in ["", "a/b/c", "../b", "a/..", "a/b@../../x", "a b", "a/b@"] {
            assert!(error(wrong).contains("names no model"), "{wrong}");
        }
    }

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let cache = |set: &[(&str, &str)]| {
            cache(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        let all = [("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/d")];
        let found = ["/a", "/b/hub", "/c/huggingface/hub", "/d/.cache/huggingface/hub"];
        for (first, expected) in found.iter().enumerate() {
            assert_eq!(cache(&all[first..]).unwrap(), Path::new(expected));
        }
        assert!(cache(&[("HF_HOME", "")]).is_err());
    }
}
