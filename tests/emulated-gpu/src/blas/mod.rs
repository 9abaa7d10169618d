//! cuBLAS and cuBLASLt: matrix products with f32 accumulation, as work of streams.
//!
//! [`matmul`] does the arithmetic, for both libraries; [`cublas`] and [`lt`] are their calls.

pub mod algorithm;
pub mod cublas;
pub mod element;
pub mod epilogue;
pub mod lt;
pub mod lt_attributes;
pub mod matmul;
pub mod mode;

use std::collections::HashSet;

use crate::driver::error::{CudaError, Result};
use crate::driver::handles::Handles;
use crate::driver::{Locked, border};

/// What the two libraries hold for their callers.
pub struct Objects {
    /// cuBLAS handles.
    pub cublas: Handles<cublas::Context>,
    /// cuBLASLt handles.
    pub lt: Handles<lt::Context>,
    /// How matrices lie in memory.
    pub layouts: Handles<lt_attributes::Layout>,
    /// What products are wanted.
    pub descriptions: Handles<lt_attributes::Description>,
    /// What algorithms are acceptable.
    pub preferences: Handles<lt_attributes::Preference>,
    /// What was asked about algorithms, and answered with yes.
    pub checked: HashSet<algorithm::Checked>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            cublas: Handles::new("cuBLAS handle", 0xB1A),
            lt: Handles::new("cuBLASLt handle", 0xB17),
            layouts: Handles::new("matrix layout", 0x1A1),
            descriptions: Handles::new("matmul description", 0xDE5),
            preferences: Handles::new("matmul preference", 0x93E),
            checked: HashSet::new(),
        }
    }
}

/// Runs the body of a cuBLAS entry point and gives the `cublasStatus_t` for the caller.
pub fn call(name: &'static str, body: impl FnOnce(&mut Locked) -> Result) -> u32 {
    const NOT_INITIALIZED: u32 = 1;
    const ALLOCATION_FAILED: u32 = 3;
    const INVALID_VALUE: u32 = 7;
    const EXECUTION_FAILED: u32 = 13;
    const INTERNAL_ERROR: u32 = 14;
    const NOT_SUPPORTED: u32 = 15;
    match border::guarded(name, body).map_err(|failure| failure.code) {
        Ok(()) => 0,
        Err(CudaError::InvalidContext | CudaError::NotInitialized) => NOT_INITIALIZED,
        Err(CudaError::OutOfMemory) => ALLOCATION_FAILED,
        Err(CudaError::InvalidValue | CudaError::InvalidHandle) => INVALID_VALUE,
        Err(CudaError::NotSupported) => NOT_SUPPORTED,
        Err(CudaError::StreamCaptureUnsupported) => INTERNAL_ERROR,
        Err(_) => EXECUTION_FAILED,
    }
}

/// Declares cuBLAS entry points, as `driver_calls!` does for the driver's.
macro_rules! blas_calls {
    ($($(#[$meta:meta])* fn $name:ident($driver:ident $(, $argument:ident: $type:ty)* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the names are cuBLAS's")]
        #[allow(clippy::too_many_arguments, reason = "the signatures are cuBLAS's")]
        pub extern "C" fn $name($($argument: $type),*) -> u32 {
            $crate::blas::call(stringify!($name), |$driver: &mut $crate::driver::Locked| $body)
        }
    )*};
}
pub(crate) use blas_calls;
