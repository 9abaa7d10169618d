//! Which GPUs there are, or why none: never a panic, whatever is installed.

use cudarc::driver::{result, sys};
use sys::CUdevice_attribute as Attribute;

use super::Unavailable;

/// The oldest driver that is meant, of CUDA 12.0.
pub(super) const OLDEST_DRIVER: i32 = 12_000;
/// The oldest GPUs that are meant: they multiply bf16.
const OLDEST_CAPABILITY: (i32, i32) = (8, 0);

/// The call that gives the time between two events, by the name that drivers of every version have.
pub(super) const EVENT_TIME: &str = "cuEventElapsedTime";

/// The driver's calls that are used; cudarc panics when one of them is not there.
const CALLS: &[&str] = &[
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    EVENT_TIME,
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphGetNodes",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamIsCapturing",
    "cuStreamQuery",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// A GPU, as far as is known without using it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: usize,
    /// Multiprocessors.
    pub multiprocessors: usize,
}

impl Found {
    /// `sm_90` for compute capability 9.0.
    pub fn architecture(&self) -> String {
        let (major, minor) = self.capability;
        format!("sm_{major}{minor}")
    }
}

/// The version of the driver, 12040 for that of CUDA 12.4, if there is one that starts.
///
/// # Errors
/// If there is no driver or it is too old.
pub fn driver_version() -> Result<i32, Unavailable> {
    // SAFETY: opening the driver's library runs its start-up code, which is sound to run at any time.
    if !unsafe { sys::is_culib_present() } {
        return Err(Unavailable::NoDriver);
    }
    // SAFETY: as above; a symbol is looked for, not called.
    let has = |call: &str| unsafe { sys::culib().get::<*const ()>(call.as_bytes()) }.is_ok();
    let mut version = 0;
    if has("cuDriverGetVersion") {
        // SAFETY: the call may be made before `cuInit`, and writes one integer.
        let said = unsafe { sys::cuDriverGetVersion(&mut version) };
        if said == sys::CUresult::CUDA_ERROR_STUB_LIBRARY {
            // SAFETY: as above; the symbol is the function that was just called.
            let call = unsafe { sys::culib().get::<*const ()>(b"cuDriverGetVersion") };
            return Err(Unavailable::StubDriver { path: file_of(call.ok().map(|call| *call)) });
        }
    }
    let missing = CALLS.iter().find(|call| !has(call));
    if version < OLDEST_DRIVER || missing.is_some() {
        let missing = missing.map_or_else(String::new, |call| format!(" (it has no {call})"));
        return Err(Unavailable::OldDriver { version, missing });
    }
    Ok(version)
}

/// All GPUs, old ones included.
///
/// # Errors
/// If there is no driver, or no GPU.
pub fn devices() -> Result<Vec<Found>, Unavailable> {
    driver_version()?;
    let failed = |error: result::DriverError| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => no_device(),
        _ => Unavailable::Start { error: error.to_string() },
    };
    result::init().map_err(failed)?;
    let count = result::device::get_count().map_err(failed)?;
    let found: Result<Vec<_>, _> = (0..count).map(found).collect();
    let found = found.map_err(failed)?;
    if found.is_empty() { Err(no_device()) } else { Ok(found) }
}

/// GPU number `ordinal`, if it can compute.
///
/// # Errors
/// If it is not there, or too old.
pub fn usable(ordinal: usize) -> Result<Found, Unavailable> {
    let devices = devices()?;
    let count = devices.len();
    let found = devices.into_iter().nth(ordinal).ok_or(Unavailable::NoSuchDevice { ordinal, count })?;
    if found.capability < OLDEST_CAPABILITY {
        return Err(Unavailable::OldDevice { name: found.name, capability: found.capability });
    }
    Ok(found)
}

/// The file that a function of a library was loaded from, as the loader has it.
pub(super) fn file_of(function: Option<*const ()>) -> String {
    let unknown = || "a file that the system does not name".to_owned();
    #[cfg(unix)]
    if let Some(function) = function {
        let mut information = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: `information` is large enough; an address that is no library's is answered with 0. What is named is a C string that
        // lives as long as the library, which is never closed.
        unsafe {
            let found = libc::dladdr(function.cast(), information.as_mut_ptr());
            let name = information.assume_init().dli_fname;
            if found != 0 && !name.is_null() {
                return std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned();
            }
        }
    }
    #[cfg(not(unix))]
    let _ = function;
    unknown()
}

fn no_device() -> Unavailable {
    let visible =
        std::env::var("CUDA_VISIBLE_DEVICES").map_or("not set".into(), |value| format!("`{value}`"));
    Unavailable::NoDevice { visible }
}

fn found(ordinal: i32) -> Result<Found, result::DriverError> {
    let device = result::device::get(ordinal)?;
    // SAFETY: the device is one that the driver has just named.
    let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    Ok(Found {
        ordinal: ordinal as usize,
        name: result::device::get_name(device)?,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }?,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize,
    })
}
