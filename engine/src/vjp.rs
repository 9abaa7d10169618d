//! The table of derivatives: what each operation appends to the graph when it is differentiated.
//!
//! `gradients of the inputs = vjp(operation, gradient of its first output)`. Only the first output of an operation is
//! differentiable; the others are statistics that backward reads.

use kernels::activation::Activation;

use crate::differentiate::Differentiation;
use crate::graph::{Node, ValueId};
use crate::op::{GradientOp, Op, concatenation, reversed};

/// Appends the gradients of `node`'s inputs, given the gradient `dy` of its first output.
pub(crate) fn vjp(d: &mut Differentiation<'_>, node: &Node, op: &Op, dy: ValueId) {
    let (inputs, outputs) = (&node.inputs, &node.outputs);
    match op {
        Op::Embedding(op) => {
            let reads = [inputs[3], inputs[4], inputs[5], inputs[6], dy];
            d.parameters(GradientOp::Embedding(*op), &reads, &inputs[..3]);
        }
        Op::Linear(op) => {
            let du = match op.activation {
                Activation::Identity => dy,
                activation => {
                    let saved = if activation.keeps_preactivation() { outputs[1] } else { outputs[0] };
                    let saved = d.saved(saved);
                    d.fresh(GradientOp::ActivationGradient(activation), &[saved, dy], outputs[0])
                }
            };
            let x = d.saved(inputs[0]);
            d.parameters(GradientOp::LinearWeight(*op), &[x, du], &inputs[1..]);
            d.contribute(GradientOp::LinearInput(*op), &[du, inputs[1]], inputs[0]);
        }
        Op::LayerNorm(op) => {
            let residual = inputs.get(3).copied();
            let sum = d.saved(outputs.get(3).copied().unwrap_or(inputs[0]));
            let reads = [sum, d.saved(outputs[1]), d.saved(outputs[2]), inputs[1], dy];
            d.layer_norm(*op, &reads, inputs[0], residual, &inputs[1..3]);
        }
        Op::Attention(op) => {
            let reads = [d.saved(inputs[0]), inputs[1], d.saved(outputs[0]), d.saved(outputs[1]), dy];
            let d_qkv = d.fresh(GradientOp::Attention(*op), &reads, inputs[0]);
            d.flow(d_qkv, inputs[0]);
        }
        Op::Dropout(op) => d.contribute(GradientOp::Dropout(*op), &[dy], inputs[0]),
        Op::Gather(op) => d.contribute(GradientOp::Gather(*op), &[inputs[1], dy], inputs[0]),
        Op::CrossEntropy(op) => {
            d.constants(node, &inputs[2..]);
            let reads = [d.saved(inputs[0]), inputs[1], inputs[2], d.saved(outputs[2]), dy];
            let d_logits = d.fresh(GradientOp::CrossEntropy(*op), &reads, inputs[0]);
            d.flow(d_logits, inputs[0]);
        }
        Op::SquaredError(op) => {
            d.constants(node, &inputs[1..]);
            let reads = [d.saved(inputs[0]), inputs[1], inputs[2], dy];
            d.contribute(GradientOp::SquaredError(*op), &reads, inputs[0]);
        }
        Op::Add(op) => {
            d.scaled_flow(op.alpha, dy, inputs[0]);
            d.scaled_flow(op.beta, dy, inputs[1]);
        }
        Op::Scale(op) => d.scaled_flow(op.factor, dy, inputs[0]),
        Op::SliceColumns(op) => d.contribute(GradientOp::Columns(reversed(op)), &[dy], inputs[0]),
        Op::ConcatenateColumns => {
            let widths: Vec<_> = inputs.iter().map(|&input| d.shape(input).columns).collect();
            for (index, &input) in inputs.iter().enumerate() {
                d.contribute(GradientOp::Columns(reversed(&concatenation(&widths, index))), &[dy], input);
            }
        }
        Op::SequenceSoftmax(op) => {
            let reads = [d.saved(outputs[0]), inputs[1], dy];
            d.contribute(GradientOp::SequenceSoftmax(*op), &reads, inputs[0]);
        }
        Op::SequenceSum(op) => {
            let reads = [d.saved(inputs[0]), d.saved(inputs[1]), inputs[2], dy];
            d.contribute_two(GradientOp::SequenceSum(*op), &reads, [inputs[0], inputs[1]]);
        }
    }
}
