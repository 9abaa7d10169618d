//! A list of calls that is made once and repeated as one: a CUDA graph.

use std::sync::{Arc, MutexGuard, PoisonError};

use cudarc::driver::{CudaStream, result, sys};
use result::DriverError;

use super::Cuda;
use crate::backend::Backend;
use crate::memory::DeviceError;

/// Bytes of a GPU's memory that a recorded call is taken to need. No text promises any number, and what a driver has free before and
/// after does not tell, for it takes memory in pieces; the caches of NVIDIA's CUDASTF count with about 10 KB for each kernel of a graph
/// (NVIDIA/cccl, pull request 3768).
pub const RECORDED_CALL: usize = 10 << 10;

/// So many failures, whatever they are, are enough to give recording up.
const MOST_FAILURES: usize = 8;

/// What has kept calls from being recorded.
#[derive(Default)]
pub(super) struct Unrecorded {
    failures: usize,
    /// What was said last.
    reason: String,
    /// Whether it would be said again.
    is_final: bool,
}

impl Unrecorded {
    /// Counts a failure. Calls that no capture may contain are the same next time; memory that is not free may be.
    fn add(&mut self, Refusal { complaint, said }: Refusal) {
        const OF_CAPTURES: std::ops::Range<u32> = 900..910;
        self.failures += 1;
        let of_captures = |said: &DriverError| OF_CAPTURES.contains(&(said.0 as u32));
        self.is_final = self.failures == MOST_FAILURES || said.as_ref().is_some_and(of_captures);
        let reason = complaint.map(|complaint| complaint.to_string());
        self.reason = reason.or(said.map(|said| said.to_string())).unwrap_or_default();
    }
}

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

/// Why calls were not recorded.
struct Refusal {
    /// What a call complained of: it has not been made, so that is no failure of the device.
    complaint: Option<DeviceError>,
    /// What the driver said of the recording.
    said: Option<DriverError>,
}

impl Refusal {
    /// Whether there would be a recording if the device had more memory.
    fn is_of_memory(&self) -> bool {
        let said = self.said.as_ref().is_some_and(|said| said.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        said || matches!(self.complaint, Some(DeviceError::OutOfDeviceMemory { .. }))
    }
}

impl Cuda {
    /// See [`Backend::record`](crate::Backend::record). Where the driver or a library cannot, nothing has happened: calls are made one by one,
    /// which is slower and no failure, and [`Cuda::unrecorded`] tells.
    pub(super) fn recording(
        &self,
        mut work: impl FnMut(),
        mut make_room: impl FnMut() -> bool,
    ) -> Option<Recording> {
        if self.lock_unrecorded().is_final || self.status().is_err() {
            return None;
        }
        loop {
            let recording = self.try_recording(&mut work);
            let complaint = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            let refusal = match (recording, complaint) {
                (Ok(recording), None) => return Some(recording),
                (recording, complaint) => Refusal { complaint, said: recording.err() },
            };
            if !(refusal.is_of_memory() && make_room()) {
                self.lock_unrecorded().add(refusal);
                return None;
            }
        }
    }

    /// Why calls are made one by one that were to be recorded, if any are.
    pub fn unrecorded(&self) -> Option<String> {
        let Unrecorded { failures, reason, .. } = &*self.lock_unrecorded();
        (*failures > 0)
            .then(|| format!("calls of a step are made one by one, for they cannot be recorded ({reason})"))
    }

    fn lock_unrecorded(&self) -> MutexGuard<'_, Unrecorded> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_recording(&self, work: impl FnOnce()) -> Result<Recording, DriverError> {
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
            made?;
            let recording = Recording { executable, calls, stream: self.stream.clone() };
            // What the device has no room for shows here, where it is no failure yet, rather than at the first repetition.
            sys::cuGraphUpload(executable, stream).result()?;
            Ok(recording)
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
