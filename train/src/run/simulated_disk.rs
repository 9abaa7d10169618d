//! A disk for tests that can fail, or lose power, at any chosen operation.
//!
//! It works on a real folder and remembers what a real disk might still forget: the content of files written but not
//! synced, and directory entries made but not synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::files::Files;

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing, ever.
    None,
    /// It fails with this system error, once.
    Once(i32),
    /// It and everything after it fails with this system error.
    From(i32),
    /// The process is killed in the middle of it; what was done before stays.
    Kill,
    /// The power goes in the middle of it: unsynced content is lost, all names stay.
    PowerCutLosingContent,
    /// The power goes in the middle of it: unsynced content and unsynced names are lost.
    PowerCutLosingNames,
}

pub const ENOSPC: i32 = 28;
pub const EIO: i32 = 5;

/// A change of directory entries that is not yet durable, and how to take it back.
enum Change {
    Created(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    RemovedFile { path: PathBuf, content: Vec<u8> },
    RemovedDir(PathBuf),
}

#[derive(Default)]
struct State {
    operations: u64,
    dead: bool,
    unsynced_content: Vec<(PathBuf, File)>,
    /// Each with the folders still to be synced.
    unsynced_names: Vec<(Vec<PathBuf>, Change)>,
    room: Option<u64>,
}

/// See the module's page.
pub struct SimulatedDisk {
    fault: Fault,
    at: u64,
    state: Mutex<State>,
}

impl SimulatedDisk {
    /// A disk on which operation number `at` (from 0) meets `fault`.
    pub fn new(fault: Fault, at: u64) -> Arc<Self> {
        Arc::new(SimulatedDisk { fault, at, state: Mutex::default() })
    }

    /// A disk that takes `room` more bytes and then is full; removing files gives room back.
    pub fn with_room(room: u64) -> Arc<Self> {
        let disk = Self::new(Fault::None, 0);
        disk.state().room = Some(room);
        disk
    }

    /// Makes room on a disk made by [`SimulatedDisk::with_room`].
    pub fn add_room(&self, bytes: u64) {
        *self.state().room.as_mut().unwrap() += bytes;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Brings the folder into the state in which the next start would find it.
    pub fn crash(&self) {
        let mut state = self.state();
        if matches!(self.fault, Fault::PowerCutLosingContent | Fault::PowerCutLosingNames) {
            for (_, file) in state.unsynced_content.drain(..) {
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }
        }
        if self.fault == Fault::PowerCutLosingNames {
            while let Some((_, change)) = state.unsynced_names.pop() {
                change.undo();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Counts an operation; `Err` if it fails, after `half` was done if the machine dies in the middle of it.
    fn step(&self, half: impl FnOnce() -> io::Result<()>) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let number = state.operations;
        state.operations += 1;
        let here = number == self.at;
        match self.fault {
            Fault::None => Ok(state),
            Fault::Once(error) if here => Err(io::Error::from_raw_os_error(error)),
            Fault::From(error) if number >= self.at => Err(io::Error::from_raw_os_error(error)),
            Fault::Once(_) | Fault::From(_) => Ok(state),
            _ if state.dead => Err(io::Error::other("the process is dead")),
            _ if here => {
                state.dead = true;
                half()?;
                Err(io::Error::other("the process dies"))
            }
            _ => Ok(state),
        }
    }
}

impl Change {
    fn undo(self) {
        match self {
            Change::Created(path) => {
                fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
            }
            Change::Renamed { from, to, replaced } => {
                fs::rename(&to, from).unwrap();
                if let Some(content) = replaced {
                    fs::write(to, content).unwrap();
                }
            }
            Change::RemovedFile { path, content } => fs::write(path, content).unwrap(),
            Change::RemovedDir(path) => fs::create_dir(path).unwrap(),
        }
    }

    /// The folders that must be synced before the change is durable.
    fn folders(&self) -> Vec<PathBuf> {
        let paths = match self {
            Change::Created(path) | Change::RemovedFile { path, .. } | Change::RemovedDir(path) => vec![path],
            Change::Renamed { from, to, .. } => vec![from, to],
        };
        paths.into_iter().map(|path| path.parent().unwrap().to_owned()).collect()
    }
}

impl State {
    fn changed(&mut self, change: Change) {
        self.unsynced_names.push((change.folders(), change));
    }
}

impl Files for SimulatedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step(|| Ok(()))?;
        fs::create_dir(path)?;
        state.changed(Change::Created(path.into()));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut state = self.step(|| File::create_new(path).map(drop))?;
        let file = File::create_new(path)?;
        state.unsynced_content.push((path.into(), file.try_clone()?));
        state.changed(Change::Created(path.into()));
        Ok(file)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let mut half = file.try_clone()?;
        let mut state = self.step(|| half.write_all(&bytes[..bytes.len() / 2]))?;
        if let Some(room) = &mut state.room {
            let fits = bytes.len().min(*room as usize);
            *room -= fits as u64;
            file.write_all(&bytes[..fits])?;
            return if fits < bytes.len() { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) };
        }
        file.write_all(bytes)
    }

    fn sync(&self, _file: &File, path: &Path) -> io::Result<()> {
        let mut state = self.step(|| Ok(()))?;
        state.unsynced_content.retain(|(unsynced, _)| unsynced != path);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step(|| Ok(()))?;
        let mut gone = Vec::new();
        state.unsynced_names.retain_mut(|(folders, change)| {
            folders.retain(|folder| folder != path);
            if let (true, Change::RemovedDir(dir)) = (folders.is_empty(), change) {
                gone.push(dir.clone());
            }
            !folders.is_empty()
        });
        // With a folder goes what was in it.
        state.unsynced_names.retain(|(folders, _)| !folders.iter().any(|folder| gone.contains(folder)));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.step(|| Ok(()))?;
        let replaced = to.is_file().then(|| fs::read(to)).transpose()?;
        fs::rename(from, to)?;
        state.changed(Change::Renamed { from: from.into(), to: to.into(), replaced });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step(|| Ok(()))?;
        let content = if path.is_symlink() { Vec::new() } else { fs::read(path)? };
        fs::remove_file(path)?;
        if let Some(room) = &mut state.room {
            *room += content.len() as u64;
        }
        state.changed(Change::RemovedFile { path: path.into(), content });
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step(|| Ok(()))?;
        fs::remove_dir(path)?;
        state.changed(Change::RemovedDir(path.into()));
        Ok(())
    }
}
