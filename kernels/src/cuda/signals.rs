//! The process's handlers of signals, which NVRTC takes while it compiles.
//!
//! Its front end has SIGINT and SIGTERM call a function of its own, which ends the process by `exit(4)` without a word, and SIGXFSZ
//! ignored. At its end it has them call what they called before, but as functions that are told nothing but the signal, which is not
//! what all were written for. (Seen by strace under NVRTC 13.0.)

use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};

/// What NVRTC takes.
const TAKEN: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGXFSZ];

/// How many threads are compiling.
static COMPILING: AtomicUsize = AtomicUsize::new(0);
/// The handlers that were there before the first of them began.
static KEPT: Mutex<Vec<libc::sigaction>> = Mutex::new(Vec::new());
/// What ends the process in NVRTC's place.
static END: OnceLock<fn() -> !> = OnceLock::new();

/// Says what ends the process in place of NVRTC where a signal asks it to while kernels are compiled. It is called within a handler of
/// signals: it must neither allocate nor wait.
pub fn end_of_a_compiling_process(end: fn() -> !) {
    let _ = END.set(end); // the first one stays
}

/// As long as a thread compiles; handlers are as before at its end.
pub(super) struct Compiling;

impl Compiling {
    /// Begins once NVRTC is loaded: what is registered last is done first at an exit, before NVRTC's own end.
    pub fn begin() -> Self {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            // SAFETY: the function may be called at any time.
            unsafe { libc::atexit(at_exit) };
        });
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if COMPILING.fetch_add(1, Ordering::SeqCst) == 0 {
            *kept = TAKEN.map(handler).into();
        }
        Self
    }
}

impl Drop for Compiling {
    fn drop(&mut self) {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if COMPILING.fetch_sub(1, Ordering::SeqCst) == 1 {
            for (signal, handler) in TAKEN.into_iter().zip(&*kept) {
                // SAFETY: the handler was that of the same signal.
                unsafe { libc::sigaction(signal, handler, ptr::null_mut()) };
            }
        }
    }
}

/// The handler of a signal.
pub(super) fn handler(signal: libc::c_int) -> libc::sigaction {
    // SAFETY: zeros are a valid handler, which the call writes over.
    unsafe {
        let mut handler = mem::zeroed();
        libc::sigaction(signal, ptr::null(), &mut handler);
        handler
    }
}

/// Nobody else ends a process by `exit` while a thread of it compiles.
extern "C" fn at_exit() {
    if COMPILING.load(Ordering::SeqCst) > 0
        && let Some(end) = END.get()
    {
        end();
    }
}
