//! Where operands live, and several views of one buffer at once.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};

use bytemuck::Pod;

use crate::dropout::Randomness;
use crate::precision::Element;
use crate::random::Philox;

/// Why a device cannot do what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Memory that the system did not give.
    #[error("out of memory: the system gives no {bytes} bytes in one piece")]
    OutOfMemory {
        /// How many bytes were asked for.
        bytes: usize,
    },
    /// Memory that a GPU did not give.
    #[error("out of memory: the GPU has none for {what}: {free} of its {total} bytes are free")]
    OutOfDeviceMemory {
        /// What it was asked for.
        what: String,
        /// How many bytes were free.
        free: usize,
        /// How many it has.
        total: usize,
    },
    /// Kernels that do not compile, or not for this GPU.
    #[error("the kernels of `{program}` do not compile for this GPU: {log}")]
    Compile {
        /// The program.
        program: String,
        /// What the compiler said.
        log: String,
    },
    /// A device that does not work any more.
    #[error("{device} failed at {what}: {error}")]
    Failed {
        /// Which.
        device: String,
        /// What it was asked for.
        what: String,
        /// What its driver said.
        error: String,
    },
}

/// What buffers are allocated in: small enough for `calloc`, which touches no page of a large buffer, so that each lands
/// near the thread that first writes to it.
type Word = u64;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a large page.
pub(crate) const LARGE_PAGE: usize = 1 << 21;

/// Zeroed numbers that start on a cache line; large buffers start on a large page and are in such where the system has them,
/// which saves products of matrices a few percent of their time.
pub struct Buffer<R> {
    words: Vec<Word>,
    /// The first word on a cache line, or on a large page.
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
        let alignment = if bytes < LARGE_PAGE { LINE } else { LARGE_PAGE };
        let count = bytes.checked_add(alignment).ok_or(()).map_err(refused)?.div_ceil(size_of::<Word>());
        let words: Vec<Word> = bytemuck::allocation::try_zeroed_vec(count).map_err(refused)?;
        let start = words.as_ptr().align_offset(alignment);
        if alignment == LARGE_PAGE {
            prefer_large_pages(&words[start..]);
        }
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
        const PAGE: usize = 1 << 12;
        let (start, length) = (words.as_ptr() as usize, size_of_val(words));
        let (first, end) = (start.next_multiple_of(PAGE), (start + length) / PAGE * PAGE);
        // SAFETY: whole pages within an allocation of ours; the advice changes no content.
        unsafe { libc::madvise(first as *mut _, end - first, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = words;
}

/// Where operands live: what a kernel's operands are made of.
pub trait Memory: Copy + std::fmt::Debug + Send + Sync + 'static {
    /// Memory of a device.
    type Buffer: Default + Send + Sync;
    /// A buffer that is borrowed exclusively, to be lent in parts.
    type Whole<'a>: Copy;
    /// Numbers that kernels read.
    type Slice<'a, T: Element>: Copy + Length;
    /// Numbers that kernels write.
    type SliceMut<'a, T: Element>: Length;
    /// Where dropout's coins come from in one run: on the host the values themselves, elsewhere where they lie.
    type Randomness: Copy;

    /// Bytes of a buffer.
    fn bytes(buffer: &Self::Buffer) -> usize;

    /// A part of a buffer; `range` counts bytes.
    ///
    /// # Panics
    /// If the range is not one of whole numbers inside the buffer.
    fn slice<T: Element>(buffer: &Self::Buffer, range: Range<usize>) -> Self::Slice<'_, T>;

    /// The same of all its numbers, to be written.
    fn slice_mut<T: Element>(buffer: &mut Self::Buffer) -> Self::SliceMut<'_, T>;

    /// Borrows a buffer exclusively.
    fn whole(buffer: &mut Self::Buffer) -> Self::Whole<'_>;

    /// A part that is read.
    ///
    /// # Safety
    /// As long as the part lives, no part that is written overlaps it.
    ///
    /// # Panics
    /// As [`Self::slice`].
    unsafe fn part<'a, T: Element>(whole: Self::Whole<'a>, range: Range<usize>) -> Self::Slice<'a, T>;

    /// A part that is written.
    ///
    /// # Safety
    /// As long as the part lives, no other part overlaps it.
    ///
    /// # Panics
    /// As [`Self::slice`].
    unsafe fn part_mut<'a, T: Element>(whole: Self::Whole<'a>, range: Range<usize>) -> Self::SliceMut<'a, T>;

    /// The coins of rows along `axis`, from the [`RunScalars`] that lie at byte `at` of a buffer; of row 0 without an axis.
    fn randomness(whole: Self::Whole<'_>, at: usize, axis: Option<usize>) -> Self::Randomness;
}

