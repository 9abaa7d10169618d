//! What the kernels of a GPU ask of the hardware, counted by the emulated one, and how long an H100 takes at least for a
//! whole step of pre-training: a report that is kept, so that a kernel that becomes slower is seen.
#![cfg(target_os = "linux")]

mod calls;
mod counters;
mod profiled;
mod step;

use emulated_gpu::process::same_under;
use emulated_gpu::setup;
use kernels::Cuda;

/// Runs a test's `program` in a process of its own, for what is counted is all that a process launches.
fn counting(test: &str, program: impl FnOnce(&Cuda)) {
    if setup::real() {
        return; // which does not count
    }
    same_under(test, &[&[("EMULATED_GPU_SEED", "0")]], || {
        program(&Cuda::new(0).expect("the emulated GPU").without_kernel_cache());
        String::new()
    });
}
