//! The driver's result codes, and the failure that carries one with its reason.

use std::ffi::{CStr, c_char};
use std::fmt;

use super::border::{Out, driver_calls};
use crate::ptx::{Fault, MemoryError, Trouble};

macro_rules! results {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// A `CUresult` other than success; the discriminants are the driver's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        #[allow(missing_docs, reason = "the names are the driver's")]
        pub enum CudaError { $($(#[$doc])* $name = $code,)* }

        impl CudaError {
            const ALL: &[(Self, &'static CStr)] = &[$((Self::$name, $text),)*];
        }
    };
}

results! {
    InvalidValue = 1, c"CUDA_ERROR_INVALID_VALUE";
    OutOfMemory = 2, c"CUDA_ERROR_OUT_OF_MEMORY";
    NotInitialized = 3, c"CUDA_ERROR_NOT_INITIALIZED";
    StubLibrary = 34, c"CUDA_ERROR_STUB_LIBRARY";
    InvalidDevice = 101, c"CUDA_ERROR_INVALID_DEVICE";
    InvalidImage = 200, c"CUDA_ERROR_INVALID_IMAGE";
    InvalidContext = 201, c"CUDA_ERROR_INVALID_CONTEXT";
    NoBinaryForGpu = 209, c"CUDA_ERROR_NO_BINARY_FOR_GPU";
    PeerAccessUnsupported = 217, c"CUDA_ERROR_PEER_ACCESS_UNSUPPORTED";
    InvalidPtx = 218, c"CUDA_ERROR_INVALID_PTX";
    UnsupportedPtxVersion = 222, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION";
    FileNotFound = 301, c"CUDA_ERROR_FILE_NOT_FOUND";
    InvalidHandle = 400, c"CUDA_ERROR_INVALID_HANDLE";
    NotFound = 500, c"CUDA_ERROR_NOT_FOUND";
    NotReady = 600, c"CUDA_ERROR_NOT_READY";
    IllegalAddress = 700, c"CUDA_ERROR_ILLEGAL_ADDRESS";
    LaunchOutOfResources = 701, c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES";
    LaunchTimeout = 702, c"CUDA_ERROR_LAUNCH_TIMEOUT";
    Assert = 710, c"CUDA_ERROR_ASSERT";
    MisalignedAddress = 716, c"CUDA_ERROR_MISALIGNED_ADDRESS";
    LaunchFailed = 719, c"CUDA_ERROR_LAUNCH_FAILED";
    NotPermitted = 800, c"CUDA_ERROR_NOT_PERMITTED";
    NotSupported = 801, c"CUDA_ERROR_NOT_SUPPORTED";
    StreamCaptureUnsupported = 900, c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED";
    StreamCaptureInvalidated = 901, c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED";
    StreamCaptureMerge = 902, c"CUDA_ERROR_STREAM_CAPTURE_MERGE";
    StreamCaptureUnmatched = 903, c"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED";
    StreamCaptureUnjoined = 904, c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED";
    StreamCaptureIsolation = 905, c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION";
    StreamCaptureImplicit = 906, c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT";
    CapturedEvent = 907, c"CUDA_ERROR_CAPTURED_EVENT";
    Unknown = 999, c"CUDA_ERROR_UNKNOWN";
}

impl CudaError {
    /// The driver's name of a result code: what `cuGetErrorName` gives. `None` if it is not one of ours.
    pub fn name_of(code: u32) -> Option<&'static CStr> {
        if code == 0 {
            return Some(c"CUDA_SUCCESS");
        }
        Self::ALL.iter().find(|(error, _)| *error as u32 == code).map(|(_, name)| *name)
    }
}

impl fmt::Display for CudaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::name_of(*self as u32).unwrap_or(c"CUDA_ERROR_UNKNOWN");
        formatter.write_str(&name.to_string_lossy())
    }
}

/// Why a call was refused, or work on a stream failed: the code the caller gets and the reason a person gets.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Failure {
    /// The result the C caller sees.
    pub code: CudaError,
    /// What was wrong, where, and what was expected.
    pub reason: String,
}

impl Failure {
    /// A failure with its reason.
    pub fn new(code: CudaError, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// An argument that makes no sense.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::new(CudaError::InvalidValue, reason)
    }

    /// A call or option that this GPU does not have. Loud, so that nobody mistakes silence for support.
    pub fn not_emulated(what: impl fmt::Display) -> Self {
        Self::new(CudaError::NotSupported, format!("{what} is not emulated"))
    }
}

/// What every entry point and every piece of stream work gives.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        let code = match &error {
            MemoryError::OutOfBounds { .. } | MemoryError::UseAfterFree { .. } => CudaError::IllegalAddress,
            MemoryError::NotAnAllocation { .. } => CudaError::InvalidValue,
            MemoryError::Full { .. } => CudaError::OutOfMemory,
            MemoryError::Uninitialised { .. } => CudaError::LaunchFailed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let code = match &*fault.trouble {
            Trouble::Global { error, .. } => Self::from(error.clone()).code,
            Trouble::OutOfBounds { .. } => CudaError::IllegalAddress,
            Trouble::Misaligned { .. } => CudaError::MisalignedAddress,
            Trouble::Assertion(_) => CudaError::Assert,
            _ => CudaError::LaunchFailed,
        };
        Self::new(code, fault.to_string())
    }
}

driver_calls! {
    /// The name of a result.
    fn cuGetErrorName(_driver, code: u32, name: Out<*const c_char>) {
        name.set(CudaError::name_of(code).unwrap_or(c"unrecognized error code").as_ptr())
    }

    /// A description of a result: its name, for the reasons are on stderr.
    fn cuGetErrorString(_driver, code: u32, text: Out<*const c_char>) {
        text.set(CudaError::name_of(code).unwrap_or(c"unrecognized error code").as_ptr())
    }
}
