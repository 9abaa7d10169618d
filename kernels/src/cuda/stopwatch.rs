//! The time that work of a stream takes, as the GPU itself sees it.

use cudarc::driver::{CudaStream, result, sys};
use result::DriverError;
use result::event;

/// Two points of a stream.
pub(super) struct Stopwatch([sys::CUevent; 2]);

impl Stopwatch {
    /// # Errors
    /// What the driver said, as of all that follows.
    pub fn new() -> Result<Self, DriverError> {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        Ok(Self([event::create(flags)?, event::create(flags)?]))
    }

    /// Microseconds that the GPU takes for what `work` puts on the stream; waits for it.
    pub fn time<E: From<DriverError>>(
        &self,
        stream: &CudaStream,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<f32, E> {
        let Self([start, end]) = *self;
        // SAFETY: events and stream are alive.
        unsafe {
            event::record(start, stream.cu_stream())?;
            work()?;
            event::record(end, stream.cu_stream())?;
            sys::cuEventSynchronize(end).result()?;
        }
        Ok(1e3 * elapsed(start, end)?)
    }
}

/// Milliseconds between two events, by the name of the call that drivers of every version have.
fn elapsed(start: sys::CUevent, end: sys::CUevent) -> Result<f32, DriverError> {
    type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
    let mut milliseconds = 0.0;
    // SAFETY: the call's signature in `cuda.h`; both events are alive and were recorded in one stream.
    unsafe {
        let elapsed = sys::culib()
            .get::<Elapsed>(super::detect::EVENT_TIME.as_bytes())
            .map_err(|_| DriverError(sys::CUresult::CUDA_ERROR_NOT_SUPPORTED))?;
        elapsed(&mut milliseconds, start, end).result()?;
    }
    Ok(milliseconds)
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        for event in self.0 {
            // SAFETY: created, and destroyed once.
            let _ = unsafe { event::destroy(event) };
        }
    }
}