/// How many numbers an operand has.
pub trait Length {
    /// The number.
    fn length(&self) -> usize;
}

impl<T> Length for &[T] {
    fn length(&self) -> usize {
        self.len()
    }
}

impl<T> Length for &mut [T] {
    fn length(&self) -> usize {
        self.len()
    }
}

/// What changes from run to run and kernels read where it lies, so that recorded calls need no change: the key of the
/// random numbers (as one word), the optimizer step, and the first row of this run along each axis, all as u64.
pub struct RunScalars;

impl RunScalars {
    /// Words before the first rows.
    const FIXED: usize = 2;

    /// Words for a plan of `axes` axes.
    pub fn words(axes: usize) -> usize {
        Self::FIXED + axes
    }

    /// Fills `words`; a first row that is not given is 0.
    pub fn write(words: &mut [u64], key: [u32; 2], step: u32, first_rows: impl IntoIterator<Item = u64>) {
        words.fill(0);
        words[0] = u64::from(key[0]) | u64::from(key[1]) << 32;
        words[1] = u64::from(step);
        words[Self::FIXED..].iter_mut().zip(first_rows).for_each(|(word, first_row)| *word = first_row);
    }

    fn read(words: &[u64], axis: Option<usize>) -> Randomness {
        Randomness {
            philox: Philox { key: [words[0] as u32, (words[0] >> 32) as u32] },
            step: words[1] as u32,
            first_row: axis.map_or(0, |axis| words[Self::FIXED + axis]),
        }
    }
}

/// Memory that the host's own kernels work in.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl Memory for Host {
    type Buffer = Buffer<u8>;
    type Whole<'a> = Bytes<'a>;
    type Slice<'a, T: Element> = &'a [T];
    type SliceMut<'a, T: Element> = &'a mut [T];
    type Randomness = Randomness;

    fn bytes(buffer: &Buffer<u8>) -> usize {
        buffer.len()
    }

    fn slice<T: Element>(buffer: &Buffer<u8>, range: Range<usize>) -> &[T] {
        bytemuck::cast_slice(&buffer[range])
    }

    fn slice_mut<T: Element>(buffer: &mut Buffer<u8>) -> &mut [T] {
        bytemuck::cast_slice_mut(buffer)
    }

    fn whole(buffer: &mut Buffer<u8>) -> Bytes<'_> {
        Bytes { start: buffer.as_mut_ptr(), length: buffer.len(), lifetime: PhantomData }
    }

    unsafe fn part<'a: 'a, T: Element>(whole: Bytes<'a>, range: Range<usize>) -> &'a [T] {
        let (start, count) = whole.numbers(range);
        // SAFETY: numbers inside a buffer that is borrowed exclusively; nobody writes them, by the caller's promise.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    unsafe fn part_mut<'a: 'a, T: Element>(whole: Bytes<'a>, range: Range<usize>) -> &'a mut [T] {
        let (start, count) = whole.numbers(range);
        // SAFETY: numbers inside a buffer that is borrowed exclusively; nobody else uses them, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(start, count) }
    }

    fn randomness(whole: Bytes<'_>, at: usize, axis: Option<usize>) -> Randomness {
        let words = RunScalars::words(axis.map_or(0, |axis| axis + 1));
        // SAFETY: no kernel writes there: plans place no value on the scalars of a run.
        RunScalars::read(unsafe { Self::part(whole, at..at + words * size_of::<u64>()) }, axis)
    }
}

/// The bytes of a [`Buffer`], borrowed exclusively.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    start: *mut u8,
    length: usize,
    lifetime: PhantomData<&'a mut [u8]>,
}

// SAFETY: this is a `&mut [u8]` whose parts are lent with promises that hold on any thread.
unsafe impl Send for Bytes<'_> {}

impl Bytes<'_> {
    /// Where the numbers in `range` begin, and how many there are.
    fn numbers<T: Element>(self, range: Range<usize>) -> (*mut T, usize) {
        assert!(range.start <= range.end && range.end <= self.length, "a view outside its buffer");
        let start = self.start.wrapping_add(range.start).cast::<T>();
        let whole = start.is_aligned() && range.len().is_multiple_of(size_of::<T>());
        assert!(whole, "a view of other numbers than its buffer holds");
        (start, range.len() / size_of::<T>())
    }
}

