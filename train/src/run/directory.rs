//! The folder of a run: where everything about it lies, and whose it is.
//!
//! ```text
//! RUN/config.toml          every setting, resolved; a valid input itself
//!     run.json             how it stands, and all sessions (see `info`)
//!     products.json        on a GPU: how matrix products are done, where that was found out by timing
//!     metrics.jsonl        what happened (see `journal`)
//!     events.out.tfevents… the same for TensorBoard (see `tensorboard`)
//!     report.html          the same for people (see `report`)
//!     train.log            what was printed
//!     checkpoints/         to resume from (see `checkpoint`)
//!     latest  best         names of checkpoints
//!     model/               the finished model, in the form transformers reads
//!     eval_results.json    its held-out figures
//!     data/                text that it prepared
//!     quarantine/          checkpoints that were put aside, with the reasons
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::cuda::Choices;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checkpoint::{self, CheckpointError, Checkpoints};
use super::clock;
use super::info::{Identity, Machine, RunInfo, Session, Status};
use super::journal::Journal;
use super::lock::{self, Lock, LockError};
use crate::files::{self, Disk};
use crate::visible::visible;

mod error;
mod made;
mod meant;

pub use error::DirectoryError;
use made::Made;
pub use meant::{model_in, tokenizer_of};

/// A run directory, locked by this process.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    info: RunInfo,
    /// What was not there before.
    made: Made,
    _lock: Lock,
}

impl RunDirectory {
    /// Opens `path` for a session, creating it if it is not there, and locks it.
    ///
    /// # Errors
    /// A folder with files of somebody else is refused untouched; so is one that another process works in, and one with
    /// links where a run has files or folders of its own.
    pub fn open(path: &Path, command: &[String]) -> Result<Self, DirectoryError> {
        expect_folder(path)?;
        let made = Made::before(path);
        fs::create_dir_all(path).map_err(io_error("cannot create", path))?;
        refuse_foreign(path)?;
        expect_own(path)?;
        let lock = Lock::acquire(path)?;
        let before = read_info(path)?;
        let now = clock::utc(clock::unix_seconds() as u64);
        let session = Session {
            version: env!("CARGO_PKG_VERSION").into(),
            command: command.into(),
            host: lock::host_name(),
            process: std::process::id(),
            machine: None,
            started: now.clone(),
            ended: None,
            exit_reason: None,
        };
        let mut info = before.unwrap_or_else(|| RunInfo {
            program: PROGRAM.into(),
            status: Status::Running,
            created: now.clone(),
            updated: now,
            data: None,
            sessions: Vec::new(),
        });
        info.begin(session);
        if !has_begun(path) {
            info.data = None;
        }
        let directory = RunDirectory { path: path.into(), info, made, _lock: lock };
        directory.write_json(INFO, &directory.info)?;
        Ok(directory)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `run.json` says.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// What computed in the session before this one, as far as it is known.
    pub fn last_machine(&self) -> Option<&Machine> {
        let before = self.info.sessions.iter().rev().skip(1);
        before.filter_map(|session| session.machine.as_ref()).next()
    }

    /// Notes in `run.json` what computes in this session, which from here on is at work.
    pub fn note_machine(&mut self, machine: Machine) -> Result<(), DirectoryError> {
        self.info.status = Status::Running;
        if let Some(session) = self.info.sessions.last_mut() {
            session.machine = Some(machine);
        }
        self.write_json(INFO, &self.info)
    }

    /// Notes in `run.json` how the session ended. A finished run stays so where a session ended before it computed anything.
    pub fn finish(&mut self, status: Status, reason: &str) -> Result<(), DirectoryError> {
        let now = clock::utc(clock::unix_seconds() as u64);
        if let Some(session) = self.info.sessions.last_mut() {
            (session.ended, session.exit_reason) = (Some(now.clone()), Some(reason.into()));
        }
        self.info.updated = now;
        if self.info.status != Status::Finished {
            self.info.status = status;
        }
        self.write_json(INFO, &self.info)
    }

    /// Writes `config.toml`.
    pub fn write_config(&self, toml: &str) -> Result<(), DirectoryError> {
        self.replace(CONFIG, toml.as_bytes())
    }

    /// The bytes that are free on its disk, if they are fewer than `needed`.
    pub fn shortage(&self, needed: u64) -> Option<u64> {
        free_space(&self.path).filter(|&free| free < needed)
    }

    /// Notes what the run learns from, or refuses what it was not begun with: the place in the data that a checkpoint
    /// remembers would mean other text.
    pub fn expect_data(&mut self, identity: &Identity) -> Result<(), DirectoryError> {
        match &self.info.data {
            Some(begun_with) if !identity.continues(begun_with) => {
                Err(DirectoryError::OtherData { path: self.path.clone(), difference: String::new() })
            }
            Some(_) => Ok(()),
            None => {
                self.info.data = Some(identity.hash().into());
                self.write_json(INFO, &self.info)
            }
        }
    }

    /// Notes how matrix products are done from here on; `None`: as the library proposes.
    pub fn note_choices(&self, choices: Option<&Choices>) -> Result<(), DirectoryError> {
        let Some(choices) = choices else {
            let path = self.path.join(PRODUCTS);
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(io_error("cannot remove", &path)(error))
                }
                _ => Ok(()),
            };
        };
        self.write_json(PRODUCTS, choices)
    }

    /// Path of `data/`, where a run keeps the text that it prepared.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Path of `train.log`.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Opens `metrics.jsonl` for appending.
    pub fn journal(&self) -> Result<Journal, DirectoryError> {
        let path = self.path.join(JOURNAL);
        Journal::open(&path).map_err(io_error("cannot open", &path))
    }

    /// Opens the checkpoints, keeping the newest `keep` and the best.
    pub fn checkpoints(&self, keep: usize) -> Result<Checkpoints, CheckpointError> {
        Checkpoints::open_with(Arc::new(Disk), &self.path, keep)
    }

    /// Writes a result such as `eval_results.json`, whole or not at all.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(io::Error::from)
            .map_err(io_error("cannot write", &path))?;
        bytes.push(b'\n');
        self.replace(name, &bytes)
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        files::replace(&Disk, &path, content).map_err(io_error("cannot write", &path))
    }
}

