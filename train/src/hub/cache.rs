//! The cache that huggingface_hub keeps.
//!
//! It is `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`, and has a folder `models--owner--name` for each
//! model: `refs/main` names the commit that `main` was, `snapshots/COMMIT` has the files under their names, each a link to
//! the one in `blobs` that is called by its hash.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::known::Known;
use super::{Reference, is_name};

/// A variable of the environment by its name.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The variable as a folder or file, `~` at its beginning being the home directory.
pub(super) fn path_in(variables: Variables<'_>, name: &str) -> Option<PathBuf> {
    let path = variables(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    match path.strip_prefix("~") {
        Ok(rest) => Some(PathBuf::from(variables("HOME")?).join(rest)),
        Err(_) => Some(path),
    }
}

/// Where huggingface_hub keeps what it keeps.
pub(super) fn home(variables: Variables<'_>) -> Option<PathBuf> {
    path_in(variables, "HF_HOME")
        .or_else(|| Some(path_in(variables, "XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(path_in(variables, "HOME")?.join(".cache/huggingface")))
}

/// The cache of this machine.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub fn of_environment() -> Result<Self, HubError> {
        Self::of(&|name| std::env::var_os(name))
    }

    pub fn of(variables: Variables<'_>) -> Result<Self, HubError> {
        path_in(variables, "HF_HUB_CACHE")
            .or_else(|| path_in(variables, "HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home(variables)?.join("hub")))
            .map(|folder| Self { folder })
            .ok_or(HubError::NoCache)
    }

    /// The snapshot that is meant.
    ///
    /// # Errors
    /// If it is not there.
    pub fn find(&self, reference: &Reference) -> Result<PathBuf, HubError> {
        let Reference { model, revision } = reference;
        // ALBERT's own models had no owner once, and may lie there under their old names.
        let names = [Some(model.as_str()), Known::with_owner(model).map(|known| known.name)];
        let models = names.into_iter().flatten().map(|model| self.model(model));
        let models: Vec<_> = models.filter(|model| model.folder.is_dir()).collect();
        if models.is_empty() {
            return Err(HubError::NotCached { model: model.clone(), cache: self.folder.clone() });
        }
        let mut revisions = Vec::new();
        for there in models {
            let commit = std::fs::read_to_string(there.reference(revision));
            let commit = commit.map_or_else(|_| revision.clone(), |commit| commit.trim().to_owned());
            let snapshot = there.snapshot(&commit);
            if is_name(&commit) && snapshot.is_dir() {
                return Ok(snapshot);
            }
            revisions.extend(names_below(&there.reference("")));
        }
        Err(HubError::NoRevision { model: model.clone(), revision: revision.clone(), revisions })
    }

    /// What there is, or can be, of a model.
    pub fn model(&self, model: &str) -> CachedModel {
        CachedModel { folder: self.folder.join(format!("models--{}", model.replace('/', "--"))) }
    }
}

/// The names of the files in a folder and in its folders, with the names of these before them.
fn names_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in crate::files::names(folder).unwrap_or_default() {
        let (path, name) = (folder.join(&name), name.to_string_lossy().into_owned());
        match path.is_dir() {
            true => found.extend(names_below(&path).into_iter().map(|below| format!("{name}/{below}"))),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

/// A model's folder in the cache.
pub(super) struct CachedModel {
    pub folder: PathBuf,
}

impl CachedModel {
    /// Where the files of a commit are.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// What names the commit of a branch or tag.
    pub fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_snapshot_is_found_by_name_and_revision() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().into() };
        let model = cache.model("albert/albert-base-v2");
        assert_eq!(model.folder, folder.path().join("models--albert--albert-base-v2"));
        let snapshot = model.snapshot("0a1b");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(model.folder.join("refs/pr")).unwrap();
        fs::write(model.reference("main"), "0a1b\n").unwrap();
        fs::write(model.reference("pr/3"), "ffff").unwrap();
        let find = |reference: &str| cache.find(&Reference::parse(reference).unwrap());
        for reference in ["albert/albert-base-v2", "albert-base-v2@main", "albert/albert-base-v2@0a1b"] {
            assert_eq!(find(reference).unwrap(), snapshot);
        }
        let error = |reference: &str| find(reference).unwrap_err().to_string();
        let missing = error("albert/albert-large-v2");
        assert!(missing.contains("is not in the cache"), "{missing}");
        assert!(missing.contains("albert-train download hf:albert/albert-large-v2"), "{missing}");
        for revision in ["pr/3", "v1"] {
            let error = error(&format!("albert/albert-base-v2@{revision}"));
            assert!(
                error.contains(&format!("not its revision {revision}"))
                    && error.contains("it has main, pr/3"),
                "{error}"
            );
        }
    }

    /// transformers called ALBERT's own models without an owner once, and what it fetched then is still there.
    #[test]
    fn an_old_name_is_found_under_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().into() };
        let model = cache.model("albert-base-v2");
        fs::create_dir_all(model.snapshot("0a1b")).unwrap();
        let reference = Reference::parse("hf:albert/albert-base-v2@0a1b").unwrap();
        assert_eq!(cache.find(&reference).unwrap(), model.snapshot("0a1b"));
    }

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let cache = |set: &[(&str, &str)]| {
            let variables =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            Cache::of(&variables).map(|cache| cache.folder)
        };
        let all = [("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/d")];
        let found = ["/a", "/b/hub", "/c/huggingface/hub", "/d/.cache/huggingface/hub"];
        for (first, expected) in found.iter().enumerate() {
            assert_eq!(cache(&all[first..]).unwrap(), Path::new(expected));
        }
        assert_eq!(cache(&[("HF_HOME", "~/b"), ("HOME", "/d")]).unwrap(), Path::new("/d/b/hub"));
        assert!(cache(&[("HF_HOME", "")]).is_err());
    }
}
