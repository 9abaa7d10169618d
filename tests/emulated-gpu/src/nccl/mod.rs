//! NCCL: collectives between the devices of this process and of others, as work of streams.
//!
//! Ranks find each other by the name in their unique id ([`bootstrap`]) and are connected by sockets, those of one process
//! too. A stream that gets to a collective sends its rank's part to all others and goes on once it has theirs
//! ([`communicator`]); each rank then works out its own result, adding in the order of ranks ([`reduction`]), so that
//! all get the same bits every time.

pub mod bootstrap;
pub mod calls;
pub mod collective;
pub mod communicator;
pub mod group;
pub mod message;
pub mod reduction;

use std::env;
use std::ffi::{CStr, CString};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use crate::driver::border;
use crate::driver::error::{CudaError, Failure, Result};
use crate::driver::handles::Handles;
use communicator::Communicator;

/// How many seconds a rank waits for others before it is an error; 120 by default. NCCL itself waits for ever.
pub const TIMEOUT: &str = "EMULATED_GPU_NCCL_TIMEOUT";
/// The version of NCCL: 2.30.7.
const VERSION: i32 = 23007;

/// What NCCL holds for its callers.
pub struct Objects {
    /// The communicators of this process, one for each of its ranks.
    pub communicators: Handles<Communicator>,
}

impl Default for Objects {
    fn default() -> Self {
        Self { communicators: Handles::new("communicator", 0xC03) }
    }
}

/// How long a rank waits for others; a mistaken setting stops the process.
fn timeout() -> Duration {
    static TIME: LazyLock<Duration> = LazyLock::new(|| {
        let setting = env::var(TIMEOUT).unwrap_or_default();
        let text = if setting.is_empty() { "120" } else { &setting };
        let duration = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        duration.filter(|duration| !duration.is_zero()).unwrap_or_else(|| {
            eprintln!("emulated GPU: {TIMEOUT}={setting}: expected a number of seconds");
            std::process::abort()
        })
    });
    *TIME
}

/// A `ncclResult_t`.
type Status = u32;
const SUCCESS: Status = 0;
const UNHANDLED_CUDA_ERROR: Status = 1;
const INVALID_ARGUMENT: Status = 4;
const INVALID_USAGE: Status = 5;
const REMOTE_ERROR: Status = 6;

/// What NCCL answers to a failure.
fn status(failure: &Failure) -> Status {
    match failure.code {
        CudaError::InvalidValue | CudaError::InvalidHandle | CudaError::IllegalAddress => INVALID_ARGUMENT,
        CudaError::NotPermitted | CudaError::NotSupported => INVALID_USAGE,
        CudaError::LaunchTimeout => REMOTE_ERROR,
        _ => UNHANDLED_CUDA_ERROR,
    }
}

/// What `ncclGetErrorString` says.
fn text_of(status: Status) -> &'static CStr {
    match status {
        SUCCESS => c"no error",
        UNHANDLED_CUDA_ERROR => c"a CUDA call failed (reported on stderr)",
        2 => c"a call of the system failed",
        3 => c"internal error",
        INVALID_ARGUMENT => c"invalid argument (reported on stderr)",
        INVALID_USAGE => c"invalid usage (reported on stderr)",
        REMOTE_ERROR => c"another rank is gone or did not come (reported on stderr)",
        7 => c"in progress",
        8 => c"time-out",
        _ => c"unknown result code",
    }
}

/// The last error, for good: callers hold a pointer to its text.
static LAST_ERROR: Mutex<&CStr> = Mutex::new(c"");

fn last_error() -> &'static CStr {
    *LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember(failure: &Failure) {
    let text = CString::new(failure.to_string().replace('\0', " ")).unwrap_or_default();
    *LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner) = Box::leak(text.into_boxed_c_str());
}

/// Runs the body of an entry point, which takes the driver's lock where it needs it, and gives the `ncclResult_t`.
pub fn call(name: &'static str, body: impl FnOnce(&'static str) -> Result) -> Status {
    let Err(failure) = body(name) else { return SUCCESS };
    border::report(name, &failure);
    remember(&failure);
    status(&failure)
}

/// Declares NCCL's entry points, as `driver_calls!` does for the driver's. The body has the name of the call for what it
/// does under the driver's lock.
macro_rules! nccl_calls {
    ($($(#[$meta:meta])* fn $name:ident($call:ident $(, $argument:ident: $type:ty)* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the names are NCCL's")]
        #[allow(clippy::too_many_arguments, reason = "the signatures are NCCL's")]
        #[allow(improper_ctypes_definitions, reason = "numbers and pointers behind `repr(transparent)`")]
        pub extern "C" fn $name($($argument: $type),*) -> u32 {
            $crate::nccl::call(stringify!($name), |$call: &'static str| $body)
        }
    )*};
}
pub(crate) use nccl_calls;
