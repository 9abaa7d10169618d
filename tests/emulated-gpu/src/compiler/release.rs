//! Releases of NVRTC. Kernels are to compile with every one that a user may have; tests use one of them.

use std::env;

use thiserror::Error;

/// The variable that says which release tests compile with: its version.
pub const RELEASE: &str = "EMULATED_GPU_NVRTC";

/// A release, as PyPI has it.
#[derive(Debug)]
pub struct Release {
    /// Major and minor version.
    pub version: &'static str,
    /// PyPI's package.
    pub package: &'static str,
    /// Where in the package the libraries are.
    pub folder: &'static str,
    /// The libraries, each before those that need it.
    pub libraries: [&'static str; 2],
}

/// The first is of the CUDA version whose driver this crate plays, the second the oldest that is meant.
pub static RELEASES: [Release; 4] = [
    Release {
        version: "13.0",
        package: "nvidia-cuda-nvrtc==13.0.88",
        folder: "nvidia/cu13/lib",
        libraries: ["libnvrtc-builtins.so.13.0", "libnvrtc.so.13"],
    },
    Release {
        version: "12.0",
        package: "nvidia-cuda-nvrtc-cu12==12.0.140",
        folder: "nvidia/cuda_nvrtc/lib",
        libraries: ["libnvrtc-builtins.so.12.0", "libnvrtc.so.12"],
    },
    Release {
        version: "12.4",
        package: "nvidia-cuda-nvrtc-cu12==12.4.127",
        folder: "nvidia/cuda_nvrtc/lib",
        libraries: ["libnvrtc-builtins.so.12.4", "libnvrtc.so.12"],
    },
    Release {
        version: "12.9",
        package: "nvidia-cuda-nvrtc-cu12==12.9.86",
        folder: "nvidia/cuda_nvrtc/lib",
        libraries: ["libnvrtc-builtins.so.12.9", "libnvrtc.so.12"],
    },
];

/// A version that is none of [`RELEASES`].
#[derive(Debug, Error)]
#[error("{variable} is `{found}`; there are {known}", variable = RELEASE, known = versions().join(", "))]
pub struct UnknownRelease {
    found: String,
}

fn versions() -> Vec<&'static str> {
    RELEASES.iter().map(|release| release.version).collect()
}

impl Release {
    /// The one that [`RELEASE`] names, or the first.
    ///
    /// # Errors
    /// If it names none of them.
    pub fn chosen() -> Result<&'static Self, UnknownRelease> {
        Self::named(env::var(RELEASE).ok().as_deref())
    }

    fn named(version: Option<&str>) -> Result<&'static Self, UnknownRelease> {
        let Some(version) = version.filter(|version| !version.is_empty()) else { return Ok(&RELEASES[0]) };
        let found = || UnknownRelease { found: version.to_owned() };
        RELEASES.iter().find(|release| release.version == version).ok_or_else(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_its_version() {
        let version = |named: Option<&str>| Release::named(named).map(|release| release.version);
        for (named, wanted) in [(None, "13.0"), (Some(""), "13.0"), (Some("12.4"), "12.4")] {
            assert_eq!(version(named).expect("it is there"), wanted);
        }
        let refusal = version(Some("11.8")).expect_err("it is not").to_string();
        assert_eq!(refusal, "EMULATED_GPU_NVRTC is `11.8`; there are 13.0, 12.0, 12.4, 12.9");
    }
}
