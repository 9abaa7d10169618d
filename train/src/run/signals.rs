//! How a run is asked to stop: a signal, a time limit, or a file, for those who have neither keyboard nor scheduler.
//!
//! The first SIGINT or SIGTERM asks; the work ends at the next safe point, saves, and exits with
//! [`ExitCode::Interrupted`](crate::exit::ExitCode::Interrupted). The second of the same kind ends the process at once with 130 or 143.
//! Everything that works for long polls [`StopRequests::pending`]: training, evaluation and data preparation alike.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Why the work is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
    /// SIGTERM, as a scheduler sends it.
    Terminate,
    /// The time given with `--max-time` is over.
    MaxTime,
    /// Somebody created `stop-now` in the run directory.
    StopFile,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopReason::Interrupt => "interrupted (SIGINT)",
            StopReason::Terminate => "asked to end (SIGTERM)",
            StopReason::MaxTime => "the time limit (max_time) is reached",
            StopReason::StopFile => "`stop-now` was created in the run directory",
        })
    }
}

/// How often the file system is asked for `stop-now`: a look may be slow on a network disk.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// The requests to stop that this process has received.
#[derive(Debug)]
pub struct StopRequests {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    save: Arc<AtomicBool>,
    deadline: Option<Instant>,
    directory: Option<PathBuf>,
    next_look: Instant,
    reason: Option<StopReason>,
}

impl StopRequests {
    /// Installs the signal handlers. Do this once, early in `main`: handlers stay for the life of the process.
    pub fn install() -> io::Result<Self> {
        let requests = Self::without_signals();
        for (signal, flag, code) in [(SIGINT, &requests.interrupt, 130), (SIGTERM, &requests.terminate, 143)]
        {
            // In this order: the first signal finds the flag down and raises it, the second finds it up and exits.
            flag::register_conditional_shutdown(signal, code, Arc::clone(flag))?;
            flag::register(signal, Arc::clone(flag))?;
        }
        #[cfg(unix)]
        {
            use signal_hook::consts::{SIGUSR1, SIGXFSZ};
            flag::register(SIGUSR1, Arc::clone(&requests.save))?;
            // At a file-size limit the write should fail with an error that names the file, not kill the process.
            flag::register(SIGXFSZ, Arc::default())?;
        }
        Ok(requests)
    }

    /// Without signal handlers: only a time limit or a file can ask.
    pub fn without_signals() -> Self {
        StopRequests {
            interrupt: Arc::default(),
            terminate: Arc::default(),
            save: Arc::default(),
            deadline: None,
            directory: None,
            next_look: Instant::now(),
            reason: None,
        }
    }

    /// Asks to stop once `limit` is over, counted from now on a clock that nobody can set.
    pub fn limit_time(&mut self, limit: Duration) {
        self.deadline = Instant::now().checked_add(limit); // beyond the clock's end is no limit
    }

    /// Watches a run directory for the files `stop-now` and `save-now`; those left from before are removed.
    pub fn watch(&mut self, directory: PathBuf) {
        for name in [STOP_FILE, SAVE_FILE] {
            let _ = fs::remove_file(directory.join(name)); // usually there is none
        }
        self.directory = Some(directory);
    }

    /// Why to stop, if somebody asked; from then on always the same.
    pub fn pending(&mut self) -> Option<StopReason> {
        if self.reason.is_none() {
            self.look_for_files();
        }
        if self.reason.is_none() {
            self.reason = if self.interrupt.load(Ordering::Relaxed) {
                Some(StopReason::Interrupt)
            } else if self.terminate.load(Ordering::Relaxed) {
                Some(StopReason::Terminate)
            } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                Some(StopReason::MaxTime)
            } else {
                None
            };
        }
        self.reason
    }

    /// Runs `work` with a flag that goes up when somebody asks to stop: for work that polls a flag on many threads.
    pub fn during<T>(&mut self, work: impl FnOnce(&AtomicBool) -> T) -> T {
        let (flag, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    flag.fetch_or(self.pending().is_some(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let result = work(&flag);
            done.store(true, Ordering::Relaxed);
            result
        })
    }

    /// Whether a checkpoint was asked for (SIGUSR1 or `save-now`) since this was last called; the run goes on.
    pub fn take_save_request(&mut self) -> bool {
        self.look_for_files();
        self.save.swap(false, Ordering::Relaxed)
    }

    fn look_for_files(&mut self) {
        let Some(directory) = &self.directory else { return };
        let now = Instant::now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + FILE_INTERVAL;
        // Removing is looking: a request that was taken is gone, so that it does not stop the next session as well.
        if fs::remove_file(directory.join(SAVE_FILE)).is_ok() {
            self.save.store(true, Ordering::Relaxed);
        }
        if fs::remove_file(directory.join(STOP_FILE)).is_ok() {
            self.reason = Some(StopReason::StopFile);
        }
    }
}

