//! The threads of this process. Where the system gives none, at a limit of processes or in a small container, that is told
//! as a lack of memory is, with what to do about it.

use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use kernels::look_for_room;

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
    /// Says what the threads were for, where there is no memory for one more.
    pub(crate) fn expect_room(what: &'static str) -> Result<(), Self> {
        look_for_room(1).map_err(Self::of(what))
    }

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

/// A pool of `threads` threads, or of one for each core where that is 0.
///
/// # Errors
/// If they cannot be started.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool, ThreadsError> {
    let all = if threads == 0 { of_cores() } else { threads };
    look_for_room(all).map_err(ThreadsError::of("threads"))?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(io::Error::other).map_err(ThreadsError::of("threads"))
}

/// Starts the threads that text is prepared and read with, one for each core. Without this call they would be started
/// at the first use, by a panic where the system has none.
///
/// # Errors
/// If they cannot be started, or were before.
pub fn start_pool() -> Result<(), ThreadsError> {
    look_for_room(of_cores()).map_err(ThreadsError::of("threads"))?;
    let pool = rayon::ThreadPoolBuilder::new().thread_name(|index| format!("text-{index}")).build_global();
    pool.map_err(io::Error::other).map_err(ThreadsError::of("threads"))
}

/// One for each core that this process may use.
fn of_cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}
