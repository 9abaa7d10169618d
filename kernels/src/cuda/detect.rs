//! Which GPUs there are, or why none: never a panic, whatever is installed.

use cudarc::driver::{result, sys};
use serde::{Deserialize, Serialize};
use sys::CUdevice_attribute as Attribute;

/// The oldest driver that is meant, of CUDA 12.0.
const OLDEST_DRIVER: i32 = 12_000;
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
    "cuStreamWaitEvent",
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
        "{library} is not found{missing}: install CUDA's libraries of version {cuda} (`{}`; from PyPI: `pip install {package}`) and \
         name their folder in LD_LIBRARY_PATH (from PyPI: `site-packages/nvidia/{folder}/lib`)",
        library.file()
    )]
    NoLibrary {
        /// Which.
        library: Library,
        /// What is missing of one that is too old.
        missing: String,
        /// The version that the driver is for.
        cuda: i32,
        /// PyPI's package.
        package: String,
        /// Where that puts it.
        folder: &'static str,
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

/// A library that is needed beside the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Compiles kernels.
    Nvrtc,
    /// Multiplies matrices.
    Cublaslt,
}

impl std::fmt::Display for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nvrtc => "NVRTC",
            Self::Cublaslt => "cuBLASLt",
        })
    }
}

impl Library {
    /// All.
    pub const ALL: [Self; 2] = [Self::Nvrtc, Self::Cublaslt];

    fn file(self) -> &'static str {
        match self {
            Self::Nvrtc => "libnvrtc.so",
            Self::Cublaslt => "libcublasLt.so",
        }
    }

    /// Its version, if it is there and knows all calls that are used.
    ///
    /// # Errors
    /// What to install; as [`driver_version`] if there is no driver that it could work with.
    pub fn version(self) -> Result<String, Unavailable> {
        let driver = driver_version()?;
        // SAFETY: opening NVIDIA's libraries runs their start-up code, which is sound to run at any time.
        let is_there = unsafe {
            match self {
                Self::Nvrtc => cudarc::nvrtc::sys::is_culib_present(),
                Self::Cublaslt => cudarc::cublaslt::sys::is_culib_present(),
            }
        };
        let absent = if is_there { self.missing_call() } else { Some("") };
        match absent {
            Some(call) => Err(self.absent(driver, call)),
            None => Ok(self.says()),
        }
    }

    /// A call that is used and not there: cudarc would panic. The library is.
    fn missing_call(self) -> Option<&'static str> {
        const OF_NVRTC: &[&str] =
            &["nvrtcGetCUBIN", "nvrtcGetCUBINSize", "nvrtcGetNumSupportedArchs", "nvrtcGetSupportedArchs"];
        const OF_CUBLASLT: &[&str] =
            &["cublasLtGetVersion", "cublasLtMatmulAlgoCheck", "cublasLtMatmulAlgoConfigGetAttribute"];
        // SAFETY: symbols are looked for, not called.
        let has = |call: &&&str| unsafe {
            match self {
                Self::Nvrtc => cudarc::nvrtc::sys::culib().get::<*const ()>(call.as_bytes()).is_ok(),
                Self::Cublaslt => cudarc::cublaslt::sys::culib().get::<*const ()>(call.as_bytes()).is_ok(),
            }
        };
        let calls = match self {
            Self::Nvrtc => OF_NVRTC,
            Self::Cublaslt => OF_CUBLASLT,
        };
        calls.iter().find(|call| !has(call)).copied()
    }

    /// What to install for a driver: libraries of CUDA 12 have that in their names on PyPI, those of 13 have not.
    fn absent(self, driver: i32, call: &str) -> Unavailable {
        let cuda = driver / 1000;
        let (package, folder) = match self {
            Self::Nvrtc => ("nvidia-cuda-nvrtc", "cuda_nvrtc"),
            Self::Cublaslt => ("nvidia-cublas", "cublas"),
        };
        let (package, folder) = match cuda {
            ..13 => (format!("{package}-cu12"), folder),
            _ => (package.to_owned(), "cu13"),
        };
        let missing = if call.is_empty() {
            String::new()
        } else {
            format!(" in a version that is new enough (it has no {call})")
        };
        Unavailable::NoLibrary { library: self, missing, cuda, package, folder }
    }

    /// The version of a library that is there.
    fn says(self) -> String {
        match self {
            Self::Nvrtc => {
                let (mut major, mut minor) = (0, 0);
                // SAFETY: the call writes two integers.
                let _ = unsafe { cudarc::nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
                format!("{major}.{minor}")
            }
            Self::Cublaslt => {
                // SAFETY: the call takes nothing.
                let version = unsafe { cudarc::cublaslt::sys::cublasLtGetVersion() };
                format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
            }
        }
    }
}

/// What computes with a GPU. Of other versions, results may differ in their last bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The newest CUDA that the driver is for.
    pub driver: String,
    /// The compiler of kernels.
    pub nvrtc: String,
    /// The library of matrix products.
    pub cublaslt: String,
}

/// The versions of driver and libraries, if all are there that are needed.
///
/// # Errors
/// The first that is missing.
pub fn versions() -> Result<Versions, Unavailable> {
    let driver = driver_version()?;
    Ok(Versions {
        driver: format!("{}.{}", driver / 1000, driver % 1000 / 10),
        nvrtc: Library::Nvrtc.version()?,
        cublaslt: Library::Cublaslt.version()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a driver for CUDA 12, libraries of 13 do not work.
    #[test]
    fn what_to_install_follows_from_the_driver() {
        for (driver, library, parts) in [
            (
                12_040,
                Library::Nvrtc,
                ["NVRTC", "version 12", "nvidia-cuda-nvrtc-cu12", "nvidia/cuda_nvrtc/lib"],
            ),
            (
                12_090,
                Library::Cublaslt,
                ["libcublasLt.so", "version 12", "nvidia-cublas-cu12", "nvidia/cublas/lib"],
            ),
            (13_000, Library::Nvrtc, ["libnvrtc.so", "version 13", "nvidia-cuda-nvrtc`", "nvidia/cu13/lib"]),
            (13_010, Library::Cublaslt, ["cuBLASLt", "version 13", "nvidia-cublas`", "nvidia/cu13/lib"]),
        ] {
            let text = library.absent(driver, "").to_string();
            for part in parts {
                assert!(text.contains(part), "`{part}` is not in: {text}");
            }
        }
        let text = Library::Cublaslt.absent(13_000, "cublasLtGetVersion").to_string();
        assert!(text.contains("new enough (it has no cublasLtGetVersion)"), "{text}");
    }
}
