//! A GPU for machines that have none: the CUDA driver and cuBLAS calls of this project, over host memory, with
//! kernels run from the very PTX that NVRTC makes of them. For tests only; see `README.md` beside this crate.

pub mod ptx;
