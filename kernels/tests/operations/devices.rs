//! The devices to test.

use kernels::Cpu;
use kernels::cpu::Isa;

/// The CPU with every instruction set that this machine has.
pub fn cpus(threads: usize) -> impl Iterator<Item = Cpu> {
    Isa::available().map(move |isa| Cpu::new(Some(threads), Some(isa)).expect("the machine has it"))
}
