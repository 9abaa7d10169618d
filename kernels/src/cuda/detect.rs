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
    /// What programs are linked with where there is no driver.
    #[error(
        "{path} is no NVIDIA driver but a stub of one, for linking: take its folder out of LD_LIBRARY_PATH, or put the driver's before it"
    )]
    StubDriver {
        /// The file.
        path: String,
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
    #[error(
        "{library} does not start: {error}; it is of version {version} ({path}), which may be too old for {gpu} or too new for the driver: \
         one of the CUDA version that `nvidia-smi` shows works"
    )]
    Library {
        /// Which.
        library: Library,
        /// What it said.
        error: String,
        /// Its version.
        version: String,
        /// The file.
        path: String,
        /// The GPU that it does not start on.
        gpu: String,
    },
    /// A library of the toolkit.
    #[error(
        "{library} is not found{missing}: install CUDA's libraries of version {cuda} (`{}`; from PyPI: `pip install '{package}'`) and \
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
fn file_of(function: Option<*const ()>) -> String {
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

    /// Its version, if it is there, knows all calls that are used, and is of a CUDA that is new enough and not newer than the driver's.
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
        if !is_there {
            return Err(self.absent(driver, String::new()));
        }
        if let Some(call) = self.missing_call() {
            let missing = format!(" in a version that is new enough ({} has no {call})", self.path());
            return Err(self.absent(driver, missing));
        }
        let (major, version) = self.says();
        match unfit(major, driver) {
            Some(reason) => {
                // The loader is asked for the name without a version first, whichever folder that lies in.
                let missing = format!(
                    " in a version that fits: {} is of version {version}, {reason} (remove it, or give the right one the name {} as well, \
                     in a folder that is searched before it)",
                    self.path(),
                    self.file()
                );
                Err(self.absent(driver, missing))
            }
            None => Ok(version),
        }
    }

    /// The file that it was loaded from. It is there.
    pub(super) fn path(self) -> String {
        // SAFETY: a symbol is looked for, not called.
        let call = unsafe {
            match self {
                Self::Nvrtc => cudarc::nvrtc::sys::culib().get::<*const ()>(b"nvrtcVersion"),
                Self::Cublaslt => cudarc::cublaslt::sys::culib().get::<*const ()>(b"cublasLtGetVersion"),
            }
        };
        file_of(call.ok().map(|call| *call))
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
    fn absent(self, driver: i32, missing: String) -> Unavailable {
        let cuda = driver / 1000;
        let (package, folder) = match self {
            Self::Nvrtc => ("nvidia-cuda-nvrtc", "cuda_nvrtc"),
            Self::Cublaslt => ("nvidia-cublas", "cublas"),
        };
        let (package, folder) = match cuda {
            ..13 => (format!("{package}-cu12"), folder),
            _ => (format!("{package}=={cuda}.*"), "cu13"),
        };
        Unavailable::NoLibrary { library: self, missing, cuda, package, folder }
    }

    /// The version of a library that is there: that of CUDA which it belongs to, and all of it.
    fn says(self) -> (i32, String) {
        match self {
            Self::Nvrtc => {
                let (mut major, mut minor) = (0, 0);
                // SAFETY: the call writes two integers.
                let _ = unsafe { cudarc::nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
                (major, format!("{major}.{minor}"))
            }
            Self::Cublaslt => {
                // SAFETY: the call takes nothing.
                let version = unsafe { cudarc::cublaslt::sys::cublasLtGetVersion() };
                let (major, rest) = (version / 10_000, version % 10_000);
                (major as i32, format!("{major}.{}.{}", rest / 100, rest % 100))
            }
        }
    }
}

/// Why a library of some CUDA does not work with a driver, as a remark on it.
fn unfit(major: i32, driver: i32) -> Option<String> {
    let (oldest, of_driver) = (OLDEST_DRIVER / 1000, driver / 1000);
    match major {
        _ if major < oldest => Some(format!("older than {oldest}.0")),
        _ if major > of_driver => {
            Some(format!("newer than the driver's CUDA {of_driver}.{}", driver % 1000 / 10))
        }
        _ => None,
    }
}

/// The environment variables that are set by which NVIDIA's libraries compute otherwise than they are asked to.
pub fn overriding_variables() -> Vec<&'static str> {
    const ALL: [&str; 4] = [
        "CUBLAS_EMULATE_SINGLE_PRECISION",
        "CUBLAS_EMULATION_STRATEGY",
        "CUBLASLT_HEURISTICS_LUT_FILE",
        "NVIDIA_TF32_OVERRIDE",
    ];
    ALL.into_iter().filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())).collect()
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
            (
                13_000,
                Library::Nvrtc,
                ["libnvrtc.so", "version 13", "'nvidia-cuda-nvrtc==13.*'`", "nvidia/cu13/lib"],
            ),
            (
                13_010,
                Library::Cublaslt,
                ["cuBLASLt", "version 13", "'nvidia-cublas==13.*'`", "nvidia/cu13/lib"],
            ),
        ] {
            let text = library.absent(driver, String::new()).to_string();
            for part in parts {
                assert!(text.contains(part), "`{part}` is not in: {text}");
            }
        }
    }

    #[test]
    fn libraries_are_as_new_as_is_needed_and_no_newer_than_the_driver() {
        for (major, driver, words) in [
            (11, 13_000, Some("older than 12.0")),
            (12, 12_000, None),
            (12, 13_010, None),
            (13, 13_000, None),
            (13, 12_080, Some("newer than the driver's CUDA 12.8")),
            (14, 13_010, Some("newer than the driver's CUDA 13.1")),
        ] {
            assert_eq!(unfit(major, driver).as_deref(), words, "{major} with {driver}");
        }
    }
}
