//! The CPU device: instruction set, threads.

/// The CPU as a device.
#[derive(Debug)]
pub struct Cpu;
