//! Buffers as the kernels like them, and several views of one at once.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};

use bytemuck::Pod;

/// Why a device cannot do what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Memory that the system did not give.
    #[error("out of memory: the system gives no {bytes} bytes in one piece")]
    OutOfMemory {
        /// How many bytes were asked for.
        bytes: usize,
    },
}

/// What buffers are allocated in: small enough for `calloc`, which touches no page of a large buffer, so that each lands
/// near the thread that first writes to it.
type Word = u64;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Zeroed numbers that start on a cache line; large buffers are in large pages where the system has them, which saves
/// products of matrices a few percent of their time.
pub struct Buffer<R> {
    words: Vec<Word>,
    /// The first word on a cache line.
    start: usize,
    length: usize,
    element: PhantomData<R>,
}

impl<R: Pod> Buffer<R> {
    /// `length` zeros.
    ///
    /// # Errors
    /// If the system does not give the memory.
    pub fn new(length: usize) -> Result<Self, DeviceError> {
        let bytes = length.saturating_mul(size_of::<R>());
        let refused = |()| DeviceError::OutOfMemory { bytes };
        let count = bytes.checked_add(LINE).ok_or(()).map_err(refused)?.div_ceil(size_of::<Word>());
        let words: Vec<Word> = bytemuck::allocation::try_zeroed_vec(count).map_err(refused)?;
        prefer_large_pages(&words);
        let start = words.as_ptr().align_offset(LINE);
        Ok(Self { words, start, length, element: PhantomData })
    }
}

impl<R> Default for Buffer<R> {
    fn default() -> Self {
        Self { words: Vec::new(), start: 0, length: 0, element: PhantomData }
    }
}

impl<R: Pod> Deref for Buffer<R> {
    type Target = [R];
    fn deref(&self) -> &[R] {
        &bytemuck::cast_slice(&self.words[self.start..])[..self.length]
    }
}

impl<R: Pod> DerefMut for Buffer<R> {
    fn deref_mut(&mut self) -> &mut [R] {
        &mut bytemuck::cast_slice_mut(&mut self.words[self.start..])[..self.length]
    }
}

impl<R> std::fmt::Debug for Buffer<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} numbers", self.length)
    }
}

/// Asks the system to put `words` in large pages. It may refuse, which costs time, not correctness.
fn prefer_large_pages(words: &[Word]) {
    #[cfg(target_os = "linux")]
    {
        /// From how many bytes on it is worth a call.
        const WORTHWHILE: usize = 1 << 22;
        const PAGE: usize = 1 << 12;
        let (start, length) = (words.as_ptr() as usize, size_of_val(words));
        if length >= WORTHWHILE {
            let (first, end) = (start.next_multiple_of(PAGE), (start + length) / PAGE * PAGE);
            // SAFETY: whole pages within an allocation of ours; the advice changes no content.
            unsafe { libc::madvise(first as *mut _, end - first, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = words;
}

/// Borrows ranges of `buffer`: `reads` shared, `writes` exclusive. Reads may overlap each other.
///
/// # Panics
/// If a range lies outside the buffer, or a non-empty write overlaps another view: a plan that is wrong.
pub fn views<R, const READS: usize, const WRITES: usize>(
    buffer: &mut [R],
    reads: [Range<usize>; READS],
    writes: [Range<usize>; WRITES],
) -> ([&[R]; READS], [&mut [R]; WRITES]) {
    let inside = |range: &Range<usize>| range.start <= range.end && range.end <= buffer.len();
    let apart = |a: &Range<usize>, b: &Range<usize>| {
        a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start
    };
    assert!(reads.iter().chain(&writes).all(inside), "a view outside its buffer");
    for (index, write) in writes.iter().enumerate() {
        assert!(reads.iter().chain(&writes[..index]).all(|other| apart(write, other)), "overlapping views");
    }
    let base = buffer.as_mut_ptr();
    // SAFETY: every range lies inside `buffer`, which is borrowed exclusively as long as the views live, and no exclusive view overlaps
    // any other, so that each element is reachable either through shared views only or through one exclusive view.
    unsafe {
        (
            reads.map(|range| std::slice::from_raw_parts(base.add(range.start).cast_const(), range.len())),
            writes.map(|range| std::slice::from_raw_parts_mut(base.add(range.start), range.len())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zero() {
        for length in [0, 1, 17, 1 << 21] {
            let buffer: Buffer<f32> = Buffer::new(length).expect("a few megabytes");
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % 64), (length, 0));
            assert!(buffer.iter().all(|&value| value == 0.0));
        }
    }

    #[test]
    fn memory_that_there_is_not_is_refused() {
        for length in [usize::MAX, usize::MAX / 4, 1 << 60] {
            let bytes = length.saturating_mul(4);
            assert_eq!(Buffer::<f32>::new(length).err(), Some(DeviceError::OutOfMemory { bytes }));
        }
    }

    #[test]
    fn views_see_their_ranges() {
        let mut buffer = [0, 1, 2, 3, 4, 5];
        let ([a, b], [c, _]) = views(&mut buffer, [0..3, 1..2], [4..6, 0..0]);
        c[0] = a[2] + b[0];
        assert_eq!(buffer, [0, 1, 2, 3, 3, 5]);
    }

    #[test]
    #[should_panic(expected = "overlapping views")]
    fn a_write_overlaps_nothing() {
        views(&mut [0; 4], [0..2, 0..0], [1..3, 0..0]);
    }

    #[test]
    #[should_panic(expected = "outside its buffer")]
    fn a_view_lies_inside() {
        views(&mut [0; 4], [0..5, 0..0], [0..0, 0..0]);
    }
}
