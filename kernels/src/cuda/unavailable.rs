//! Why there is no GPU to compute on, and what to do about it.

use super::Library;

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
