//! How a run is asked to stop: a signal, a time limit, or a file, for those who have neither keyboard nor scheduler.
//!
//! The first SIGINT or SIGTERM asks: it is acknowledged at once, the work ends at the next safe point, saves, and exits with
//! [`ExitCode::Interrupted`]. The second of the same kind ends the process at once with 130 or 143.
//! SIGHUP asks as well, unless it is ignored, as `nohup` has it: a lost connection costs no work. A second one, for both
//! shell and terminal send it, means nothing new.
//!
//! While NVRTC compiles, at the first call of a kernel, it may have SIGINT and SIGTERM itself: then the process ends at once, with the same
//! code, and goes on from its last checkpoint as after a kill.
//!
//! Work that holds what is saved nowhere polls [`StopRequests::pending`]: training and evaluation, between micro-batches. Work
//! that can be killed at any moment, because it leaves on the disk only what is whole, need not know of any of this:
//! [`StopRequests::unless_stopped`] leaves it where it is.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::exit::ExitCode;
use crate::threads::ThreadsError;

/// Why the work is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
    /// SIGTERM, as a scheduler sends it.
    Terminate,
    /// SIGHUP, as the end of a terminal or of a connection sends it.
    HangUp,
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
            StopReason::HangUp => "the terminal was closed (SIGHUP)",
            StopReason::MaxTime => "the time limit (max_time) is reached",
            StopReason::StopFile => "`stop-now` was created in the run directory",
        })
    }
}

/// How often the file system is asked for `stop-now`: a look may be slow on a network disk.
const FILE_INTERVAL: Duration = Duration::from_secs(1);
/// How often somebody who waits for work looks for a request to stop.
const POLL: Duration = Duration::from_millis(20);
/// Stack of a thread for work, in bytes: as much as the main thread has.
const STACK: usize = 8 << 20;

/// The requests to stop that this process has received. Clones are the same requests.
#[derive(Clone, Debug)]
pub struct StopRequests(Arc<Requests>);

#[derive(Default)]
struct Requests {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
    save: Arc<AtomicBool>,
    watched: Mutex<Watched>,
    acknowledge: Option<Box<dyn Fn(StopReason) + Send + Sync>>,
    acknowledged: Mutex<Vec<StopReason>>,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("watched", &self.watched).finish_non_exhaustive()
    }
}

/// Whether a thread may still be at work that nobody waits for.
static WORK_WAS_LEFT: AtomicBool = AtomicBool::new(false);

/// Ends the process if it has left work where it was ([`StopRequests::unless_stopped`]), without what libraries have done at the end of a
/// process: it would take them from under the thread that is still in them. NVRTC ended so with "free(): invalid pointer".
pub fn end_if_work_was_left(code: ExitCode) {
    if WORK_WAS_LEFT.load(Ordering::Relaxed) {
        end_at_once(code);
    }
}

/// Ends the process, whatever its threads are doing. Nothing waits to be written: output is whole lines, which go on at once; and whoever
/// waits for its lock may wait for such a thread.
pub fn end_at_once(code: ExitCode) -> ! {
    signal_hook::low_level::exit(code.code().into())
}

/// Ends the process on a signal that NVRTC took, in a handler of signals, where little may be done.
#[cfg(unix)]
fn end_while_compiling() -> ! {
    const WORDS: &[u8] =
        b"asked to end, while kernels are compiled: ending at once; run the same command again\n";
    let _ = rustix::io::write(rustix::stdio::stderr(), WORDS);
    end_at_once(ExitCode::Interrupted)
}

/// What has to be looked at to be noticed.
#[derive(Debug, Default)]
struct Watched {
    deadline: Option<Instant>,
    directory: Option<PathBuf>,
    next_look: Option<Instant>,
    reason: Option<StopReason>,
}

impl StopRequests {
    /// Installs the signal handlers. Do this once, early in `main`: handlers stay for the life of the process.
    /// `acknowledge` is called with each reason to stop once: for a signal at once, whatever the process is doing, and in any
    /// case before [`Self::pending`] tells of it.
    pub fn install(acknowledge: impl Fn(StopReason) + Send + Sync + 'static) -> io::Result<Self> {
        let requests =
            Self(Arc::new(Requests { acknowledge: Some(Box::new(acknowledge)), ..Requests::default() }));
        let Requests { interrupt, terminate, save, .. } = &*requests.0;
        let asking = [(SIGINT, interrupt, 130), (SIGTERM, terminate, 143)];
        for (signal, flag, code) in asking {
            // In this order: the first signal finds the flag down and raises it, the second finds it up and exits.
            flag::register_conditional_shutdown(signal, code, Arc::clone(flag))?;
            flag::register(signal, Arc::clone(flag))?;
        }
        #[cfg(unix)]
        {
            use signal_hook::consts::{SIGUSR1, SIGXFSZ};
            kernels::cuda::end_of_a_compiling_process(end_while_compiling);
            flag::register(SIGUSR1, Arc::clone(save))?;
            // At a file-size limit the write should fail with an error that names the file, not kill the process.
            flag::register(SIGXFSZ, Arc::default())?;
        }
        let mut signals = Signals::new(asking.map(|(signal, ..)| signal))?;
        #[cfg(unix)]
        if !is_ignored(SIGHUP)? {
            flag::register(SIGHUP, Arc::clone(&requests.0.hang_up))?;
            signals.add_signal(SIGHUP)?;
        }
        let of_thread = requests.clone();
        let listen = move || {
            for signal in signals.forever() {
                of_thread.acknowledge(match signal {
                    SIGINT => StopReason::Interrupt,
                    SIGTERM => StopReason::Terminate,
                    _ => StopReason::HangUp,
                });
            }
        };
        // Where no thread can be had, requests are acknowledged a little later, by who polls.
        let _ = thread::Builder::new().name("signals".into()).spawn(listen);
        Ok(requests)
    }