/// Whether the run in `path` has come so far that other settings would make it another run: it has a checkpoint, or had
/// one. A start that failed or was stopped before that binds nobody.
pub fn has_begun(path: &Path) -> bool {
    let had_one = || ["quarantine", MODEL].iter().any(|name| path.join(name).exists());
    checkpoint::exists_in(path) || had_one() && is_run(path)
}

/// Whether `path` has the `run.json` of a run of this program.
pub fn is_run(path: &Path) -> bool {
    matches!(read_info(path), Ok(Some(info)) if info.program == PROGRAM)
}

/// Puts the finished model of a run, whose directory this process has opened, into its `model/`: `write` fills a folder, whose
/// files then take their places one by one, synced. A model of an earlier session is replaced; files that somebody added
/// there stay.
pub fn publish_model<E: From<DirectoryError>>(
    run: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<PathBuf, E> {
    let model = run.join(MODEL);
    place_model(&run.join(MODEL_STAGING), &model, write)?;
    Ok(model)
}

/// Makes a folder a model in the same way, one that is new or [empty](is_empty): where it fails, the folder is as it was.
pub fn create_model<E: From<DirectoryError>>(
    folder: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let made = files::missing_folders(folder);
    fs::create_dir_all(folder).map_err(io_error("cannot create", folder))?;
    let placed = place_model(&folder.join(MODEL_STAGING), folder, write);
    if placed.is_err() {
        made.iter().for_each(|folder| drop(fs::remove_dir(folder))); // as long as nobody put anything there
    }
    placed
}

/// Whether a folder is not there, or holds nothing but what is left of a [`create_model`] that was killed.
pub fn is_empty(folder: &Path) -> bool {
    let is_remnant = |names: Vec<OsString>| names.iter().all(|name| name == MODEL_STAGING);
    files::names(folder).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, is_remnant)
}

fn place_model<E: From<DirectoryError>>(
    staging: &Path,
    model: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let clear = || files::remove_flat_dir(&Disk, staging, is_of_model);
    clear().and_then(|()| fs::create_dir(staging)).map_err(io_error("cannot create", staging))?;
    let place = || -> io::Result<()> {
        fs::create_dir_all(model)?;
        for name in files::names(staging)? {
            let from = staging.join(&name);
            File::open(&from)?.sync_all()?;
            fs::rename(from, model.join(name))?;
        }
        files::Files::sync_dir(&Disk, model)?;
        fs::remove_dir(staging)
    };
    let placed = write(staging).and_then(|()| Ok(place().map_err(io_error("cannot write", model))?));
    if placed.is_err() {
        let _ = clear(); // a full disk must not stay full of our remains; the first error is the one to tell
    }
    placed
}

/// What `run.json` of the run in `path` says, without opening the run; `None` if that is not a run.
pub fn read_info(path: &Path) -> Result<Option<RunInfo>, DirectoryError> {
    read_json(&path.join(INFO))
}

/// How the run in `path` does matrix products, where that was found out by timing.
pub fn read_choices(path: &Path) -> Result<Option<Choices>, DirectoryError> {
    read_json(&path.join(PRODUCTS))
}

/// What a file of a run says, if it is there.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DirectoryError> {
    match files::read_plain(path, MOST_JSON) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| DirectoryError::Damaged { path: path.into(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("cannot read", path)(source)),
    }
}

/// The folder of a run in which its model is.
pub const MODEL: &str = "model";

