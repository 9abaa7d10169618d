//! The GPU of tests.

use engine::Device;

/// A GPU, if tests can have one here.
pub fn gpu() -> Option<Device> {
    #[cfg(target_os = "linux")]
    if emulated_gpu::setup::available() {
        return Some(Device::Cuda(Box::new(kernels::Cuda::new(0).expect("a GPU, emulated or real"))));
    }
    None
}