    /// Without signal handlers: only a time limit or a file can ask.
    pub fn without_signals() -> Self {
        Self(Arc::default())
    }

    /// Asks to stop once `limit` is over, counted from now on a clock that nobody can set.
    pub fn limit_time(&self, limit: Duration) {
        self.watched().deadline = Instant::now().checked_add(limit); // beyond the clock's end is no limit
    }

    /// Watches a run directory for the files `stop-now` and `save-now`; those left from before are removed.
    pub fn watch(&self, directory: PathBuf) {
        for name in [STOP_FILE, SAVE_FILE] {
            let _ = fs::remove_file(directory.join(name)); // usually there is none
        }
        self.watched().directory = Some(directory);
    }

    /// Why to stop, if somebody asked; from then on always the same.
    pub fn pending(&self) -> Option<StopReason> {
        let mut watched = self.watched();
        watched.look_for_files(&self.0.save);
        if watched.reason.is_none() {
            watched.reason = if self.0.interrupt.load(Ordering::Relaxed) {
                Some(StopReason::Interrupt)
            } else if self.0.terminate.load(Ordering::Relaxed) {
                Some(StopReason::Terminate)
            } else if self.0.hang_up.load(Ordering::Relaxed) {
                Some(StopReason::HangUp)
            } else if watched.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                Some(StopReason::MaxTime)
            } else {
                None
            };
        }
        if let Some(reason) = watched.reason {
            self.acknowledge(reason);
        }
        watched.reason
    }

    /// Says once that `reason` was heard; whoever comes meanwhile waits until it is said.
    fn acknowledge(&self, reason: StopReason) {
        let Some(acknowledge) = &self.0.acknowledge else { return };
        let mut acknowledged = self.0.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        if !acknowledged.contains(&reason) {
            acknowledged.push(reason);
            acknowledge(reason);
        }
    }

    /// What `work` gives; or, as soon as somebody asks to stop, why. Then `work` is left where it is: its thread goes on until
    /// the process ends, which should be soon, and by [`end_if_work_was_left`]. So it must be work that can be killed at any moment.
    ///
    /// # Errors
    /// If there is no thread for it.
    ///
    /// # Panics
    /// If `work` does.
    pub fn unless_stopped<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Result<T, StopReason>, ThreadsError> {
        let (sender, receiver) = channel();
        let run = move || {
            let _ = sender.send(work()); // nobody listens if it was left
        };
        let thread = thread::Builder::new().name("work".into()).stack_size(STACK).spawn(run);
        let thread = thread.map_err(ThreadsError::of("a thread for the work"))?;
        loop {
            if let Some(reason) = self.pending() {
                WORK_WAS_LEFT.store(true, Ordering::Relaxed);
                return Ok(Err(reason));
            }
            match receiver.recv_timeout(POLL) {
                Ok(result) => return Ok(Ok(result)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => match thread.join() {
                    Err(panic) => std::panic::resume_unwind(panic),
                    Ok(()) => unreachable!("work that ends sends its result"),
                },
            }
        }
    }

    /// Whether a checkpoint was asked for (SIGUSR1 or `save-now`) since this was last called; the run goes on.
    pub fn take_save_request(&self) -> bool {
        self.watched().look_for_files(&self.0.save);
        self.0.save.swap(false, Ordering::Relaxed)
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    fn look_for_files(&mut self, save: &AtomicBool) {
        let Some(directory) = &self.directory else { return };
        let now = Instant::now();
        if self.next_look.is_some_and(|next| now < next) {
            return;
        }
        self.next_look = Some(now + FILE_INTERVAL);
        // Removing is looking: a request that was taken is gone, so that it does not stop the next session as well.
        if fs::remove_file(directory.join(SAVE_FILE)).is_ok() {
            save.store(true, Ordering::Relaxed);
        }
        if self.reason.is_none() && fs::remove_file(directory.join(STOP_FILE)).is_ok() {
            self.reason = Some(StopReason::StopFile);
        }
    }
}

/// Whether whoever started this process had it ignore a signal.
#[cfg(unix)]
fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null for the new action nothing is changed; the old one is written into memory of its own type.
    if unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it wrote the action.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}