/// Most operands of one kernel.
const MOST: usize = 16;

/// Lends parts of a buffer to one kernel: what is written overlaps nothing else that is lent. Ranges count bytes.
pub struct Views<'a, M: Memory> {
    whole: M::Whole<'a>,
    /// What has been lent, and whether to be written.
    lent: [(usize, usize, bool); MOST],
    count: usize,
}

impl<'a, M: Memory> Views<'a, M> {
    /// Nothing lent yet.
    pub fn new(buffer: &'a mut M::Buffer) -> Self {
        Self { whole: M::whole(buffer), lent: [(0, 0, false); MOST], count: 0 }
    }

    /// A part that is read.
    ///
    /// # Panics
    /// If it overlaps one that is written, or is not one of whole numbers inside the buffer.
    pub fn read<T: Element>(&mut self, range: Range<usize>) -> M::Slice<'a, T> {
        self.lend(&range, false);
        // SAFETY: the buffer is borrowed exclusively for 'a, and no part that is written overlaps this one.
        unsafe { M::part(self.whole, range) }
    }

    /// A part that is written.
    ///
    /// # Panics
    /// If it overlaps another part, or is not one of whole numbers inside the buffer.
    pub fn write<T: Element>(&mut self, range: Range<usize>) -> M::SliceMut<'a, T> {
        self.lend(&range, true);
        // SAFETY: the buffer is borrowed exclusively for 'a, and no other part overlaps this one.
        unsafe { M::part_mut(self.whole, range) }
    }

    /// See [`Memory::randomness`].
    pub fn randomness(&self, at: usize, axis: Option<usize>) -> M::Randomness {
        M::randomness(self.whole, at, axis)
    }

    fn lend(&mut self, range: &Range<usize>, written: bool) {
        for &(start, end, other) in &self.lent[..self.count] {
            let apart = range.is_empty() || start == end || range.end <= start || end <= range.start;
            assert!(apart || !(written || other), "overlapping views");
        }
        self.lent[self.count] = (range.start, range.end, written);
        self.count += 1;
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

    fn bytes() -> Buffer<u8> {
        Buffer::new(64).expect("memory")
    }

    #[test]
    fn views_see_their_ranges() {
        let mut buffer = bytes();
        Host::slice_mut::<i32>(&mut buffer)[..4].copy_from_slice(&[0, 1, 2, 3]);
        let mut views = Views::<Host>::new(&mut buffer);
        let (a, b) = (views.read::<i32>(0..12), views.read::<i32>(4..8));
        let (c, d) = (views.write::<i32>(16..20), views.write::<f64>(24..24));
        c[0] = a[2] + b[0];
        assert!(d.is_empty());
        assert_eq!(Host::slice::<i32>(&buffer, 0..20), [0, 1, 2, 3, 3]);
    }

    #[test]
    #[should_panic(expected = "overlapping views")]
    fn a_write_overlaps_nothing() {
        let mut buffer = bytes();
        let mut views = Views::<Host>::new(&mut buffer);
        views.read::<i32>(0..8);
        views.write::<i32>(4..12);
    }

    #[test]
    #[should_panic(expected = "overlapping views")]
    fn nothing_overlaps_a_write() {
        let mut buffer = bytes();
        let mut views = Views::<Host>::new(&mut buffer);
        views.write::<i32>(4..12);
        views.read::<i32>(8..16);
    }

    #[test]
    #[should_panic(expected = "outside its buffer")]
    fn a_view_lies_inside() {
        let mut buffer = bytes();
        Views::<Host>::new(&mut buffer).read::<i32>(60..68);
    }

    #[test]
    #[should_panic(expected = "other numbers")]
    fn a_view_is_one_of_whole_numbers() {
        let mut buffer = bytes();
        Views::<Host>::new(&mut buffer).read::<i32>(2..6);
    }

    #[test]
    fn the_scalars_of_a_run_survive_the_way_to_a_kernel() {
        let mut buffer = bytes();
        let words = Host::slice_mut::<u64>(&mut buffer);
        RunScalars::write(&mut words[1..5], [7, u32::MAX], 9, [1 << 40, 3]);
        let views = Views::<Host>::new(&mut buffer);
        for (axis, first_row) in [(None, 0), (Some(0), 1 << 40), (Some(1), 3)] {
            let philox = Philox { key: [7, u32::MAX] };
            assert_eq!(views.randomness(8, axis), Randomness { philox, step: 9, first_row });
        }
    }
}
