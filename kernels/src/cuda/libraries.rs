//! NVIDIA's libraries that are needed beside the driver: which are there, and whether they fit it.

use serde::{Deserialize, Serialize};

use super::Unavailable;
use super::detect::{OLDEST_DRIVER, driver_version, file_of};

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

    pub(super) fn file(self) -> &'static str {
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