const STOP_FILE: &str = "stop-now";
const SAVE_FILE: &str = "save-now";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_time_limit_and_a_file_ask_to_stop() {
        let requests = StopRequests::without_signals();
        requests.limit_time(Duration::from_secs(3600));
        assert_eq!(requests.pending(), None);
        requests.limit_time(Duration::ZERO);
        assert_eq!(requests.pending(), Some(StopReason::MaxTime));
        requests.limit_time(Duration::MAX);
        assert_eq!(requests.pending(), Some(StopReason::MaxTime), "a request is not taken back");

        let run = tempfile::tempdir().unwrap();
        let stop = run.path().join("stop-now");
        fs::write(&stop, "").unwrap();
        let requests = StopRequests::without_signals();
        requests.watch(run.path().into());
        let start = Instant::now();
        assert_eq!(requests.pending(), None, "a file from before the start does not count");
        assert!(requests.watched().next_look >= Some(start + FILE_INTERVAL), "it looked a moment ago");
        fs::write(&stop, "").unwrap();
        requests.watched().next_look = Some(start + Duration::from_secs(3600)); // however slow the machine is
        assert_eq!(requests.pending(), None, "it is not time to look again");
        requests.watched().next_look = None;
        assert_eq!(requests.pending(), Some(StopReason::StopFile));
        assert!(!stop.exists());
    }

    #[test]
    fn a_file_asks_for_a_save_once() {
        let run = tempfile::tempdir().unwrap();
        let requests = StopRequests::without_signals();
        requests.watch(run.path().into());
        fs::write(run.path().join("save-now"), "").unwrap();
        assert!(requests.take_save_request());
        assert!(!requests.take_save_request());
        assert_eq!(requests.pending(), None);
    }

    #[test]
    fn work_that_can_be_killed_is_left_as_soon_as_somebody_asks() {
        let requests = StopRequests::without_signals();
        assert_eq!(requests.unless_stopped(|| 7).unwrap(), Ok(7));
        let (asker, (ended, wait)) = (requests.clone(), channel::<()>());
        let work = move || {
            asker.limit_time(Duration::ZERO);
            let _ = wait.recv(); // until the test ends
        };
        assert_eq!(requests.unless_stopped(work).unwrap(), Err(StopReason::MaxTime));
        drop(ended);
    }

    #[test]
    #[should_panic(expected = "as it should")]
    fn a_panic_of_work_is_a_panic_here() {
        let _ = StopRequests::without_signals().unless_stopped(|| panic!("as it should"));
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_left_work_ends_without_what_libraries_do_at_its_end() {
        const ROLE: &str = "SIGNAL_TEST_LEAVES_WORK";
        extern "C" fn of_a_library() {
            // SAFETY: ends the process, nothing else.
            unsafe { libc::_exit(99) }
        }
        if std::env::var_os(ROLE).is_some() {
            // SAFETY: the function is there as long as the process.
            assert_eq!(unsafe { libc::atexit(of_a_library) }, 0);
            let requests = StopRequests::without_signals();
            let asker = requests.clone();
            let work = move || {
                asker.limit_time(Duration::ZERO);
                loop {
                    thread::park();
                }
            };
            let left: Result<(), _> = requests.unless_stopped(work).unwrap();
            assert_eq!(left, Err(StopReason::MaxTime));
            end_if_work_was_left(ExitCode::Interrupted);
            return;
        }
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", thread::current().name().unwrap(), "--nocapture"])
            .env(ROLE, "")
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(75), "{ended:?}");
    }

    /// The whole way in a process of its own, for every signal: the first is noticed, the second kills.
    #[cfg(unix)]
    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        use std::process::{Command, Stdio};
        const ROLE: &str = "SIGNAL_TEST_FOLDER";
        if let Some(folder) = std::env::var_os(ROLE) {
            let acknowledged = Path::new(&folder).join("acknowledged");
            let requests =
                StopRequests::install(move |reason| fs::write(&acknowledged, reason.to_string()).unwrap())
                    .unwrap();
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
        for (signal, begin, reason, code) in [
            ("INT", "", Some(StopReason::Interrupt), Some(130)),
            ("TERM", "", Some(StopReason::Terminate), Some(143)),
            ("HUP", "", Some(StopReason::HangUp), None),
            ("HUP", "trap '' HUP;", None, None), // as nohup does
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut child = Command::new("sh")
                .args(["-c", &format!("{begin} exec \"$0\" --exact \"$1\" --nocapture")])
                .arg(std::env::current_exe().unwrap())
                .arg(std::thread::current().name().unwrap())
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
            if let Some(reason) = reason {
                wait_for("noticed", &reason.to_string());
                wait_for("acknowledged", &reason.to_string());
            }
            send(signal, process);
            if code.is_none() {
                // It means nothing more: the process goes on, and hears what comes next.
                fs::remove_file(folder.path().join("saved")).unwrap();
                send("USR1", process);
                wait_for("saved", "");
                assert_eq!(folder.path().join("noticed").exists(), reason.is_some());
                child.kill().unwrap();
            }
            assert_eq!(child.wait().unwrap().code(), code);
        }
    }
}
