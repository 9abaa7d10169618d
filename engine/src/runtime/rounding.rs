//! The reference device's simulation of bf16: what is stored is rounded once.

use kernels::precision::Bf16;
use kernels::{Backend, Real};

use crate::execute::{Buffer, StepMemory};
use crate::graph::Kind;
use crate::plan::Location;

/// What the reference device rounds to when it simulates bf16.
pub(super) type Rounded = <Bf16 as kernels::Precision>::Activation;

/// Rounds the activations that a step has written to bf16.
pub(super) fn round_written<B: Backend, P: kernels::Precision>(
    backend: &B,
    step: &crate::plan::Step,
    memory: &mut StepMemory<'_, B>,
) {
    for operand in step.writes.iter().flatten().filter(|operand| operand.kind == Kind::Activation) {
        let Location::Arena(offset) = operand.location else { unreachable!("no step writes a parameter") };
        let size = operand.shape.elements(memory.lengths) * size_of::<P::Activation>();
        round::<B, P>(backend, memory.arena, offset..offset + size);
    }
}

/// Rounds numbers that are stored as activations are to bf16.
pub(super) fn round<B: Backend, P: kernels::Precision>(
    backend: &B,
    buffer: &mut Buffer<B>,
    range: std::ops::Range<usize>,
) {
    let mut numbers = vec![P::Activation::from_f64(0.0); range.len() / size_of::<P::Activation>()];
    backend.download(buffer, range.start, bytemuck::cast_slice_mut(&mut numbers));
    for number in &mut numbers {
        *number = Real::from_f64(Rounded::from_f64(number.to_f64()).to_f64());
    }
    backend.upload(bytemuck::cast_slice(&numbers), buffer, range.start);
}
