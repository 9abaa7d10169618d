//! The devices to test.

use kernels::Cpu;

/// The CPU with every instruction set that this machine has, by name.
pub fn cpus(_threads: usize) -> Vec<(String, Cpu)> {
    vec![]
}
