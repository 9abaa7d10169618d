//! Which GPUs there are, or why none: never a panic, whatever is installed.

use cudarc::driver::{result, sys};
use sys::CUdevice_attribute as Attribute;

/// The oldest driver that is meant, of CUDA 12.0.
const OLDEST_DRIVER: i32 = 12_000;
/// The oldest GPUs that are meant: they multiply bf16.
const OLDEST_CAPABILITY: (i32, i32) = (8, 0);

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
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
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
    "cuStreamSynchronize",
];

/// Why there is no GPU to compute on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No library of the driver.
    #[error(
        "no NVIDIA driver: libcuda.so.1 is not found; install the driver of the GPU (in a container: start it with the GPU, \
         `docker run --gpus all`)"
    )]
    NoDriver,
    /// A driver that lacks what is needed.
    #[error(
        "the NVIDIA driver is too old: it is of CUDA {}.{}, 12.0 or newer is needed{missing}; install a newer driver",
        version / 1000, version % 1000 / 10
    )]
    OldDriver {
        /// As the driver says it: 12040 is 12.4.
        version: i32,
        /// What is missing.
        missing: String,
    },
    /// The driver did not start.
    #[error("the NVIDIA driver does not start: {error}")]
    Start {
        /// What it said.
        error: String,
    },
    /// Memory that is not there for what every run needs.
    #[error(
        "{name} has no {} MiB of memory left ({} of its {} MiB are free): end what else runs on it (`nvidia-smi` lists it)",
        needed >> 20, free >> 20, total >> 20
    )]
    Memory {
        /// The GPU.
        name: String,
        /// Bytes needed.
        needed: usize,
        /// Bytes free.
        free: usize,
        /// Bytes it has.
        total: usize,
    },
    /// A driver and no device.
    #[error("the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES is {visible})")]
    NoDevice {
        /// The variable that can hide devices.
        visible: String,
    },
    /// No such device.
    #[error("there is no GPU {ordinal}: the driver finds {count}, counted from 0")]
    NoSuchDevice {
        /// What was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// A device that cannot do what is needed.
    #[error("{name} has compute capability {}.{}; 8.0 or newer is needed (Ampere, 2020)", capability.0, capability.1)]
    OldDevice {
        /// Its name.
        name: String,
        /// Its capability.
        capability: (i32, i32),
    },
    /// A library that does not work here.
    #[error("{name} does not start: {error}; is it of a CUDA version that the driver is too old for?")]
    Library {
        /// What it is.
        name: &'static str,
        /// What it said.
        error: String,
    },
    /// A library of the toolkit.
    #[error(
        "{name} is not found: install CUDA's libraries of version 12 or 13 (`{file}`; from PyPI: `pip install {package}`) and \
         name their folder in LD_LIBRARY_PATH"
    )]
    NoLibrary {
        /// What it is.
        name: &'static str,
        /// Its file.
        file: &'static str,
        /// PyPI's package.
        package: &'static str,
    },
}

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
        let _ = unsafe { sys::cuDriverGetVersion(&mut version) };
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

/// Whether the libraries are there that compile kernels and multiply matrices.
///
/// # Errors
/// The first that is missing.
pub fn libraries() -> Result<(), Unavailable> {
    // SAFETY: opening NVIDIA's libraries runs their start-up code, which is sound to run at any time.
    let (nvrtc, products) =
        unsafe { (cudarc::nvrtc::sys::is_culib_present(), cudarc::cublaslt::sys::is_culib_present()) };
    // SAFETY: as above; symbols are looked for, not called, and only where there is a library.
    let knows_gpus = || unsafe {
        let library = cudarc::nvrtc::sys::culib();
        ["nvrtcGetCUBIN", "nvrtcGetSupportedArchs"]
            .iter()
            .all(|call| library.get::<*const ()>(call.as_bytes()).is_ok())
    };
    if !nvrtc || !knows_gpus() {
        let (name, file, package) = ("NVRTC", "libnvrtc.so", "nvidia-cuda-nvrtc");
        return Err(Unavailable::NoLibrary { name, file, package });
    }
    if !products {
        let (name, file, package) = ("cuBLASLt", "libcublasLt.so", "nvidia-cublas");
        return Err(Unavailable::NoLibrary { name, file, package });
    }
    Ok(())
}
