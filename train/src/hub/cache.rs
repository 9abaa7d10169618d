//! The cache that huggingface_hub keeps.
//!
//! It is `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`, and has a folder `models--owner--name` for each
//! model: `refs/main` names the commit that `main` was, `snapshots/COMMIT` has the files under their names, each a link to
//! the one in `blobs` that is called by its hash, or where the file system has no links, the file itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::known::Known;
use super::{Reference, is_name};

/// A variable of the environment by its name.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The variable as a folder or file, as huggingface_hub reads it: `~` at its beginning is the home directory, `$NAME` and `${NAME}`
/// are other variables. (A shell has replaced both already; who reads a file of settings has not.)
pub(super) fn path_in(variables: Variables<'_>, name: &str) -> Option<PathBuf> {
    let path = variables(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    let path = match path.strip_prefix("~") {
        Ok(rest) => PathBuf::from(variables("HOME")?).join(rest),
        Err(_) => path,
    };
    match path.to_str() {
        Some(text) if text.contains('$') => Some(expanded(text, variables).into()),
        _ => Some(path),
    }
}

/// A text with variables in place of their names; those that are not set stay.
fn expanded(text: &str, variables: Variables<'_>) -> OsString {
    let (begin, rest) = text.split_once('$').unwrap_or((text, ""));
    let mut expanded = OsString::from(begin);
    for part in rest.split('$') {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, then) = match part.strip_prefix('{').and_then(|part| part.split_once('}')) {
            Some(braced) => braced,
            None => part.split_at(part.find(|c: char| !is_of_name(c)).unwrap_or(part.len())),
        };
        match Some(name).filter(|name| !name.is_empty()).and_then(variables) {
            Some(value) => {
                expanded.push(value);
                expanded.push(then);
            }
            None => {
                expanded.push("$");
                expanded.push(part);
            }
        }
    }
    expanded
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
            revisions.extend(there.revisions());
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

    /// What it can be asked for: branches and tags whose files are there, then commits that none of those names.
    fn revisions(&self) -> Vec<String> {
        let folder = self.folder.join("snapshots");
        let commits = crate::files::names(&folder).unwrap_or_default().into_iter();
        let commits = commits.filter(|commit| folder.join(commit).is_dir());
        let mut commits: Vec<String> = commits.map(|commit| commit.to_string_lossy().into_owned()).collect();
        commits.sort();
        let named = |name: &String| std::fs::read_to_string(self.reference(name)).unwrap_or_default();
        let mut revisions = names_below(&self.reference(""));
        revisions.retain(|name| commits.iter().any(|commit| commit == named(name).trim()));
        let has_name = |commit: &String| revisions.iter().any(|name| named(name).trim() == commit);
        commits.retain(|commit| !has_name(commit));
        revisions.extend(commits);
        revisions
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
        // The commit that `pr/3` was is not there.
        for revision in ["pr/3", "v1"] {
            let error = error(&format!("albert/albert-base-v2@{revision}"));
            let expected = format!("not its revision {revision}\n  help: it has main; fetch it");
            assert!(error.contains(&expected), "{error}");
        }
        // Of what has no name any more, the commit is one.
        fs::create_dir_all(model.snapshot("1c2d")).unwrap();
        fs::remove_file(model.reference("main")).unwrap();
        let error = error("albert/albert-base-v2");
        assert!(error.contains("not its revision main\n  help: it has 0a1b, 1c2d; fetch it"), "{error}");
        assert_eq!(find("albert/albert-base-v2@1c2d").unwrap(), model.snapshot("1c2d"));
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
        // As a file of settings has it that no shell has read.
        let home = ("HOME", "/d");
        for (said, meant) in [
            ("$HOME/b", "/d/b/hub"),
            ("${HOME}/b$HOME", "/d/b/d/hub"),
            ("/a/$NOBODY/${HOME", "/a/$NOBODY/${HOME/hub"),
            ("/a$/b$", "/a$/b$/hub"),
        ] {
            assert_eq!(cache(&[("HF_HOME", said), home]).unwrap(), Path::new(meant), "{said}");
        }
    }
}
