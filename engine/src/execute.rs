//! The executor: runs a plan's steps on any device, in any precision.

use kernels::{
    Kernels, Precision, Store, activation, add, attention, columns, cross_entropy, dropout, embedding,
    gather, layer_norm, linear, scale, sequence_cross_entropy, sequence_softmax, sequence_sum, squared_error,
};

use crate::graph::Kind;
use crate::op::{GradientOp, Op, Operation, concatenation};
use crate::operands as at;
use crate::operands::unary::{X, Y};
use crate::plan::Step;
use crate::step_memory::{Operands, StepMemory};

/// Runs one step.
pub(crate) fn execute<P: Precision, B: Kernels<P>>(backend: &B, step: &Step, memory: &mut StepMemory<'_, B>) {
    match &step.operation {
        Operation::Forward(op) => forward::<P, B>(backend, op, step, memory),
        Operation::Backward(op) => backward::<P, B>(backend, op, step, memory),
    }
}

fn forward<P: Precision, B: Kernels<P>>(backend: &B, op: &Op, step: &Step, memory: &mut StepMemory<'_, B>) {
    let mut o = memory.operands::<P>(step);
    match op {
        Op::Embedding(op) => {
            use at::embedding::{POSITION_IDS, POSITIONS, SEGMENT_IDS, SEGMENTS, TOKEN_IDS, WORDS, Y};
            let operands = embedding::Forward {
                indices: o.indices([TOKEN_IDS, POSITION_IDS, SEGMENT_IDS]),
                words: o.master(WORDS),
                positions: o.master(POSITIONS),
                segments: o.master(SEGMENTS),
                y: o.activation_mut(Y),
            };
            backend.embedding_forward(op, operands);
        }
        Op::Linear(op) => {
            use at::linear::{BIAS, PREACTIVATION, WEIGHT, X, Y};
            let operands = linear::Forward {
                x: o.activation(X),
                weight: o.activation(WEIGHT),
                bias: o.has(BIAS).then(|| o.master(BIAS)),
                preactivation: o.write(PREACTIVATION),
                y: o.activation_mut(Y),
            };
            backend.linear_forward(op, operands);
        }
        Op::LayerNorm(op) => {
            use at::layer_norm::{BETA, GAMMA, LOGICAL_ROWS, MEAN, RESIDUAL, RSTD, SUM, X, Y};
            let operands = layer_norm::Forward {
                x: o.activation(X),
                residual: o.has(RESIDUAL).then(|| o.activation(RESIDUAL)),
                gamma: o.master(GAMMA),
                beta: o.master(BETA),
                randomness: o.randomness(X),
                logical_rows: o.index_if(LOGICAL_ROWS),
                sum: o.write(SUM),
                mean: o.master_mut(MEAN),
                rstd: o.master_mut(RSTD),
                y: o.activation_mut(Y),
            };
            backend.layer_norm_forward(op, operands);
        }
        Op::Attention(op) => {
            use at::attention::{CONTEXT, LOG_SUM_EXP, OFFSETS, QKV};
            let operands = attention::Forward {
                qkv: o.activation(QKV),
                offsets: o.index(OFFSETS),
                randomness: o.randomness(QKV),
                context: o.activation_mut(CONTEXT),
                log_sum_exp: o.master_mut(LOG_SUM_EXP),
            };
            backend.attention_forward(op, operands);
        }
        Op::Dropout(op) => {
            use at::dropout::{LOGICAL_ROWS, X, Y};
            let operands = dropout::Forward {
                width: step.reads[X].shape.columns,
                randomness: o.randomness(X),
                logical_rows: o.index_if(LOGICAL_ROWS),
                x: o.activation(X),
                y: o.activation_mut(Y),
            };
            backend.dropout_forward(op, operands);
        }
        Op::Gather(op) => {
            use at::gather::{ROWS, X, Y};
            let operands =
                gather::Forward { rows: o.index(ROWS), x: o.activation(X), y: o.activation_mut(Y) };
            backend.gather_forward(op, operands);
        }
        Op::CrossEntropy(op) => {
            use at::cross_entropy::{LABELS, LOG_SUM_EXP, LOGITS, LOSS, PREDICTIONS, ROW_LOSSES, WEIGHTS};
            let operands = cross_entropy::Forward {
                logits: o.activation(LOGITS),
                labels: o.index(LABELS),
                weights: o.master(WEIGHTS),
                loss: o.master_mut(LOSS),
                row_loss: o.master_mut(ROW_LOSSES),
                log_sum_exp: o.master_mut(LOG_SUM_EXP),
                prediction: o.index_mut(PREDICTIONS),
            };
            backend.cross_entropy_forward(op, operands);
        }
        Op::SequenceCrossEntropy(op) => {
            use at::sequence_cross_entropy::{
                LABELS, LOG_SUM_EXP, LOGITS, LOSS, OFFSETS, PREDICTIONS, SEQUENCE_LOSSES, WEIGHTS,
            };
            let operands = sequence_cross_entropy::Forward {
                logits: o.activation(LOGITS),
                offsets: o.index(OFFSETS),
                labels: o.index(LABELS),
                weights: o.master(WEIGHTS),
                loss: o.master_mut(LOSS),
                sequence_loss: o.master_mut(SEQUENCE_LOSSES),
                log_sum_exp: o.master_mut(LOG_SUM_EXP),
                prediction: o.index_mut(PREDICTIONS),
            };
            backend.sequence_cross_entropy_forward(op, operands);
        }
        Op::SquaredError(op) => {
            use at::squared_error::{LOSS, TARGETS, WEIGHTS, X};
            let operands = squared_error::Forward {
                x: o.activation(X),
                targets: o.master(TARGETS),
                weights: o.master(WEIGHTS),
                loss: o.master_mut(LOSS),
            };
            backend.squared_error_forward(op, operands);
        }
        Op::Add(op) => {
            use at::add::{A, B, Y};
            match step.reads[A].kind {
                Kind::Statistic => {
                    let operands = add::Forward { a: o.master(A), b: o.master(B), y: o.master_mut(Y) };
                    backend.add_masters(op, operands);
                }
                Kind::Activation | Kind::Index => {
                    let operands =
                        add::Forward { a: o.activation(A), b: o.activation(B), y: o.activation_mut(Y) };
                    backend.add_forward(op, operands);
                }
            }
        }
        Op::Scale(op) => scaled::<P, B>(backend, op, Store::Assign, &mut o),
        Op::SliceColumns(op) => {
            let (x, y) = (o.activation(X), o.activation_mut(Y));
            backend.columns_copy(op, columns::Copy { x, y, place: columns::Place::Keep });
        }
        Op::ConcatenateColumns => {
            let width = |index: usize| step.reads[index].shape.columns;
            for index in 0..step.reads.len() {
                let mut o = memory.operands::<P>(step);
                let (x, y) = (o.activation(index), o.activation_mut(Y));
                let columns = concatenation((0..step.reads.len()).map(width), index);
                backend.columns_copy(&columns, columns::Copy { x, y, place: columns::Place::Keep });
            }
        }
        Op::SequenceSoftmax(op) => {
            use at::sequence_softmax::{OFFSETS, X, Y};
            let operands = sequence_softmax::Forward {
                x: o.activation(X),
                offsets: o.index(OFFSETS),
                y: o.activation_mut(Y),
            };
            backend.sequence_softmax_forward(op, operands);
        }
        Op::SequenceSum(op) => {
            use at::sequence_sum::{OFFSETS, WEIGHTS, X, Y};
            let operands = sequence_sum::Forward {
                weights: o.activation(WEIGHTS),
                x: o.activation(X),
                offsets: o.index(OFFSETS),
                y: o.activation_mut(Y),
            };
            backend.sequence_sum_forward(op, operands);
        }
    }
}

