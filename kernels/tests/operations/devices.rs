//! The devices to test.

use kernels::Cpu;
use kernels::cpu::Isa;

/// The CPU with every instruction set that this machine has, by name.
pub fn cpus(threads: usize) -> Vec<(String, Cpu)> {
    let cpu = |isa| Cpu::new(Some(threads), Some(isa)).expect("an instruction set that the machine has");
    Isa::available().map(|isa| (isa.to_string(), cpu(isa))).collect()
}
