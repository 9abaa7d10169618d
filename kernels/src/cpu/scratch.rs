//! Work space that only grows.

use std::sync::Mutex;

use crate::memory::{Buffer, LARGE_PAGE};

/// Numbers in a cache line.
const LINE: usize = 16;

/// `length` rounded up to whole cache lines: buffers cut from one space stay aligned.
pub(crate) fn padded(length: usize) -> usize {
    length.next_multiple_of(LINE)
}

/// `length` rounded up to whole large pages where it is no small part of one. There, what is packed to stay in a cache has as
/// much of it in each of the cache's sets; small pages lie anywhere, and some sets get more than they hold.
fn in_large_pages(length: usize) -> usize {
    const PAGE: usize = LARGE_PAGE / size_of::<f32>();
    if length < PAGE / 8 { length } else { length.next_multiple_of(PAGE) }
}

fn take(buffer: &mut Buffer<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        *buffer = Buffer::default(); // what was in there need not be copied
        *buffer = Buffer::new(in_large_pages(length))
            .unwrap_or_else(|error| panic!("work space of a kernel: {error}"));
    }
    &mut buffer[..length]
}

/// A space that is lent to one user at a time.
#[derive(Debug, Default)]
pub(crate) struct Space(Mutex<Buffer<f32>>);

impl Space {
    /// Calls `work` with `length` numbers; what they are is left over from before. If the space is in use, by an
    /// operation on another thread or further up on this one, `work` gets a fresh one.
    pub fn with<T>(&self, length: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
        match self.0.try_lock() {
            Ok(mut buffer) => work(take(&mut buffer, length)),
            Err(_) => work(take(&mut Buffer::default(), length)),
        }
    }

    /// Grows to `length` numbers now, so that it need not later.
    pub fn reserve(&self, length: usize) {
        self.with(length, |_| ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_stays_aligned() {
        let space = Space::default();
        for length in [1, 100, 17] {
            space.with(length, |numbers| {
                assert_eq!((numbers.len(), numbers.as_ptr() as usize % 64), (length, 0));
                space.with(3, |others| assert_ne!(others.as_ptr(), numbers.as_ptr()));
            });
        }
        assert_eq!([padded(0), padded(1), padded(16), padded(17)], [0, 16, 16, 32]);
    }
}
