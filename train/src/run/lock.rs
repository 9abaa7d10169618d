//! One process per run directory.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::exit::{Classify, ExitCode};

/// A run directory belongs to this process for as long as this lives. The system releases it however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a run directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "{} is in use by {holder}\n  help: wait for it or stop it, or give this run a directory of its own",
        .run.display()
    )]
    Held {
        /// The run directory.
        run: PathBuf,
        /// Who, as they wrote it into the lock file.
        holder: String,
    },
    /// The file system does not do as asked.
    #[error("cannot lock {}: {source}", .path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Classify for LockError {
    fn exit_code(&self) -> ExitCode {
        match self {
            LockError::Held { .. } => ExitCode::Usage,
            LockError::Io { .. } => ExitCode::Io,
        }
    }
}

impl Lock {
    /// Locks the directory `run`, which must exist, or says who has it.
    pub fn acquire(run: &Path) -> Result<Self, LockError> {
        let path = run.join(NAME);
        let io_error = |source| LockError::Io { path: path.clone(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false) // its content names the holder
            .open(&path)
            .map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // A holder that is just starting has not signed yet, and some systems forbid reading a locked file.
                let _ = file.take(256).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".into(),
                    signed => signed.into(),
                };
                return Err(LockError::Held { run: run.into(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }
        file.set_len(0).map_err(io_error)?;
        writeln!(file, "process {} on {}", std::process::id(), host_name()).map_err(io_error)?;
        Ok(Lock { _file: file })
    }
}

/// The lock file's name. It is left in place: removing it would let two processes lock two files of that name.
pub(super) const NAME: &str = ".lock";

/// This machine's name, as far as it is known.
pub fn host_name() -> String {
    #[cfg(unix)]
    if let Ok(name) = rustix::system::uname().nodename().to_str() {
        return name.into();
    }
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "an unnamed host".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_has_it() {
        let run = tempfile::tempdir().unwrap();
        let first = Lock::acquire(run.path()).unwrap();
        let error = Lock::acquire(run.path()).unwrap_err().to_string();
        let holder = format!("in use by process {} on {}\n", std::process::id(), host_name());
        assert!(error.contains(&holder), "{error}");
        drop(first);
        Lock::acquire(run.path()).unwrap();
    }

    /// A lock dies with its process, however that ends: a run that was killed can be resumed.
    #[cfg(unix)]
    #[test]
    fn a_killed_process_holds_nothing() {
        const ROLE: &str = "LOCK_TEST_RUN";
        if let Some(run) = std::env::var_os(ROLE) {
            let _lock = Lock::acquire(Path::new(&run)).unwrap();
            println!("locked");
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        let run = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", std::thread::current().name().unwrap(), "--nocapture"])
            .env(ROLE, run.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("locked") {
            line.clear();
            assert!(io::BufRead::read_line(&mut output, &mut line).unwrap() > 0, "the child ended");
        }
        let error = Lock::acquire(run.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("process {} on", child.id())), "{error}");
        child.kill().unwrap();
        child.wait().unwrap();
        Lock::acquire(run.path()).unwrap();
    }
}
