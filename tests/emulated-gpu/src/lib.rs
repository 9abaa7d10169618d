//! A GPU for machines that have none. Host programs open CUDA through cudarc as ever and get this crate; kernels are
//! run from the very PTX that NVRTC makes of them, with every access checked. For tests only: `README.md` beside this
//! crate says how to use it, how to read its reports, and how to add to it.
//!
//! - [`setup`] makes CUDA look installed to a test, [`process`] runs it in processes of its own, under several schedules:
//!   what tests of other crates need.
//! - [`driver`], [`blas`] and [`nccl`] are the calls of `libcuda`, `libcublas`, `libcublasLt` and `libnccl`, exported under
//!   C's names.
//! - [`performance`] tells what kernels ask of the hardware, and how long an H100 would take at least.
//! - [`ptx`] is the interpreter. It needs no driver:
//!
//! ```
//! use emulated_gpu::ptx::{DeviceMemory, Launch, Module, run};
//!
//! let module = Module::parse(
//!     ".version 9.0
//!      .target sm_90
//!      .address_size 64
//!      .visible .entry count(.param .u64 result) {
//!          .reg .b32 %r<2>;
//!          .reg .b64 %rd<4>;
//!          ld.param.u64 %rd1, [result];
//!          mov.u32 %r1, %tid.x;
//!          mul.wide.u32 %rd2, %r1, 4;
//!          add.s64 %rd3, %rd1, %rd2;
//!          st.global.u32 [%rd3], %r1;
//!          ret;
//!      }",
//! )?;
//! let mut memory = DeviceMemory::new(1 << 20);
//! let result = memory.alloc(4 * 64)?;
//! let kernel = module.kernel("count").expect("it is in the text");
//! run(&Launch { block: [64, 1, 1], parameters: &result.to_le_bytes(), ..Launch::new(kernel) }, &mut memory)?;
//! assert_eq!(memory.load(result + 4 * 63, 4)?, 63u32.to_le_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(target_os = "linux")]
pub mod blas;
#[cfg(target_os = "linux")]
pub mod compiler;
#[cfg(target_os = "linux")]
pub mod driver;
#[cfg(target_os = "linux")]
pub mod machine_code;
#[cfg(target_os = "linux")]
pub mod names;
#[cfg(target_os = "linux")]
pub mod nccl;
pub mod performance;
#[cfg(target_os = "linux")]
pub mod process;
pub mod ptx;
#[cfg(target_os = "linux")]
pub mod setup;
pub mod tensor_core;
