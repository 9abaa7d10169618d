//! The table of derivatives: what each operation appends to the graph when it is differentiated.
//!
//! `gradients of the inputs = vjp(operation, gradient of its first output)`. Only the first output of an operation is
//! differentiable; the others are statistics that backward reads.

use kernels::activation::Activation;

use crate::backward::Backward;
use crate::graph::{Node, ValueId};
use crate::op::{GradientOp, Op, concatenation, reversed};
use crate::operands as at;

/// Appends the gradients of `node`'s inputs, given the gradient `dy` of its first output.
pub(crate) fn vjp(d: &mut Backward<'_>, node: &Node, op: &Op, dy: ValueId) {
    let (inputs, outputs) = (&node.inputs, &node.outputs);
    match op {
        Op::Embedding(op) => {
            use at::embedding::{POSITION_IDS, SEGMENT_IDS, SEGMENTS, TOKEN_IDS, TOKEN_ORDER};
            let reads = [TOKEN_IDS, POSITION_IDS, SEGMENT_IDS, TOKEN_ORDER].map(|list| inputs[list]);
            let reads = [&reads[..], &[dy]].concat();
            d.parameters(GradientOp::Embedding(*op), &reads, &inputs[..=SEGMENTS]);
        }
        Op::Linear(op) => {
            use at::linear::{PREACTIVATION, WEIGHT, X, Y};
            let du = match op.activation {
                Activation::Identity => dy,
                activation => {
                    let saved = if activation.keeps_preactivation() { PREACTIVATION } else { Y };
                    let saved = d.saved(outputs[saved]);
                    d.fresh(GradientOp::ActivationGradient(activation), &[saved, dy], outputs[Y])
                }
            };
            let x = d.saved(inputs[X]);
            d.parameters(GradientOp::LinearWeight(*op), &[x, du], &inputs[WEIGHT..]);
            d.contribute(GradientOp::LinearInput(*op), &[du, inputs[WEIGHT]], inputs[X]);
        }
        Op::LayerNorm(op) => {
            use at::layer_norm::{BETA, GAMMA, LOGICAL_ROWS, MEAN, RESIDUAL, RSTD, SUM, X};
            let sum = d.saved(outputs.get(SUM).copied().unwrap_or(inputs[X]));
            let mut reads = vec![sum, d.saved(outputs[MEAN]), d.saved(outputs[RSTD]), inputs[GAMMA], dy];
            reads.extend(inputs.get(LOGICAL_ROWS));
            d.layer_norm(*op, &reads, inputs[X], inputs.get(RESIDUAL).copied(), &inputs[GAMMA..=BETA]);
        }
        Op::Attention(op) => {
            use at::attention::{CONTEXT, LOG_SUM_EXP, OFFSETS, QKV};
            let (context, log_sum_exp) = (d.saved(outputs[CONTEXT]), d.saved(outputs[LOG_SUM_EXP]));
            let reads = [d.saved(inputs[QKV]), inputs[OFFSETS], context, log_sum_exp, dy];
            let d_qkv = d.fresh(GradientOp::Attention(*op), &reads, inputs[QKV]);
            d.flow(d_qkv, inputs[QKV]);
        }
        Op::Dropout(op) => {
            use at::dropout::{LOGICAL_ROWS, X};
            let reads: Vec<_> = [dy].into_iter().chain(inputs.get(LOGICAL_ROWS).copied()).collect();
            d.contribute(GradientOp::Dropout(*op), &reads, inputs[X]);
        }
        Op::Gather(op) => {
            use at::gather::{ROWS, X};
            d.contribute(GradientOp::Gather(*op), &[inputs[ROWS], dy], inputs[X]);
        }
        Op::CrossEntropy(op) => {
            use at::cross_entropy::{LABELS, LOG_SUM_EXP, LOGITS, WEIGHTS};
            d.constants(node, &inputs[WEIGHTS..]);
            let log_sum_exp = d.saved(outputs[LOG_SUM_EXP]);
            let reads = [d.saved(inputs[LOGITS]), inputs[LABELS], inputs[WEIGHTS], log_sum_exp, dy];
            let d_logits = d.fresh(GradientOp::CrossEntropy(*op), &reads, inputs[LOGITS]);
            d.flow(d_logits, inputs[LOGITS]);
        }
        Op::SequenceCrossEntropy(op) => {
            use at::sequence_cross_entropy::{LABELS, LOG_SUM_EXP, LOGITS, OFFSETS, WEIGHTS};
            d.constants(node, &inputs[WEIGHTS..]);
            let (logits, log_sum_exp) = (d.saved(inputs[LOGITS]), d.saved(outputs[LOG_SUM_EXP]));
            let reads = [logits, inputs[OFFSETS], inputs[LABELS], inputs[WEIGHTS], log_sum_exp, dy];
            let d_logits = d.fresh(GradientOp::SequenceCrossEntropy(*op), &reads, inputs[LOGITS]);
            d.flow(d_logits, inputs[LOGITS]);
        }
        Op::SquaredError(op) => {
            use at::squared_error::{TARGETS, WEIGHTS, X};
            d.constants(node, &inputs[TARGETS..]);
            let reads = [d.saved(inputs[X]), inputs[TARGETS], inputs[WEIGHTS], dy];
            d.contribute(GradientOp::SquaredError(*op), &reads, inputs[X]);
        }
        Op::Add(op) => {
            d.scaled_flow(op.alpha, dy, inputs[at::add::A]);
            d.scaled_flow(op.beta, dy, inputs[at::add::B]);
        }
        Op::Scale(op) => d.scaled_flow(op.factor, dy, inputs[0]),
        Op::SliceColumns(op) => d.contribute(GradientOp::Columns(reversed(op)), &[dy], inputs[0]),
        Op::ConcatenateColumns => {
            let widths: Vec<_> = inputs.iter().map(|&input| d.shape(input).columns).collect();
            for (index, &input) in inputs.iter().enumerate() {
                d.contribute(
                    GradientOp::Columns(reversed(&concatenation(widths.iter().copied(), index))),
                    &[dy],
                    input,
                );
            }
        }
        Op::SequenceSoftmax(op) => {
            use at::sequence_softmax::{OFFSETS, X, Y};
            let reads = [d.saved(outputs[Y]), inputs[OFFSETS], dy];
            d.contribute(GradientOp::SequenceSoftmax(*op), &reads, inputs[X]);
        }
        Op::SequenceSum(op) => {
            use at::sequence_sum::{OFFSETS, WEIGHTS, X};
            let reads = [d.saved(inputs[WEIGHTS]), d.saved(inputs[X]), inputs[OFFSETS], dy];
            d.contribute_two(GradientOp::SequenceSum(*op), &reads, [inputs[WEIGHTS], inputs[X]]);
        }
    }
}
