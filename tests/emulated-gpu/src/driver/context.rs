//! The primary contexts: one of them must be current on a thread before it can do anything with a device.

use std::cell::Cell;

use super::border::{Out, driver_calls};
use super::error::{CudaError, Failure, Result};
use super::{Driver, Locked};

/// The handle of the first device's context; those of the others follow.
const FIRST: u64 = 0xC0_0000_0010;
/// From one handle to the next.
const STEP: u64 = 0x10;

thread_local! {
    /// The handle of the context that is current on this thread, or 0.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

impl Driver {
    /// The device of a context.
    pub fn device_of_context(&self, context: u64) -> Result<usize> {
        let index =
            context.checked_sub(FIRST).filter(|offset| offset % STEP == 0).map(|offset| offset / STEP);
        index.map(|index| index as usize).filter(|&index| index < self.devices.len()).ok_or_else(|| {
            Failure::new(CudaError::InvalidContext, format!("context {context:#x} was never created"))
        })
    }

    /// The device whose context is current on this thread. Refuses calls with no current context, and calls after it
    /// is gone.
    pub fn context(&self) -> Result<usize> {
        let current = CURRENT.get();
        if current == 0 {
            return Err(Failure::new(CudaError::InvalidContext, "no context is current on this thread"));
        }
        let device = self.device_of_context(current)?;
        if self.devices[device].retained == 0 {
            return Err(Failure::new(CudaError::InvalidContext, "the primary context is released"));
        }
        Ok(device)
    }

    /// As [`Driver::context`], and refuses everything after work on the device has failed.
    pub fn usable(&self) -> Result<usize> {
        let device = self.context()?;
        self.intact(device)?;
        Ok(device)
    }

    /// Refuses everything after work on a device has failed.
    pub fn intact(&self, device: usize) -> Result {
        match self.devices[device].failed {
            None => Ok(()),
            Some(code) => Err(Failure::new(code, "work on the device has failed (reported above)")),
        }
    }
}

impl Locked {
    fn release(&mut self, device: usize) -> Result {
        if self.devices[device].retained == 0 {
            return Err(Failure::new(CudaError::InvalidContext, "the primary context is not retained"));
        }
        if self.devices[device].retained == 1 {
            // Work that fails now has been reported; it cannot be reported to anyone else.
            let _ = self.finish_device(device);
            self.reset(device);
        }
        self.devices[device].retained -= 1;
        Ok(())
    }
}

driver_calls! {
    /// Retains the primary context of a device, creating it on the first time.
    fn cuDevicePrimaryCtxRetain(driver, context: Out<u64>, device: i32) {
        let device = driver.check_device(device)?;
        driver.devices[device].retained += 1;
        context.set(FIRST + STEP * device as u64)
    }

    /// Releases the primary context; the last release ends it with all that it holds.
    fn cuDevicePrimaryCtxRelease_v2(driver, device: i32) {
        let device = driver.check_device(device)?;
        driver.release(device)
    }

    /// Makes a context current on this thread; null makes none current.
    fn cuCtxSetCurrent(driver, context: u64) {
        if context != 0 {
            driver.device_of_context(context)?;
        }
        CURRENT.set(context);
        Ok(())
    }

    /// The context current on this thread.
    fn cuCtxGetCurrent(_driver, context: Out<u64>) {
        context.set(CURRENT.get())
    }

    /// The device of the context current on this thread.
    fn cuCtxGetDevice(driver, device: Out<i32>) {
        device.set(driver.context()? as i32)
    }

    /// Waits for all work on the device.
    fn cuCtxSynchronize(driver) {
        let device = driver.context()?;
        driver.refuse_while_capturing_anything(device, "waiting for the device")?;
        driver.finish_device(device)
    }

    /// Sets how the host waits: it makes no difference here.
    fn cuCtxSetFlags(driver, _flags: u32) {
        driver.context().map(drop)
    }

    /// Lets kernels touch another device's memory: refused, as [`cuDeviceCanAccessPeer`](super::device::cuDeviceCanAccessPeer) says.
    fn cuCtxEnablePeerAccess(driver, context: u64, _flags: u32) {
        driver.context()?;
        driver.device_of_context(context)?;
        let reason = "kernels see the memory of their own device alone; copies between devices need no peer access";
        Err(Failure::new(CudaError::PeerAccessUnsupported, reason))
    }
}
