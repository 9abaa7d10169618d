//! Copies between the host and the GPU that the host does not wait for: from and to page-locked memory, which the GPU copies
//! by itself, with events that say when it has.
//!
//! What is sent travels on a stream of its own, so that the next run's inputs come while the last run is computed, to memory of
//! their own on the GPU; from there the stream of the kernels takes them, which costs next to nothing.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::{CudaEvent, CudaStream, result, sys};

use super::Cuda;
use super::memory::Buffer;
use crate::backend::Backend;
use crate::memory::DeviceError;

/// Page-locked memory of the host.
struct Pinned {
    start: *mut u8,
    bytes: usize,
    /// The stream that copies from it or to it.
    stream: Arc<CudaStream>,
}

// SAFETY: this owns its memory, as a `Box` does.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    fn new(cuda: &Cuda, bytes: usize, stream: &Arc<CudaStream>) -> Result<Self, DeviceError> {
        // The driver gives none of 0 bytes, and numbers of any type begin at its start.
        let bytes = bytes.next_multiple_of(align_of::<u64>()).max(align_of::<u64>());
        cuda.bind()?;
        // SAFETY: so many bytes are allocated, in the context that was just made current, and filled before they are read.
        let start = unsafe {
            let start = result::malloc_host(bytes, 0).map_err(|error| match error.0 {
                sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => DeviceError::OutOfMemory { bytes },
                _ => cuda.driver_failed("cuMemHostAlloc", error),
            })?;
            start.cast::<u8>().write_bytes(0, bytes);
            start.cast()
        };
        Ok(Self { start, bytes, stream: stream.clone() })
    }

    /// # Safety
    /// The GPU does not write there.
    unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes lie there, initialised, as long as this lives.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// # Safety
    /// The GPU does not read or write there.
    unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What fails here has failed before, and was reported.
        let _ = self.stream.context().bind_to_thread();
        // SAFETY: allocated, and freed once, when the stream that uses it is through.
        unsafe {
            let _ = result::stream::synchronize(self.stream.cu_stream());
            let _ = result::free_host(self.start.cast::<c_void>());
        }
    }
}

/// What is sent again and again. Its fields are dropped in this order: the copy ends before the memory that it is made to is freed.
pub struct Outgoing {
    here: Pinned,
    /// Where it arrives.
    there: Buffer,
    /// It has arrived: what is here may be overwritten.
    sent: CudaEvent,
    /// It was taken from there: what is there may be overwritten.
    taken: CudaEvent,
}

/// What is fetched again and again.
pub struct Incoming {
    here: Pinned,
    fetched: CudaEvent,
}

impl Outgoing {
    /// What was written there.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the GPU only reads there.
        unsafe { self.here.bytes() }
    }
}

impl Cuda {
    fn event(&self) -> Result<CudaEvent, DeviceError> {
        self.context.new_event(None).map_err(|error| self.driver_failed("cuEventCreate", error))
    }

    /// Waits for an event, if it has not come yet. After a failure too: copies that were asked for before may still be made, unless the
    /// device is lost, which is said at once.
    fn wait_for(&self, event: &CudaEvent) {
        if self.status().is_err() {
            let _ = event.synchronize();
            return;
        }
        self.attempt(|| {
            let has_come = event.try_is_complete().and_then(|has_come| match has_come {
                true => Ok(()),
                false => event.synchronize(),
            });
            has_come.map_err(|error| self.driver_failed("what was asked for before", error))
        });
    }

    pub(super) fn new_outgoing(&self, bytes: usize) -> Result<Outgoing, DeviceError> {
        let outgoing = Outgoing {
            here: Pinned::new(self, bytes, &self.copies)?,
            there: self.allocate(bytes)?,
            sent: self.event()?,
            taken: self.event()?,
        };
        // Memory is filled with zeros on the kernels' stream when it is allocated.
        let zeroed = outgoing.taken.record(&self.stream);
        zeroed.map(|()| outgoing).map_err(|error| self.driver_failed("cuEventRecord", error))
    }

    pub(super) fn bytes_to_send<'a>(&self, outgoing: &'a mut Outgoing) -> &'a mut [u8] {
        self.wait_for(&outgoing.sent);
        // SAFETY: the copy from there has been made, or the device is lost, and nothing is left that would make one.
        unsafe { outgoing.here.bytes_mut() }
    }

    pub(super) fn send_bytes(&self, outgoing: &mut Outgoing, bytes: usize, to: &mut Buffer) {
        if bytes == 0 {
            return;
        }
        let (there, to) = (outgoing.there.address(0, bytes), to.address(0, bytes));
        let Outgoing { here, sent, taken, .. } = outgoing;
        self.attempt(|| {
            // SAFETY: the bytes lie inside all three; who writes here waits for `sent`, the next copy there for `taken`, and whatever
            // uses the buffer comes later in the stream.
            let copied = unsafe {
                self.copies
                    .wait(taken)
                    .and_then(|()| {
                        let from = &here.bytes()[..bytes];
                        result::memcpy_htod_async(there, from, self.copies.cu_stream())
                    })
                    .and_then(|()| sent.record(&self.copies))
                    .and_then(|()| self.stream.wait(sent))
                    .and_then(|()| result::memcpy_dtod_async(to, there, bytes, self.stream.cu_stream()))
                    .and_then(|()| taken.record(&self.stream))
            };
            copied.map_err(|error| self.driver_failed("a copy to the GPU", error))
        });
    }

    pub(super) fn new_incoming(&self, bytes: usize) -> Result<Incoming, DeviceError> {
        Ok(Incoming { here: Pinned::new(self, bytes, &self.stream)?, fetched: self.event()? })
    }

    pub(super) fn fetch_bytes(&self, from: &Buffer, at: usize, bytes: usize, incoming: &mut Incoming) {
        if bytes == 0 {
            return;
        }
        let from = from.address(at, bytes);
        let Incoming { here, fetched } = incoming;
        self.attempt(|| {
            // SAFETY: the bytes lie inside both; who reads here waits for `fetched`, and copies to it are made one after the other.
            let copied = unsafe {
                result::memcpy_dtoh_async(&mut here.bytes_mut()[..bytes], from, self.stream.cu_stream())
            };
            copied
                .and_then(|()| fetched.record(&self.stream))
                .map_err(|error| self.driver_failed("a copy from the GPU", error))
        });
    }

    pub(super) fn fetched_bytes<'a>(&self, incoming: &'a Incoming) -> &'a [u8] {
        self.wait_for(&incoming.fetched);
        // SAFETY: the copy to there has been made, or the device is lost, and nothing is left that would make one.
        unsafe { incoming.here.bytes() }
    }
}
