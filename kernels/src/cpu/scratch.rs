//! Work space that only grows: per thread for the tasks, one per device for what the tasks of an operation share.

use std::cell::RefCell;
use std::sync::Mutex;

/// A cache line, the unit of allocation: every buffer starts on one.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

/// `length` rounded up to whole cache lines: buffers cut from one space stay aligned.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(LINE)
}

fn take(lines: &mut Vec<Line>, length: usize) -> &mut [f32] {
    let needed = length.div_ceil(LINE);
    if lines.len() < needed {
        *lines = Vec::new(); // what was in there need not be copied
        lines.resize(needed, Line([0.0; LINE]));
    }
    &mut bytemuck::cast_slice_mut(lines.as_mut_slice())[..length]
}

thread_local! {
    static OF_THREAD: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `length` numbers of this thread's own work space; what they are is left over from before.
///
/// # Panics
/// If `work` asks for it again.
pub(crate) fn of_thread<T>(length: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    OF_THREAD.with_borrow_mut(|lines| work(take(lines, length)))
}

/// Work space of the device.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Vec<Line>>);

impl Shared {
    /// Calls `work` with `length` numbers; what they are is left over from before. If the space is in use, by an
    /// operation on another thread or further up on this one, `work` gets a fresh one.
    pub fn with<T>(&self, length: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
        match self.0.try_lock() {
            Ok(mut lines) => work(take(&mut lines, length)),
            Err(_) => work(take(&mut Vec::new(), length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_stays_aligned() {
        let shared = Shared::default();
        for length in [1, 100, 17] {
            shared.with(length, |space| {
                assert_eq!((space.len(), space.as_ptr() as usize % 64), (length, 0));
                shared.with(3, |other| assert_ne!(other.as_ptr(), space.as_ptr()));
            });
        }
        assert_eq!([padded(0), padded(1), padded(16), padded(17)], [0, 16, 16, 32]);
    }
}
