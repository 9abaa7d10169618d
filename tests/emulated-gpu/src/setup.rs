//! Makes CUDA look installed to the tests of this process: the emulated GPU under the names of NVIDIA's libraries, and
//! the real NVRTC from PyPI. Everything lands in cargo's target folder, once, however many tests run at a time.
//!
//! Where the shared library is found: `cargo test` builds this crate as `rlib` and `cdylib` in one step whenever a
//! test depends on it, and puts both in `deps`, beside the test's own executable. So the library is always of the same
//! build as the code that looks for it.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::LazyLock;

use libloading::os::unix::Library;
use thiserror::Error;

use crate::compiler::{Release, UnknownRelease};
use crate::names::NAMES;

/// The disassembler, of the oldest version that there is.
const NVDISASM: &str = "nvidia-cuda-nvdisasm==13.2.51";
/// Set to `1` to have tests fail where the emulated GPU is not available; `CI` does the same.
pub const REQUIRE: &str = "ALBERT_REQUIRE_EMULATED_GPU";

/// Why there is no emulated GPU.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The shared library is not where cargo puts it.
    #[error("no {file} beside {executable}: run the tests with cargo, which builds it", file = LIBRARY)]
    NoLibrary {
        /// The test that looked.
        executable: PathBuf,
    },
    /// NVRTC could not be fetched.
    #[error("cannot fetch {package} from PyPI with `python3 -m pip`: {reason}")]
    Fetch {
        /// What was wanted.
        package: &'static str,
        /// What pip said, or why it did not run.
        reason: String,
    },
    /// There is no such compiler.
    #[error(transparent)]
    Release(#[from] UnknownRelease),
    /// The loader refused a library.
    #[error(transparent)]
    Load(#[from] libloading::Error),
    /// A file or folder could not be made.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The folders that were set up.
#[derive(Debug)]
pub struct Installation {
    /// Holds the emulated GPU under NVIDIA's names.
    pub gpu: PathBuf,
    /// Holds NVRTC.
    pub nvrtc: PathBuf,
}

/// Set to `1` to have tests run on the machine's own GPU, with its own libraries, and this crate stand aside.
pub const REAL: &str = "ALBERT_REAL_GPU";

const LIBRARY: &str = "libemulated_gpu.so";

/// Whether tests are to run on the machine's own GPU.
pub fn real() -> bool {
    asked_for(REAL)
}

/// Whether this process has a GPU, setting up the emulated one on the first call. For tests: where there is none, says
/// that the test is skipped, or panics if [`REQUIRE`] or `CI` asks for it.
pub fn available() -> bool {
    static INSTALLED: LazyLock<Result<(), SetupError>> = LazyLock::new(|| install()?.load());
    if real() {
        return true;
    }
    let Err(error) = &*INSTALLED else { return true };
    assert!(!asked_for(REQUIRE) && !asked_for("CI"), "no emulated GPU: {error}");
    // Not `eprintln!`, which the test harness would capture and drop when the test passes.
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("SKIPPED, no emulated GPU: {error}\n"));
    false
}

fn asked_for(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Sets up both folders.
///
/// # Errors
/// Where the library was not built, NVRTC cannot be fetched, or a folder cannot be written.
pub fn install() -> Result<Installation, SetupError> {
    let executable = env::current_exe().map_err(at(Path::new("the test's own executable")))?;
    let gpu = link_library(&executable)?;
    let nvrtc = fetch_nvrtc(target_folder(&gpu), Release::chosen()?, "python3")?;
    Ok(Installation { gpu, nvrtc })
}

impl Installation {
    /// Opens the libraries, for good. Whoever opens them later by their bare names finds them.
    ///
    /// # Errors
    /// What the loader says.
    pub fn load(&self) -> Result<(), SetupError> {
        let nvrtc = Release::chosen()?.libraries.map(|name| self.nvrtc.join(name)).into_iter();
        for path in nvrtc.chain([self.gpu.join(NAMES[0])]) {
            // SAFETY: the start-up code of this crate and of NVRTC is sound to run at any time.
            std::mem::forget(unsafe { Library::new(&path) }?);
        }
        Ok(())
    }
}

/// A folder beside the library with a link to it under each of its names.
fn link_library(executable: &Path) -> Result<PathBuf, SetupError> {
    // Tests and benches are in `deps`; examples are beside it.
    let folders = executable.ancestors().skip(1).take(2);
    let found = folders.flat_map(|folder| [folder.to_owned(), folder.join("deps")]);
    let Some(library) = found.map(|folder| folder.join(LIBRARY)).find(|path| path.is_file()) else {
        return Err(SetupError::NoLibrary { executable: executable.to_owned() });
    };
    let folder = library.with_file_name("emulated-gpu");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    // Relative, so that a copied target folder holds no links into the original.
    let original = Path::new("..").join(LIBRARY);
    for name in NAMES {
        let (link, draft) = (folder.join(name), folder.join(format!("{name}.{}", process::id())));
        if fs::read_link(&link).is_ok_and(|target| target == original) {
            continue;
        }
        symlink(&original, &draft).and_then(|()| fs::rename(&draft, &link)).map_err(at(&link))?;
    }
    Ok(folder)
}

/// The folder of all profiles, of which `gpu` is `<profile>/deps/emulated-gpu`. Not the folder with cargo's
/// `CACHEDIR.TAG`: cargo leaves none in a target folder that somebody else made.
fn target_folder(gpu: &Path) -> &Path {
    gpu.ancestors().nth(3).expect("a path below a profile of a target folder")
}

/// The folder with NVRTC's libraries, fetched if it is not there yet.
fn fetch_nvrtc(target: &Path, release: &Release, python: &str) -> Result<PathBuf, SetupError> {
    let &Release { version, package, folder, .. } = release;
    let finish = |draft: &Path| remove_alternatives(&draft.join(folder));
    fetch(target, python, package, &format!("cuda-{version}"), folder, finish)
}

/// `nvdisasm`, fetched if it is not there yet.
///
/// # Errors
/// Where it cannot be fetched, or a folder cannot be written.
pub fn disassembler() -> Result<PathBuf, SetupError> {
    let executable = env::current_exe().map_err(at(Path::new("the test's own executable")))?;
    let gpu = link_library(&executable)?;
    let program = "nvidia/cu13/bin/nvdisasm";
    fetch(target_folder(&gpu), "python3", NVDISASM, "nvdisasm-13.2", program, |_| Ok(()))
}

/// A file or folder `wanted` of a package, which is fetched into a folder `name` if it is not there yet. It appears whole,
/// once `finish` is done with it, or not at all.
fn fetch(
    target: &Path,
    python: &str,
    package: &'static str,
    name: &str,
    wanted: &str,
    finish: impl FnOnce(&Path) -> Result<(), SetupError>,
) -> Result<PathBuf, SetupError> {
    let home = target.join(name);
    let wanted = home.join(wanted);
    if wanted.exists() {
        return Ok(wanted);
    }
    let lock_path = target.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    lock.lock().map_err(at(&lock_path))?;
    if wanted.exists() {
        return Ok(wanted);
    }
    let draft = target.join(format!("{name}.draft"));
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(at(&draft))?;
    }
    let pip = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--target"])
        .arg(&draft)
        .arg(package)
        .output()
        .map_err(|error| SetupError::Fetch { package, reason: error.to_string() })?;
    if !pip.status.success() {
        let reason = String::from_utf8_lossy(&pip.stderr).trim().to_owned();
        return Err(SetupError::Fetch { package, reason });
    }
    finish(&draft)?;
    fs::rename(&draft, &home).map_err(at(&home))?;
    Ok(wanted)
}

/// Some wheels hold every library twice, once built for older systems: 110 MB that nobody here opens.
fn remove_alternatives(libraries: &Path) -> Result<(), SetupError> {
    for entry in fs::read_dir(libraries).map_err(at(libraries))? {
        let path = entry.map_err(at(libraries))?.path();
        if path.to_string_lossy().contains(".alt.") {
            fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SetupError {
    let path = path.to_owned();
    move |source| SetupError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiler::RELEASES;

    #[test]
    fn a_fetch_that_fails_says_why_and_leaves_nothing_half_done() {
        let target = tempfile::tempdir().unwrap();
        for python in ["no-such-python", "false"] {
            let error = fetch_nvrtc(target.path(), &RELEASES[0], python).unwrap_err();
            assert!(matches!(error, SetupError::Fetch { .. }), "{error}");
            assert!(!target.path().join("cuda-13.0").exists());
        }
    }

    #[test]
    fn a_fetched_library_is_not_fetched_again() {
        let target = tempfile::tempdir().unwrap();
        let libraries = target.path().join("cuda-13.0/nvidia/cu13/lib");
        fs::create_dir_all(&libraries).unwrap();
        assert_eq!(fetch_nvrtc(target.path(), &RELEASES[0], "no-such-python").unwrap(), libraries);
    }

    #[test]
    fn links_are_made_once_and_lead_to_the_library() {
        let folder = tempfile::tempdir().unwrap();
        let executable = folder.path().join("deps").join("test-0");
        assert!(matches!(link_library(&executable), Err(SetupError::NoLibrary { .. })));
        fs::create_dir(folder.path().join("deps")).unwrap();
        fs::write(folder.path().join("deps").join(LIBRARY), "library").unwrap();
        for executable in
            [&executable, &folder.path().join("examples/program"), &folder.path().join("program")]
        {
            let links = link_library(executable).unwrap();
            for name in NAMES {
                assert_eq!(fs::read_to_string(links.join(name)).unwrap(), "library");
            }
            assert_eq!(fs::read_dir(links).unwrap().count(), NAMES.len());
        }
    }
}
