//! A list of calls that is made once and repeated as one: a CUDA graph.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use cudarc::driver::{CudaStream, result, sys};

use super::Cuda;
use crate::backend::Backend;

/// Bytes of a GPU's memory that a recorded call is taken to need. No text promises any number, and what a driver has free before and
/// after does not tell, for it takes memory in pieces; the caches of NVIDIA's CUDASTF count with about 10 KB for each kernel of a graph
/// (NVIDIA/cccl, pull request 3768).
pub const RECORDED_CALL: usize = 10 << 10;

/// A recorded list of calls.
pub struct Recording {
    executable: sys::CUgraphExec,
    calls: usize,
    /// Keeps the context alive.
    stream: Arc<CudaStream>,
}

// SAFETY: one thread at a time uses it: it is replayed by whoever holds the device's runtime.
unsafe impl Send for Recording {}
// SAFETY: as above.
unsafe impl Sync for Recording {}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.stream.context().bind_to_thread();
        // SAFETY: created, and destroyed once, when nothing of it is running.
        unsafe {
            let _ = result::stream::synchronize(self.stream.cu_stream());
            let _ = result::graph::exec_destroy(self.executable);
        }
    }
}

impl Cuda {
    /// Records what `work` asks for instead of doing it. Where the driver or a library cannot, nothing has happened, and nothing is
    /// recorded from then on: calls are made one by one, which is slower and no failure.
    pub(super) fn recording(&self, work: impl FnOnce()) -> Option<Recording> {
        if self.records_nothing.load(Ordering::Relaxed) || self.status().is_err() {
            return None;
        }
        let recording = self.try_recording(work);
        // Calls that were to be recorded have not been made: what they complained of is no failure of the device.
        let complaint = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let recording = recording.ok().filter(|_| complaint.is_none());
        self.records_nothing.store(recording.is_none(), Ordering::Relaxed);
        recording
    }

    fn try_recording(&self, work: impl FnOnce()) -> Result<Recording, result::DriverError> {
        let stream = self.stream.cu_stream();
        self.context.bind_to_thread()?;
        // Other threads may use CUDA meanwhile.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive and is not being recorded.
        unsafe { result::stream::begin_capture(stream, mode) }?;
        work();
        // SAFETY: begun above, by this thread. The graph is destroyed once, after what is made of it.
        unsafe {
            let graph = result::stream::end_capture(stream)?;
            let (mut executable, mut calls) = (std::ptr::null_mut(), 0);
            let made = sys::cuGraphGetNodes(graph, std::ptr::null_mut(), &mut calls)
                .result()
                .and_then(|()| sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0).result());
            let _ = result::graph::destroy(graph);
            made.map(|()| Recording { executable, calls, stream: self.stream.clone() })
        }
    }

    pub(super) fn size_of_recording(&self, recording: &Recording) -> usize {
        recording.calls * RECORDED_CALL
    }

    pub(super) fn repeat(&self, recording: &Recording) {
        self.attempt(|| {
            // SAFETY: both are alive; what the calls point to is held by the device's runtime.
            unsafe { result::graph::launch(recording.executable, self.stream.cu_stream()) }
                .map_err(|error| self.driver_failed("a recorded step", error))
        });
    }
}
