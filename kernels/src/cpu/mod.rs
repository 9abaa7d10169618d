//! The CPU device: instruction set, threads, and what the `cpu.rs` of every operation is written in.
//!
//! * `simd`: the vocabulary. A kernel is one generic function over it, written with the `kernel!`
//!   macro, which compiles it for every instruction set and enters the one that the [`Cpu`] was made for.
//! * `threads`: tasks. How an operation is cut into tasks depends on its shape and never on the number of threads,
//!   and no two tasks write the same element: results are the same bits for any number of threads.
//! * `gemm`: matrix products; `math`: exp, tanh, erf.

pub mod clock;
pub(crate) mod gemm;
mod isa;
pub(crate) mod math;
pub(crate) mod microkernel;
pub(crate) mod panels;
mod peak;
pub(crate) mod scratch;
pub(crate) mod simd;
pub(crate) mod sums;
pub(crate) mod threads;

use std::hint::black_box;
use std::io;
use std::num::NonZero;

pub use isa::{ISA_VARIABLE, Isa};

use crate::precision::Precision;

/// Why there is no such CPU device.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// A name that is none of an instruction set.
    #[error(
        "`{name}` is no instruction set that I know; use scalar, avx2, avx512 or avx512bf16 (in {ISA_VARIABLE})"
    )]
    UnknownIsa {
        /// What was asked for.
        name: String,
    },
    /// The machine lacks it.
    #[error(
        "this machine has no {isa}; it has up to {best}: ask for that, or for nothing (unset {ISA_VARIABLE})"
    )]
    MissingIsa {
        /// What was asked for.
        isa: Isa,
        /// The fastest that there is.
        best: Isa,
    },
    /// Not a number of threads.
    #[error("a CPU device needs at least one thread")]
    NoThreads,
    /// The operating system gave no threads.
    #[error("cannot start {threads} threads: {source}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What a thread takes as it starts: Rust's stack of 2 MiB, and what the C library keeps for it.
const ROOM: usize = 3 << 20;

/// Asks whether there is memory for `threads` threads: one that the system starts in the last of the memory finds none for
/// itself, and then the C library ends the program.
///
/// # Errors
/// If there is none.
pub fn look_for_room(threads: usize) -> io::Result<()> {
    let mut room: Vec<u8> = Vec::new();
    let found = room.try_reserve_exact(threads.saturating_mul(ROOM));
    black_box(&mut room); // or nothing is reserved
    found.map_err(|_| io::Error::other("too little memory for them (`ulimit -v`)"))
}

/// A precision that the CPU computes in: its kernels are written once for all of them.
pub trait CpuPrecision: Precision<Master = f32, Activation: panels::Packed> {}
impl<P: Precision<Master = f32, Activation: panels::Packed>> CpuPrecision for P {}

/// The CPU as a device: an instruction set and a pool of threads.
///
/// Nothing is allocated once every shape has been seen: work space belongs to the device and its threads and only grows.
#[derive(Debug)]
pub struct Cpu {
    isa: Isa,
    token: simd::Token,
    pool: rayon::ThreadPool,
    /// For what the tasks of an operation share.
    shared: scratch::Space,
    /// For each thread's tasks, and for those that run on the caller's thread.
    of_threads: Vec<scratch::Space>,
}

impl Cpu {
    /// A device with `threads` threads (by default one per core that this process may use) and the instruction set
    /// `isa` (by default [`Isa::chosen`]).
    ///
    /// # Errors
    /// If the machine lacks the instruction set, `ALBERT_ISA` names none, or the threads cannot be had.
    pub fn new(threads: Option<usize>, isa: Option<Isa>) -> Result<Self, CpuError> {
        let isa = isa.map_or_else(Isa::chosen, Ok)?;
        let token = simd::Token::new(isa).ok_or_else(|| CpuError::MissingIsa {
            isa,
            best: Isa::available().last().unwrap_or(Isa::Scalar),
        })?;
        let threads = match threads {
            Some(0) => return Err(CpuError::NoThreads),
            Some(threads) => threads,
            None => std::thread::available_parallelism().map_or(1, NonZero::get),
        };
        let pool = look_for_room(threads).and_then(|()| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.thread_name(|index| format!("cpu-{index}")).build().map_err(io::Error::other)
        });
        let pool = pool.map_err(|source| CpuError::Threads { threads, source })?;
        pool.broadcast(|_| ()); // every thread has started, and allocated what it needs for itself
        let of_threads = std::iter::repeat_with(scratch::Space::default).take(threads + 1).collect();
        Ok(Self { isa, token, pool, shared: scratch::Space::default(), of_threads })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs `work` on one of the device's threads, so that the kernels it calls need not change threads one by one.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    /// Proof that the instruction set is there: the first argument of every kernel.
    pub(crate) fn token(&self) -> simd::Token {
        self.token
    }

    /// Work space that the tasks of one operation share.
    pub(crate) fn shared(&self) -> &scratch::Space {
        &self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_is() {
        for isa in Isa::available() {
            let cpu = Cpu::new(Some(3), Some(isa)).expect("available");
            assert_eq!((cpu.threads(), cpu.isa()), (3, isa));
        }
    }

    #[test]
    fn refuses_what_the_machine_lacks() {
        for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
            assert!(matches!(Cpu::new(None, Some(isa)), Err(CpuError::MissingIsa { .. })));
        }
        assert!(matches!(Cpu::new(Some(0), None), Err(CpuError::NoThreads)));
    }
}
