//! What happens where the system gives no memory to code that cannot be told so: the standard library aborts, and a script would
//! take that for a fault of the program.
//!
//! What is large asks beforehand and gets an error. Everything else ends here.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGABRT;
use signal_hook::low_level;
use train::exit::ExitCode;

/// The system's allocator, which notes when it was refused.
pub struct Noting;

/// What to do where there is not enough memory.
pub const REMEDIES: &str = "compute less at a time (--micro-batch; of finetune --micro-tokens), use a smaller model or shorter \
                             sequences, or free memory; what was saved is safe";

/// Whether memory was refused.
static REFUSED: AtomicBool = AtomicBool::new(false);

fn noted(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        REFUSED.store(true, Ordering::Relaxed);
    }
    memory
}

// SAFETY: every call is passed on to the system's allocator as it is, and so is what that returns.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promised.
        noted(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promised.
        noted(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promised.
        noted(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// From now on an abort for want of memory is told, with what to do, and ends with the code for it.
pub fn tell_of_refusals() {
    let aborted = || {
        if REFUSED.load(Ordering::Relaxed) {
            // Nothing can be allocated here, and nothing is.
            for part in ["error: not enough memory\n  help: ", REMEDIES, "\n"] {
                let _ = rustix::io::write(rustix::stdio::stderr(), part.as_bytes());
            }
            low_level::exit(i32::from(ExitCode::Memory.code()));
        }
    };
    // SAFETY: the handler reads a flag, writes to an unbuffered file and exits: all of that may be done in a signal handler.
    // Where it returns, `abort` goes on as if there were no handler.
    let _ = unsafe { low_level::register(SIGABRT, aborted) };
}
