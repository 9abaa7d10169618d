//! The threads of this process. Where the system gives none, at a limit of processes or in a small container, that is told
//! as a lack of memory is, with what to do about it.

use std::hint::black_box;
use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use crate::exit::{Classify, ExitCode};

/// Threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start {what}: {source}\n  help: raise the limit of processes (`ulimit -u`, or the `pids` limit of the \
     container or job), or end others; RAYON_NUM_THREADS and --threads ask for fewer"
)]
pub struct ThreadsError {
    /// What they were for.
    what: &'static str,
    /// What the system said.
    source: io::Error,
}

impl ThreadsError {
    /// Says what the threads were for.
    pub(crate) fn of(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, source }
    }
}

impl Classify for ThreadsError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Memory
    }
}

/// What a thread takes as it starts: Rust's stack of 2 MiB, and what the C library keeps for it.
const ROOM: usize = 3 << 20;

/// Asks whether there is memory for `threads` threads, zero meaning one for each core: a thread that the system starts in the
/// last of the memory finds none for itself, and then the C library ends the program.
fn look_for_room(threads: usize) -> io::Result<()> {
    let threads = if threads == 0 { available_parallelism().map_or(1, NonZero::get) } else { threads };
    let mut room: Vec<u8> = Vec::new();
    let found = room.try_reserve_exact(threads.saturating_mul(ROOM));
    black_box(&mut room); // or nothing is reserved
    found.map_err(|_| io::Error::other("too little memory for them (`ulimit -v`)"))
}

/// A pool of `threads` threads, or of one for each core where that is 0.
///
/// # Errors
/// If they cannot be started.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool, ThreadsError> {
    look_for_room(threads).map_err(ThreadsError::of("threads"))?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(io::Error::other).map_err(ThreadsError::of("threads"))
}

/// Starts the threads that text is prepared and read with, one for each core. Without this call they would be started
/// at the first use, by a panic where the system has none.
///
/// # Errors
/// If they cannot be started, or were before.
pub fn start_pool() -> Result<(), ThreadsError> {
    look_for_room(0).map_err(ThreadsError::of("threads"))?;
    let pool = rayon::ThreadPoolBuilder::new().thread_name(|index| format!("text-{index}")).build_global();
    pool.map_err(io::Error::other).map_err(ThreadsError::of("threads"))
}
