//! Memory of a GPU, which CUDA calls global: buffers, and the addresses of parts of them that kernels get.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::{CudaStream, result};

use crate::memory::{Length, Memory, RunScalars};
use crate::precision::Element;

/// Where a kernel finds something.
pub type Address = u64;

/// Memory of a GPU.
#[derive(Clone, Copy, Debug)]
pub struct Global;

/// Bytes on a GPU; given back when dropped.
#[derive(Default)]
pub struct Buffer {
    address: Address,
    bytes: usize,
    /// The stream whose work uses it; none for a buffer of no bytes.
    stream: Option<Arc<CudaStream>>,
}

impl Buffer {
    /// # Safety
    /// The address is that of so many bytes, allocated in the stream's context, that nobody else frees.
    pub(super) unsafe fn new(address: Address, bytes: usize, stream: Arc<CudaStream>) -> Self {
        Self { address, bytes, stream: Some(stream) }
    }

    /// The address of byte `at`, from which on `bytes` lie inside.
    pub(super) fn address(&self, at: usize, bytes: usize) -> Address {
        assert!(at + bytes <= self.bytes, "bytes {at}..{} of a buffer of {}", at + bytes, self.bytes);
        self.address + at as Address
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(stream) = &self.stream else { return };
        // What fails here has failed before, and was reported: there is nothing to be done about it.
        let _ = stream.context().bind_to_thread();
        // SAFETY: this is the only owner of the allocation, and no work that uses it is left.
        unsafe {
            let _ = result::stream::synchronize(stream.cu_stream());
            let _ = result::free_sync(self.address);
        }
    }
}

/// Numbers that kernels read.
#[derive(Debug)]
pub struct Slice<'a, T> {
    pub(super) address: Address,
    length: usize,
    lifetime: PhantomData<&'a [T]>,
}

impl<T> Clone for Slice<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slice<'_, T> {}

/// Numbers that kernels write.
#[derive(Debug)]
pub struct SliceMut<'a, T> {
    pub(super) address: Address,
    length: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

impl<T> Length for Slice<'_, T> {
    fn length(&self) -> usize {
        self.length
    }
}

impl<T> Length for SliceMut<'_, T> {
    fn length(&self) -> usize {
        self.length
    }
}

impl<T> Slice<'_, T> {
    /// Where they begin.
    pub(crate) fn address(&self) -> Address {
        self.address
    }
}

impl<T> SliceMut<'_, T> {
    /// Where they begin.
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// The same numbers for one kernel of several.
    pub(crate) fn reborrow(&mut self) -> SliceMut<'_, T> {
        SliceMut { ..*self }
    }
}

/// A buffer that is borrowed exclusively.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    address: Address,
    bytes: usize,
    lifetime: PhantomData<&'a mut [u8]>,
}

impl Whole<'_> {
    /// Where the numbers in `range` begin, and how many there are.
    fn numbers<T: Element>(self, range: Range<usize>) -> (Address, usize) {
        assert!(range.start <= range.end && range.end <= self.bytes, "a view outside its buffer");
        let whole = range.start.is_multiple_of(align_of::<T>()) && range.len().is_multiple_of(size_of::<T>());
        assert!(whole, "a view of other numbers than its buffer holds");
        (self.address + range.start as Address, range.len() / size_of::<T>())
    }
}

/// Where dropout's coins come from, as kernels take it: the scalars of the run, and which word of theirs is the first row
/// along the axis, -1 for none.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Randomness {
    pub(super) words: Address,
    pub(super) first_row: i64,
}

impl Memory for Global {
    type Buffer = Buffer;
    type Whole<'a> = Whole<'a>;
    type Slice<'a, T: Element> = Slice<'a, T>;
    type SliceMut<'a, T: Element> = SliceMut<'a, T>;
    type Randomness = Randomness;

    fn bytes(buffer: &Buffer) -> usize {
        buffer.bytes
    }

    fn slice<T: Element>(buffer: &Buffer, range: Range<usize>) -> Slice<'_, T> {
        let whole = Whole { address: buffer.address, bytes: buffer.bytes, lifetime: PhantomData };
        let (address, length) = whole.numbers::<T>(range);
        Slice { address, length, lifetime: PhantomData }
    }

    fn slice_mut<T: Element>(buffer: &mut Buffer) -> SliceMut<'_, T> {
        let whole = Self::whole(buffer);
        let (address, length) = whole.numbers::<T>(0..whole.bytes);
        SliceMut { address, length, lifetime: PhantomData }
    }

    fn whole(buffer: &mut Buffer) -> Whole<'_> {
        Whole { address: buffer.address, bytes: buffer.bytes, lifetime: PhantomData }
    }

    unsafe fn part<'a: 'a, T: Element>(whole: Whole<'a>, range: Range<usize>) -> Slice<'a, T> {
        let (address, length) = whole.numbers::<T>(range);
        Slice { address, length, lifetime: PhantomData }
    }

    unsafe fn part_mut<'a: 'a, T: Element>(whole: Whole<'a>, range: Range<usize>) -> SliceMut<'a, T> {
        let (address, length) = whole.numbers::<T>(range);
        SliceMut { address, length, lifetime: PhantomData }
    }

    fn randomness(whole: Whole<'_>, at: usize, axis: Option<usize>) -> Randomness {
        let words = RunScalars::words(axis.map_or(0, |axis| axis + 1));
        assert!(at + words * size_of::<u64>() <= whole.bytes, "a view outside its buffer");
        let first_row = axis.map_or(-1, |_| words as i64 - 1);
        Randomness { words: whole.address + at as Address, first_row }
    }
}
