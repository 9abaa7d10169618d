//! The driver's record of launches, and how a test asks for it.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

use super::Launched;
use crate::names::NAMES;

/// Set to `1` to have a program count what its kernels ask of the hardware, and write a table of it when it ends.
pub const COUNT: &str = "EMULATED_GPU_COUNT";

/// Whether a test has asked for counts.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether the environment has.
fn table_wanted() -> bool {
    static WANTED: LazyLock<bool> =
        LazyLock::new(|| env::var(COUNT).is_ok_and(|value| !matches!(value.as_str(), "" | "0")));
    *WANTED
}

fn recorded() -> MutexGuard<'static, Vec<Launched>> {
    static RECORDED: Mutex<Vec<Launched>> = Mutex::new(Vec::new());
    RECORDED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn table() -> MutexGuard<'static, Vec<Launched>> {
    static TABLE: Mutex<Vec<Launched>> = Mutex::new(Vec::new());
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether launches are to be counted.
pub fn counting() -> bool {
    ASKED.load(Ordering::Relaxed) || table_wanted()
}

/// Keeps what a launch asked for.
pub fn record(launched: Launched) {
    if table_wanted() {
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| {
            // SAFETY: the function may run at any time, and makes no assumption about what still exists.
            unsafe { libc::atexit(write_table) };
        });
        let mut table = table();
        match table.iter_mut().find(|row| row.kernel == launched.kernel && row.threads == launched.threads) {
            Some(row) => {
                row.launches += launched.launches;
                row.blocks += launched.blocks;
                row.summary.add(&launched.summary);
            }
            None => table.push(launched.clone()),
        }
    }
    if ASKED.load(Ordering::Relaxed) {
        recorded().push(launched);
    }
}

extern "C" fn write_table() {
    let table = table();
    eprintln!("emulated GPU: what kernels asked of the hardware\n{}", Launched::table_head());
    for row in table.iter() {
        eprintln!("{row}");
    }
}

/// Starts (1) or stops (0) counting for a test, and writes the launches since the last call to `text`, if it has room for
/// them. Gives the bytes that they take.
///
/// # Safety
/// `text` must be good for writes of `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn emulated_gpu_counted(start: u32, text: *mut u8, room: usize) -> usize {
    ASKED.store(start != 0, Ordering::Relaxed);
    let mut recorded = recorded();
    let lines: String = recorded.iter().map(|launched| launched.to_line() + "\n").collect();
    if lines.len() <= room {
        // SAFETY: there is room for all of it, as the caller promises.
        unsafe { text.copy_from_nonoverlapping(lines.as_ptr(), lines.len()) };
        recorded.clear();
    }
    lines.len()
}

/// Runs `program`, which launches kernels and waits for them, and gives what each launch asked of the hardware. Nothing on
/// a real GPU, which does not count.
///
/// # Panics
/// If the emulated GPU has not been set up ([`crate::setup::available`]).
pub fn counted(program: impl FnOnce()) -> Vec<Launched> {
    if crate::setup::real() {
        program();
        return Vec::new();
    }
    // SAFETY: this finds the library that was loaded when the emulated GPU was set up.
    let library = unsafe { Library::open(Some(NAMES[0]), RTLD_LAZY | RTLD_LOCAL) };
    let library = library.expect("the emulated GPU is set up before its work is counted");
    type Counted = unsafe extern "C" fn(u32, *mut u8, usize) -> usize;
    // SAFETY: the symbol is this file's own function.
    let counted = unsafe { library.get::<Counted>(b"emulated_gpu_counted") };
    let counted = counted.expect("libcuda.so is the emulated GPU");
    let take = |start: u32| {
        let mut text = Vec::new();
        loop {
            // SAFETY: `text` has as many bytes as it says.
            let bytes = unsafe { counted(start, text.as_mut_ptr(), text.len()) };
            if bytes <= text.len() {
                text.truncate(bytes);
                return text;
            }
            text.resize(bytes, 0);
        }
    };
    take(1);
    program();
    let text = String::from_utf8(take(0)).unwrap_or_default();
    text.lines().filter_map(Launched::from_line).collect()
}
