//! What kernels ask of the hardware, how long an H100 would take for it at least, and assertions about it for tests.
//!
//! The interpreter counts ([`Counters`](crate::ptx::Counters)); the driver keeps the sums of each launch while counting is
//! on, and a test, which is another copy of this crate than the library that the driver is in, asks for them by
//! [`counted`]:
//!
//! ```no_run
//! let launches = emulated_gpu::performance::counted(|| { /* launch kernels through cudarc, and wait */ });
//! for launch in &launches {
//!     launch.assert_no_bank_conflicts();
//!     launch.assert_sectors(1.05);
//!     launch.assert_resources(128);
//! }
//! ```
//!
//! With `EMULATED_GPU_COUNT=1` every program counts, and writes a table to stderr when it ends.

mod roofline;
mod summary;

pub use roofline::{Bound, H100, Rates};
pub use summary::{Launched, Summary};

#[cfg(target_os = "linux")]
mod recorder;
#[cfg(target_os = "linux")]
pub use recorder::{COUNT, counted};
#[cfg(target_os = "linux")]
pub(crate) use recorder::{counting, record};