const STOP_FILE: &str = "stop-now";
const SAVE_FILE: &str = "save-now";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_time_limit_and_a_file_ask_to_stop() {
        let mut requests = StopRequests::without_signals();
        requests.limit_time(Duration::from_secs(3600));
        assert_eq!(requests.pending(), None);
        requests.limit_time(Duration::ZERO);
        assert_eq!(requests.pending(), Some(StopReason::MaxTime));
        requests.limit_time(Duration::MAX);
        assert_eq!(requests.pending(), Some(StopReason::MaxTime), "a request is not taken back");

        let run = tempfile::tempdir().unwrap();
        let stop = run.path().join("stop-now");
        fs::write(&stop, "").unwrap();
        let mut requests = StopRequests::without_signals();
        requests.watch(run.path().into());
        assert_eq!(requests.pending(), None, "a file from before the start does not count");
        fs::write(&stop, "").unwrap();
        assert_eq!(requests.pending(), None, "looked less than a second ago");
        requests.next_look = Instant::now();
        assert_eq!(requests.pending(), Some(StopReason::StopFile));
        assert!(!stop.exists());
    }

    #[test]
    fn a_file_asks_for_a_save_once() {
        let run = tempfile::tempdir().unwrap();
        let mut requests = StopRequests::without_signals();
        requests.watch(run.path().into());
        fs::write(run.path().join("save-now"), "").unwrap();
        assert!(requests.take_save_request());
        assert!(!requests.take_save_request());
        assert_eq!(requests.pending(), None);
    }

    /// The whole way in a process of its own, for every signal: the first is noticed, the second kills.
    #[cfg(unix)]
    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        use std::process::{Command, Stdio};
        const ROLE: &str = "SIGNAL_TEST_FOLDER";
        if let Some(folder) = std::env::var_os(ROLE) {
            let mut requests = StopRequests::install().unwrap();
            fs::write(Path::new(&folder).join("ready"), "").unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            while Instant::now() < deadline {
                if requests.take_save_request() {
                    fs::write(Path::new(&folder).join("saved"), "").unwrap();
                }
                if let Some(reason) = requests.pending() {
                    fs::write(Path::new(&folder).join("noticed"), reason.to_string()).unwrap();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            return;
        }
        for (signal, reason, code) in
            [("INT", StopReason::Interrupt, 130), ("TERM", StopReason::Terminate, 143)]
        {
            let folder = tempfile::tempdir().unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", std::thread::current().name().unwrap(), "--nocapture"])
                .env(ROLE, folder.path())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut wait_for = |file: &str, content: &str| {
                while fs::read_to_string(folder.path().join(file)).ok().as_deref() != Some(content) {
                    assert!(child.try_wait().unwrap().is_none(), "ended before `{file}`");
                    std::thread::sleep(Duration::from_millis(2));
                }
                child.id()
            };
            let send = |signal: &str, process: u32| {
                let kill = format!("kill -{signal} {process}");
                assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            };
            let process = wait_for("ready", "");
            send("USR1", process);
            wait_for("saved", "");
            send(signal, process);
            wait_for("noticed", &reason.to_string());
            send(signal, process);
            assert_eq!(child.wait().unwrap().code(), Some(code));
        }
    }
}
