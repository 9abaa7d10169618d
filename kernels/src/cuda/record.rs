//! A list of calls that is made once and repeated as one: a CUDA graph.

use std::sync::Arc;

use cudarc::driver::{CudaStream, result, sys};

use super::Cuda;
use crate::memory::DeviceError;

/// A recorded list of calls.
pub struct Recording {
    executable: sys::CUgraphExec,
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
    /// Records what `work` asks for instead of doing it.
    pub(super) fn recording(&self, work: impl FnOnce()) -> Option<Recording> {
        let stream = self.stream.cu_stream();
        let failed = |error| self.driver_failed("recording a step", error);
        // Other threads may use CUDA meanwhile.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive and is not being recorded.
        self.attempt(|| unsafe { result::stream::begin_capture(stream, mode) }.map_err(failed))?;
        work();
        // SAFETY: begun above, by this thread. Whatever has failed in between, the stream must leave that state.
        let graph = unsafe { result::stream::end_capture(stream) };
        self.attempt(|| {
            let graph = graph.map_err(failed)?;
            // SAFETY: the graph was recorded just now; it is destroyed once, after what is made of it.
            let executable = unsafe {
                let mut executable = std::ptr::null_mut();
                let made = sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0).result();
                let _ = result::graph::destroy(graph);
                made.map(|()| executable).map_err(failed)?
            };
            Ok::<_, DeviceError>(Recording { executable, stream: self.stream.clone() })
        })
    }

    pub(super) fn repeat(&self, recording: &Recording) {
        self.attempt(|| {
            // SAFETY: both are alive; what the calls point to is held by the device's runtime.
            unsafe { result::graph::launch(recording.executable, self.stream.cu_stream()) }
                .map_err(|error| self.driver_failed("a recorded step", error))
        });
    }
}