/// `y (+)= factor · x`, of activations or of losses.
fn scaled<P: Precision, B: Kernels<P>>(
    backend: &B,
    op: &scale::Scale,
    store: Store,
    o: &mut Operands<'_, B, P>,
) {
    match o.step.reads[X].kind {
        Kind::Statistic => {
            backend.scale_masters(op, scale::Forward { x: o.master(X), y: o.master_mut(Y), store });
        }
        Kind::Activation | Kind::Index => {
            backend.scale_forward(op, scale::Forward { x: o.activation(X), y: o.activation_mut(Y), store });
        }
    }
}

fn backward<P: Precision, B: Kernels<P>>(
    backend: &B,
    op: &GradientOp,
    step: &Step,
    memory: &mut StepMemory<'_, B>,
) {
    let mut o = memory.operands::<P>(step);
    match op {
        GradientOp::Seed => unreachable!("the planner puts it among the inputs"),
        GradientOp::Embedding(op) => {
            use at::embedding_gradient::{
                DY, POSITION_IDS, POSITIONS, SEGMENT_IDS, SEGMENTS, TOKEN_IDS, TOKEN_ORDER, WORDS,
            };
            let operands = embedding::Backward {
                indices: o.indices([TOKEN_IDS, POSITION_IDS, SEGMENT_IDS]),
                token_order: o.index(TOKEN_ORDER),
                dy: o.activation(DY),
                d_words: o.gradient(WORDS),
                d_positions: o.gradient(POSITIONS),
                d_segments: o.gradient(SEGMENTS),
            };
            backend.embedding_backward(op, operands);
        }
        GradientOp::Activation(op) => {
            backend
                .activation_forward(op, activation::Forward { x: o.activation(X), y: o.activation_mut(Y) });
        }
        GradientOp::ActivationGradient(op) => {
            use at::activation_gradient::{DU, DY, SAVED};
            let operands = activation::Backward {
                saved: o.activation(SAVED),
                dy: o.activation_unless_overwritten(DY),
                du: o.activation_mut(DU),
            };
            backend.activation_backward(op, operands);
        }
        GradientOp::LinearInput(op) => {
            use at::linear_input::{DU, DX, WEIGHT};
            let operands = linear::InputGradient {
                du: o.activation(DU),
                weight: o.activation(WEIGHT),
                dx: o.activation_mut(DX),
                store: o.store(DX),
            };
            backend.linear_input_gradient(op, operands);
        }
        GradientOp::LinearPreactivation(op) => {
            use at::linear_preactivation::{DU, DY, SAVED, WEIGHT};
            let operands = linear::PreactivationGradient {
                dy: o.activation(DY),
                weight: o.activation(WEIGHT),
                saved: o.activation(SAVED),
                du: o.activation_mut(DU),
            };
            backend.linear_preactivation_gradient(op, operands);
        }
        GradientOp::LinearWeight(op) => {
            use at::linear_weight::{D_BIAS, D_WEIGHT, DU, X};
            let operands = linear::WeightGradient {
                x: o.activation(X),
                du: o.activation(DU),
                d_weight: o.gradient(D_WEIGHT),
                d_bias: o.gradient_if(D_BIAS),
            };
            backend.linear_weight_gradient(op, operands);
        }
        GradientOp::LayerNorm(op) => {
            use at::layer_norm_gradient::{D_SUM, D_X, DY, GAMMA, LOGICAL_ROWS, MEAN, RSTD, SUM};
            use at::layer_norm_parameters::{D_BETA, D_GAMMA};
            let operands = layer_norm::Backward {
                sum: o.activation(SUM),
                mean: o.master(MEAN),
                rstd: o.master(RSTD),
                gamma: o.master(GAMMA),
                dy: o.activation(DY),
                randomness: o.randomness(SUM),
                logical_rows: o.index_if(LOGICAL_ROWS),
                d_sum: o.activation_mut(D_SUM),
                store: o.store(D_SUM),
                d_x: o.write(D_X),
                d_gamma: o.gradient(D_GAMMA),
                d_beta: o.gradient(D_BETA),
            };
            backend.layer_norm_backward(op, operands);
        }
        GradientOp::Attention(op) => {
            use at::attention_gradient::{CONTEXT, D_CONTEXT, D_QKV, LOG_SUM_EXP, OFFSETS, QKV};
            let operands = attention::Backward {
                qkv: o.activation(QKV),
                offsets: o.index(OFFSETS),
                randomness: o.randomness(QKV),
                context: o.activation(CONTEXT),
                log_sum_exp: o.master(LOG_SUM_EXP),
                d_context: o.activation(D_CONTEXT),
                d_qkv: o.activation_mut(D_QKV),
            };
            backend.attention_backward(op, operands);
        }
        GradientOp::Dropout(op) => {
            use at::dropout_gradient::{DX, DY, LOGICAL_ROWS};
            let operands = dropout::Backward {
                width: step.reads[DY].shape.columns,
                randomness: o.randomness(DY),
                logical_rows: o.index_if(LOGICAL_ROWS),
                dy: o.activation(DY),
                dx: o.activation_mut(DX),
                store: o.store(DX),
            };
            backend.dropout_backward(op, operands);
        }
        GradientOp::Gather(op) => {
            use at::gather_gradient::{DX, DY, ROWS};
            let operands = gather::Backward {
                rows: o.index(ROWS),
                dy: o.activation(DY),
                dx: o.activation_mut(DX),
                store: o.store(DX),
            };
            backend.gather_backward(op, operands);
        }
        GradientOp::CrossEntropy(op) => {
            use at::cross_entropy_gradient::{D_LOGITS, D_LOSS, LABELS, LOG_SUM_EXP, LOGITS, WEIGHTS};
            let operands = cross_entropy::Backward {
                logits: o.activation_unless_overwritten(LOGITS),
                labels: o.index(LABELS),
                weights: o.master(WEIGHTS),
                log_sum_exp: o.master(LOG_SUM_EXP),
                d_loss: o.master(D_LOSS),
                d_logits: o.activation_mut(D_LOGITS),
            };
            backend.cross_entropy_backward(op, operands);
        }
        GradientOp::SequenceCrossEntropy(op) => {
            use at::sequence_cross_entropy_gradient::{
                D_LOGITS, D_LOSS, LABELS, LOG_SUM_EXP, LOGITS, OFFSETS, WEIGHTS,
            };
            let operands = sequence_cross_entropy::Backward {
                logits: o.activation(LOGITS),
                offsets: o.index(OFFSETS),
                labels: o.index(LABELS),
                weights: o.master(WEIGHTS),
                log_sum_exp: o.master(LOG_SUM_EXP),
                d_loss: o.master(D_LOSS),
                d_logits: o.activation_mut(D_LOGITS),
            };
            backend.sequence_cross_entropy_backward(op, operands);
        }
        GradientOp::SquaredError(op) => {
            use at::squared_error_gradient::{D_LOSS, DX, TARGETS, WEIGHTS, X};
            let operands = squared_error::Backward {
                x: o.activation(X),
                targets: o.master(TARGETS),
                weights: o.master(WEIGHTS),
                d_loss: o.master(D_LOSS),
                dx: o.activation_mut(DX),
                store: o.store(DX),
            };
            backend.squared_error_backward(op, operands);
        }
        GradientOp::Scale(op) => scaled::<P, B>(backend, op, o.store(Y), &mut o),
        GradientOp::Columns(op) => {
            let place = match o.store(Y) {
                Store::Assign => columns::Place::Clear,
                Store::Add => columns::Place::Add,
            };
            backend.columns_copy(op, columns::Copy { x: o.activation(X), y: o.activation_mut(Y), place });
        }
        GradientOp::SequenceSoftmax(op) => {
            use at::sequence_softmax_gradient::{DX, DY, OFFSETS, Y};
            let operands = sequence_softmax::Backward {
                y: o.activation(Y),
                offsets: o.index(OFFSETS),
                dy: o.activation(DY),
                dx: o.activation_mut(DX),
                store: o.store(DX),
            };
            backend.sequence_softmax_backward(op, operands);
        }
        GradientOp::SequenceSum(op) => {
            use at::sequence_sum_gradient::{D_WEIGHTS, DX, DY, OFFSETS, WEIGHTS, X};
            let operands = sequence_sum::Backward {
                weights: o.activation(WEIGHTS),
                x: o.activation(X),
                offsets: o.index(OFFSETS),
                dy: o.activation(DY),
                d_weights: o.activation_mut(D_WEIGHTS),
                store_weights: o.store(D_WEIGHTS),
                dx: o.activation_mut(DX),
                store: o.store(DX),
            };
            backend.sequence_sum_backward(op, operands);
        }
    }
}
