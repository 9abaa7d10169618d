//! What a step costs: the floor that its speed is judged against.

use kernels::Cost;

use super::{Operand, Precision};
use crate::op::{GradientOp, Op, Operation};
use crate::operands as at;

/// Operations and bytes of a step at capacity. Bytes: every operand touched once, tables only where they are looked up.
pub(super) fn cost(
    operation: &Operation,
    reads: &[Operand],
    writes: &[Option<Operand>],
    capacities: &[usize],
    precision: Precision,
) -> Cost {
    let operands = || reads.iter().chain(writes.iter().flatten());
    let elements = |operand: &Operand| operand.shape.elements(capacities);
    let size = precision.activation_size();
    let bytes = |operand: &Operand| elements(operand) * precision.size(operand.kind);
    let touched = |cost: Cost| Cost { bytes: operands().map(bytes).sum::<usize>() as u64, ..cost };
    let per_element =
        |flops: usize| touched(Cost::new(flops * operands().map(elements).max().unwrap_or(0), 0, size));
    let rows = |position: usize| reads[position].shape.rows.count(capacities);
    // Sequences of equal length: the longest that the capacities allow for all of them.
    let length = || rows(0).div_ceil((rows(1) - 1).max(1));
    match operation {
        Operation::Forward(op) => match op {
            Op::Linear(op) => op.cost(rows(0), size),
            Op::Attention(op) => op.forward_cost(rows(0), length(), size),
            Op::LayerNorm(op) => touched(op.cost(rows(0), 0, size)),
            Op::CrossEntropy(op) => touched(op.cost(rows(0), 0, size)),
            Op::Embedding(op) => op.cost(rows(at::embedding::TOKEN_IDS), size),
            Op::Gather(op) => op.cost(rows(at::gather::ROWS), size),
            Op::Dropout(_) | Op::Add(_) | Op::Scale(_) => per_element(2),
            Op::SequenceCrossEntropy(_) => per_element(5),
            Op::SquaredError(_) | Op::SequenceSoftmax(_) | Op::SequenceSum(_) => per_element(4),
            Op::SliceColumns(_) | Op::ConcatenateColumns => per_element(0),
        },
        Operation::Backward(op) => match op {
            GradientOp::Seed => per_element(0),
            GradientOp::LinearInput(op) => op.cost(rows(0), size),
            GradientOp::LinearPreactivation(op) => op.cost(rows(0), size),
            GradientOp::LinearWeight(op) => op.cost(rows(0), size),
            GradientOp::Attention(op) => op.backward_cost(rows(0), length(), size),
            GradientOp::Activation(op) => touched(op.cost(elements(&reads[0]), 0, size)).again(),
            GradientOp::ActivationGradient(op) => touched(op.cost(elements(&reads[0]), 0, size)),
            GradientOp::LayerNorm(op) => touched(op.cost(rows(0), 0, size)),
            GradientOp::CrossEntropy(op) => touched(op.cost(rows(0), 0, size)),
            GradientOp::Embedding(op) => op.cost(rows(0), size),
            GradientOp::Gather(op) => op.cost(rows(0), size),
            GradientOp::Dropout(_) | GradientOp::Scale(_) => per_element(2),
            GradientOp::SequenceCrossEntropy(_) => per_element(5),
            GradientOp::SquaredError(_) | GradientOp::SequenceSoftmax(_) | GradientOp::SequenceSum(_) => {
                per_element(4)
            }
            GradientOp::Columns(_) => per_element(0),
        },
    }
}
