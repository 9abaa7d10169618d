//! What a step costs: the floor that its speed is judged against.

use kernels::Cost;
use kernels::attention::Attention;

use super::{Operand, Precision};
use crate::op::{GradientOp, Op, Operation};

/// Operations and bytes of a step at capacity. Bytes: every operand touched once.
pub(super) fn cost(
    operation: &Operation,
    reads: &[Operand],
    writes: &[Option<Operand>],
    capacities: &[usize],
    precision: Precision,
) -> Cost {
    let elements = |operand: &Operand| operand.shape.elements(capacities);
    let touched: usize = reads.iter().chain(writes.iter().flatten()).map(elements).sum();
    let size = precision.size();
    let per_element = |flops: usize| {
        let widest = reads.iter().chain(writes.iter().flatten()).map(elements).max().unwrap_or(0);
        Cost::new(flops * widest, touched, size)
    };
    let rows = |operand: &Operand| operand.shape.rows.count(capacities);
    // Sequences of equal length: the longest that the capacities allow for all of them.
    let length = |offsets: &Operand, tokens: usize| tokens.div_ceil((rows(offsets) - 1).max(1));
    let attention = |op: &Attention, backward: bool| {
        let tokens = rows(&reads[0]);
        let length = length(&reads[1], tokens);
        if backward { op.backward_cost(tokens, length, size) } else { op.forward_cost(tokens, length, size) }
    };
    match operation {
        Operation::Forward(op) => match op {
            Op::Linear(op) => op.cost(rows(&reads[0]), size),
            Op::Attention(op) => attention(op, false),
            Op::LayerNorm(_) => per_element(8),
            Op::CrossEntropy(_) => per_element(5),
            Op::Embedding(op) => op.cost(rows(&reads[3]), size),
            Op::Gather(op) => op.cost(rows(&reads[1]), size),
            Op::Dropout(_) | Op::Add(_) | Op::Scale(_) => per_element(2),
            Op::SquaredError(_) | Op::SequenceSoftmax(_) | Op::SequenceSum(_) => per_element(4),
            Op::SliceColumns(_) | Op::ConcatenateColumns => per_element(0),
        },
        Operation::Backward(op) => match op {
            GradientOp::Seed => per_element(0),
            GradientOp::LinearInput(op) => op.cost(rows(&reads[0]), size),
            GradientOp::LinearWeight(op) => op.cost(rows(&reads[0]), size),
            GradientOp::Attention(op) => attention(op, true),
            GradientOp::Activation(_) | GradientOp::ActivationGradient(_) => per_element(10),
            GradientOp::LayerNorm(_) => per_element(12),
            GradientOp::CrossEntropy(_) => per_element(5),
            GradientOp::Embedding(op) => op.cost(rows(&reads[0]), size),
            GradientOp::Gather(op) => op.cost(rows(&reads[0]), size),
            GradientOp::Dropout(_) | GradientOp::Scale(_) => per_element(2),
            GradientOp::SquaredError(_) | GradientOp::SequenceSoftmax(_) | GradientOp::SequenceSum(_) => {
                per_element(4)
            }
            GradientOp::Columns(_) => per_element(0),
        },
    }
}
