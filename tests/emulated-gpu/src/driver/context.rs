//! The primary context: what must be current on a thread before it can do anything with the device.

use std::cell::Cell;

use super::Driver;
use super::border::{Out, driver_calls};
use super::error::{CudaError, Failure, Result};

/// The handle of the one context.
const PRIMARY: u64 = 0xC0_0000_0010;

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

impl Driver {
    /// Refuses calls on a thread with no current context, and calls after the context is gone.
    pub fn context(&self) -> Result {
        if CURRENT.get() == 0 {
            return Err(Failure::new(CudaError::InvalidContext, "no context is current on this thread"));
        }
        if self.device.retained == 0 {
            return Err(Failure::new(CudaError::InvalidContext, "the primary context is released"));
        }
        Ok(())
    }

    /// As [`Driver::context`], and refuses everything after work on the device has failed.
    pub fn usable(&self) -> Result {
        self.context()?;
        match self.device.failed {
            None => Ok(()),
            Some(code) => Err(Failure::new(code, "work on the device has failed (reported above)")),
        }
    }

    fn release(&mut self) -> Result {
        if self.device.retained == 0 {
            return Err(Failure::new(CudaError::InvalidContext, "the primary context is not retained"));
        }
        self.device.retained -= 1;
        if self.device.retained == 0 {
            self.reset();
        }
        Ok(())
    }
}

driver_calls! {
    /// Retains the primary context of a device, creating it on the first time.
    fn cuDevicePrimaryCtxRetain(driver, context: Out<u64>, device: i32) {
        driver.check_device(device)?;
        driver.device.retained += 1;
        context.set(PRIMARY)
    }

    /// Releases the primary context; the last release ends it with all that it holds.
    fn cuDevicePrimaryCtxRelease_v2(driver, device: i32) {
        driver.check_device(device)?;
        driver.release()
    }

    /// Makes a context current on this thread; null makes none current.
    fn cuCtxSetCurrent(_driver, context: u64) {
        if context != PRIMARY && context != 0 {
            return Err(Failure::new(CudaError::InvalidContext, format!("context {context:#x} was never created")));
        }
        CURRENT.set(context);
        Ok(())
    }

    /// The context current on this thread.
    fn cuCtxGetCurrent(_driver, context: Out<u64>) {
        context.set(CURRENT.get())
    }

    /// Waits for all work on the device.
    fn cuCtxSynchronize(driver) {
        driver.context()?;
        driver.refuse_while_capturing_anything("waiting for the device")?;
        driver.finish_all()
    }

    /// Sets how the host waits: it makes no difference here.
    fn cuCtxSetFlags(driver, _flags: u32) {
        driver.context()
    }
}