const PROGRAM: &str = "albert-train";
const INFO: &str = "run.json";
/// Where it keeps how matrix products are done.
pub const PRODUCTS: &str = "products.json";
/// Where a run keeps its settings.
pub const CONFIG: &str = "config.toml";
/// Where it keeps the held-out figures of its model.
pub const EVAL_RESULTS: &str = "eval_results.json";
const LOG: &str = "train.log";
/// Where it keeps what happened.
pub const JOURNAL: &str = "metrics.jsonl";
/// Where it is shown to people.
pub const REPORT: &str = "report.html";
/// Where it keeps the text that it prepared.
pub const DATA: &str = "data";
/// Folders that a run makes, each before those in it.
const FOLDERS: [&str; 11] = [
    checkpoint::FOLDER,
    checkpoint::QUARANTINE,
    MODEL,
    DATA,
    "data/tokenizer",
    "data/training",
    "data/training/tokenizer",
    "data/training-text",
    "data/held-out",
    "data/held-out/tokenizer",
    "data/held-out-text",
];
const MODEL_STAGING: &str = ".model.staging";
/// What may be found there of a model whose writing was cut off.
const MODEL_FILES: [&str; 8] = [
    "README.md",
    "config.json",
    "model.safetensors",
    "spiece.model",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

fn is_of_model(name: &OsStr) -> bool {
    MODEL_FILES.iter().any(|&file| name == file)
}

/// No file of a run that is read whole comes near this many bytes.
const MOST_JSON: u64 = 1 << 30;

/// Bytes that can still be written to the file system of `path`, where the system tells.
pub fn free_space(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let space = rustix::fs::statvfs(path).ok()?;
        space.f_bavail.checked_mul(space.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Refuses, without a change, a folder that [`RunDirectory::open`] would refuse.
pub fn look_at(path: &Path) -> Result<(), DirectoryError> {
    expect_folder(path)?;
    if !path.exists() {
        return Ok(());
    }
    refuse_foreign(path)?;
    expect_own(path)?;
    match lock::is_held(path) {
        Some(true) => Err(LockError::Held { run: path.into(), holder: "another process".into() }.into()),
        _ => Ok(()),
    }
}

fn expect_folder(path: &Path) -> Result<(), DirectoryError> {
    files::no_folder(path).map_or(Ok(()), |path| Err(DirectoryError::NoFolder { path }))
}

/// A folder is ours if it has our `run.json` or a checkpoint, or nothing but what a start that was cut off leaves.
fn refuse_foreign(path: &Path) -> Result<(), DirectoryError> {
    if is_run(path) || checkpoint::exists_in(path) {
        return Ok(());
    }
    for name in files::names(path).map_err(io_error("cannot list", path))? {
        let is_cut_off = name == lock::NAME && lock::is_ours(&path.join(&name));
        if !is_cut_off && name != files::beside(INFO.as_ref()) {
            let mut suggestion = path.as_os_str().to_owned();
            suggestion.push("-run");
            return Err(DirectoryError::Foreign {
                path: path.into(),
                example: visible(&name.to_string_lossy()),
                suggestion: suggestion.into(),
            });
        }
    }
    Ok(())
}

/// A run writes and deletes in these folders and on these files: a link in their place would lead elsewhere. That is told
/// before the work begins and not hours later. (All other files are replaced whole, and a link with them.)
fn expect_own(path: &Path) -> Result<(), DirectoryError> {
    let staging = path.join(MODEL_STAGING);
    if fs::symlink_metadata(&staging).is_ok_and(|found| found.is_dir()) {
        let names = files::names(&staging).map_err(io_error("cannot list", &staging))?;
        if let Some(foreign) = names.iter().find(|name| !is_of_model(name) && !files::is_beside(name)) {
            let (path, found, expected) = (staging.join(foreign), "a file of somebody else", "only files");
            return Err(DirectoryError::InTheWay { path, found, expected });
        }
    }
    let files = [lock::NAME, LOG, JOURNAL].map(|name| (name, false));
    for (name, is_folder) in FOLDERS.map(|name| (name, true)).into_iter().chain(files) {
        let path = path.join(name);
        let (kind, links) = match fs::symlink_metadata(&path) {
            Ok(metadata) => (metadata.file_type(), links(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(io_error("cannot look at", &path)(source)),
        };
        let found = match () {
            () if kind.is_symlink() => "a symbolic link",
            () if kind.is_dir() != is_folder && kind.is_dir() => "a folder",
            () if kind.is_file() == is_folder && kind.is_file() => "a file",
            () if kind.is_file() && links > 1 => "a hard link to a file that has other names",
            () if kind.is_dir() || kind.is_file() => continue,
            () => "a pipe or device",
        };
        let expected = if is_folder { "a folder" } else { "a file" };
        return Err(DirectoryError::InTheWay { path, found, expected });
    }
    Ok(())
}

/// How many names a file has.
fn links(metadata: &fs::Metadata) -> u64 {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::nlink(metadata);
    #[cfg(not(unix))]
    1
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
