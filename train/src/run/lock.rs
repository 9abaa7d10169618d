//! One process per run directory.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::exit::{Classify, ExitCode};
use crate::files::{self, Lockable};
use crate::visible::shown;

/// A run directory belongs to this process for as long as this lives. The system releases it however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: Lockable,
}

/// Why a run directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "{} is in use by {holder}\n  help: wait for it or stop it, or give this run a directory of its own",
        shown(.run)
    )]
    Held {
        /// The run directory.
        run: PathBuf,
        /// Who, as they wrote it into the lock file.
        holder: String,
    },
    /// The lock file's name is taken by a file of somebody else.
    #[error("{} is not a lock file of this program: nothing in it was touched\n  help: move it elsewhere", shown(.path))]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file system does not do as asked.
    #[error("cannot lock {}: {source}{}", shown(.path), way_out(.source))]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What to do where the file system has no locks, as network disks may not.
fn way_out(error: &io::Error) -> &'static str {
    #[cfg(unix)]
    let has_none = [libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOLCK].map(Some).contains(&error.raw_os_error());
    #[cfg(not(unix))]
    let has_none = error.kind() == io::ErrorKind::Unsupported;
    if has_none {
        "\n  help: this file system locks no files, and two processes could write at once: name a folder on another disk, or have \
         it mounted with locks (Lustre: -o flock)"
    } else {
        ""
    }
}

impl Classify for LockError {
    fn exit_code(&self) -> ExitCode {
        match self {
            LockError::Held { .. } | LockError::Foreign { .. } => ExitCode::Usage,
            LockError::Io { source, .. } => source.exit_code(),
        }
    }
}

impl Lock {
    /// Locks the directory `run`, which must exist, or says who has it.
    pub fn acquire(run: &Path) -> Result<Self, LockError> {
        let path = run.join(NAME);
        let io_error = |source| LockError::Io { path: path.clone(), source };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false); // its content names the holder
        let mut looks = LOOKS;
        let (mut file, is_free) = loop {
            let file = Lockable::from(files::open_own(&mut options, &path).map_err(io_error)?);
            match file.try_lock() {
                // One that was removed meanwhile, by a start that failed, locks nothing.
                Ok(()) if !files::is_at(&file, &path) => {}
                Ok(()) => break (file, true),
                // Whoever only asks whether it is held has it for a moment too.
                Err(TryLockError::WouldBlock) if looks > 0 => {
                    looks -= 1;
                    thread::sleep(LOOK);
                }
                Err(TryLockError::WouldBlock) => break (file, false),
                Err(TryLockError::Error(source)) => return Err(io_error(source)),
            }
        };
        let mut holder = Vec::new();
        // Some systems forbid reading a file that another process has locked.
        let read = (&*file).take(SIGNATURE + 1).read_to_end(&mut holder);
        if !is_free {
            let holder = match String::from_utf8_lossy(&holder).trim() {
                "" => "another process".into(), // one that is just starting has not signed yet
                signed => signed.into(),
            };
            return Err(LockError::Held { run: run.into(), holder });
        }
        read.map_err(io_error)?;
        if !is_signature(&holder) {
            return Err(LockError::Foreign { path });
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{SIGNED_BY}{} on {}", std::process::id(), host_name()))
            .map_err(io_error)?;
        Ok(Lock { _file: file })
    }
}

/// Whether a process has the run in `run`, where that can be told; nothing is changed.
pub fn is_held(run: &Path) -> Option<bool> {
    let file = files::open_plain(&run.join(NAME)).ok()?;
    match file.try_lock_shared() {
        Ok(()) => {
            let _ = file.unlock(); // closed next, whatever the system says
            Some(false)
        }
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

/// Whether the file, if it is there, is a lock file of ours.
pub(crate) fn is_ours(path: &Path) -> bool {
    files::read_plain(path, SIGNATURE).is_ok_and(|content| is_signature(&content))
}

/// What a holder writes, or the beginning of it: it may have been killed on the way.
fn is_signature(content: &[u8]) -> bool {
    let (begin, rest) = content.split_at(content.len().min(SIGNED_BY.len()));
    let line = rest.strip_suffix(b"\n").unwrap_or(rest);
    SIGNED_BY.as_bytes().starts_with(begin) && !line.contains(&b'\n') && content.len() as u64 <= SIGNATURE
}

/// So often is a lock that is held asked for again, after so long each time.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(10);

const SIGNED_BY: &str = "process ";
/// No signature is longer, in bytes.
const SIGNATURE: u64 = 512;

/// The lock file's name. Only who holds the lock may remove it, and as the last file of the run: whoever locks it asks
/// afterwards whether it is still there.
pub(crate) const NAME: &str = ".lock";

/// This machine's name, as far as it is known.
pub fn host_name() -> String {
    // rustix panics where `uname` is refused, which a filter of system calls may do.
    #[cfg(target_os = "linux")]
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        return name.trim_end().into();
    }
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

    #[cfg(unix)]
    #[test]
    fn a_file_system_without_locks_is_told_with_the_way_out() {
        let error = |code| {
            let source = io::Error::from_raw_os_error(code);
            LockError::Io { path: "run/.lock".into(), source }.to_string()
        };
        for none in [libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOLCK] {
            assert!(error(none).contains("help: this file system locks no files"), "{}", error(none));
        }
        assert!(!error(libc::EACCES).contains("help"), "{}", error(libc::EACCES));
    }

    /// As a child process has one that another thread is just starting.
    #[test]
    fn a_copy_of_the_open_file_holds_nothing() {
        let run = tempfile::tempdir().unwrap();
        let first = Lock::acquire(run.path()).unwrap();
        let copy = first._file.try_clone().unwrap();
        drop(first);
        Lock::acquire(run.path()).unwrap();
        drop(copy);
    }

    #[test]
    fn a_file_of_somebody_else_is_no_lock() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join(NAME);
        for (content, ours) in [
            ("", true),
            ("proc", true),
            ("process 7 on a-host", true),
            ("process 7 on a-host\n", true),
            ("process 7 on a-host\nand notes of mine\n", false),
            ("secret", false),
            ("processing", false),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(is_ours(&path), ours, "{content:?}");
            match Lock::acquire(run.path()) {
                Ok(_) => assert!(ours, "{content:?}"),
                Err(error) => {
                    assert!(!ours && matches!(error, LockError::Foreign { .. }), "{content:?}: {error}");
                    assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
                }
            }
        }
    }

    /// Whoever asks whether a run is held has its lock for a moment: nobody is refused for that.
    #[test]
    fn who_only_asks_holds_nothing() {
        let run = tempfile::tempdir().unwrap();
        drop(Lock::acquire(run.path()).unwrap());
        let is_done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_ne!(is_held(run.path()), None);
                }
            });
            for _ in 0..300 {
                let lock = Lock::acquire(run.path());
                is_done.fetch_or(lock.is_err(), std::sync::atomic::Ordering::Relaxed); // or the scope waits for ever
                drop(lock.unwrap());
            }
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
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
        assert_eq!(is_held(run.path()), Some(true));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(is_held(run.path()), Some(false));
        Lock::acquire(run.path()).unwrap();
    }
}
