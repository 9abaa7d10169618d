//! The reference device's simulation of bf16: what is stored is rounded once.

use kernels::precision::Bf16;
use kernels::{Backend, Cost, Real};

use crate::graph::Kind;
use crate::op::{GradientOp, Operation};
use crate::operands::linear_preactivation as at;
use crate::plan::{Location, Step};
use crate::step_memory::{Buffer, StepMemory};

/// What the reference device rounds to when it simulates bf16.
pub(super) type Rounded = <Bf16 as kernels::Precision>::Activation;

/// A step as those between which something is rounded: a CPU's kernels round what two operations in one hand on.
pub(super) fn between_roundings(step: Step) -> Vec<Step> {
    let Operation::Backward(GradientOp::LinearPreactivation(op)) = step.operation else { return vec![step] };
    let (product, derivative) =
        (GradientOp::LinearInput(op.linear), GradientOp::ActivationGradient(op.activation));
    let gradient = step.writes[at::DU].expect("a kernel's result has a place");
    let product = Step {
        operation: Operation::Backward(product),
        reads: vec![step.reads[at::DY], step.reads[at::WEIGHT]],
        ..step.clone()
    };
    let derivative = Step {
        operation: Operation::Backward(derivative),
        reads: vec![step.reads[at::SAVED], gradient],
        cost: Cost::default(), // all of it is the product's
        ..step
    };
    vec![product, derivative]
}

/// Rounds the activations that a step has written to bf16.
pub(super) fn round_written<B: Backend, P: kernels::Precision>(
    backend: &B,
    step: &Step,
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
