//! A GPU for machines that have none: the CUDA driver and cuBLAS calls of this project, over host memory, with
//! kernels run from the very PTX that NVRTC makes of them. For tests only; see `README.md` beside this crate.

pub mod blas;
pub mod driver;
#[cfg(target_os = "linux")]
pub mod names;
pub mod ptx;
#[cfg(target_os = "linux")]
pub mod setup;
