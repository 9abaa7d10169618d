//! The operations a graph is made of.
//!
//! [`Op`] is what model code records: coarse and differentiable. [`GradientOp`] is what differentiation appends.
//! Every match over them is exhaustive: an operation without a gradient, a cost or a kernel does not compile.

use kernels::activation::Activation;
use kernels::add::Add;
use kernels::attention::Attention;
use kernels::columns::Columns;
use kernels::cross_entropy::CrossEntropy;
use kernels::dropout::Dropout;
use kernels::embedding::Embedding;
use kernels::gather::Gather;
use kernels::layer_norm::LayerNorm;
use kernels::linear::{AfterActivation, Linear};
use kernels::scale::Scale;
use kernels::sequence_cross_entropy::SequenceCrossEntropy;
use kernels::sequence_softmax::SequenceSoftmax;
use kernels::sequence_sum::SequenceSum;
use kernels::squared_error::SquaredError;

use crate::operands as at;

/// A differentiable operation. Operands are listed as `inputs → outputs`; `?` marks what may be absent.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// words, positions, segments, token ids, position ids, segment ids, token order → y
    Embedding(Embedding),
    /// x, weight, bias? → y, preactivation?
    Linear(Linear),
    /// x, γ, β, residual?, logical rows? → y, mean, rstd, sum?
    LayerNorm(LayerNorm),
    /// qkv, offsets → context, log-sum-exp
    Attention(Attention),
    /// x, logical rows? → y
    Dropout(Dropout),
    /// x, rows → y
    Gather(Gather),
    /// logits, labels, weights → loss, row losses, log-sum-exp, predictions
    CrossEntropy(CrossEntropy),
    /// logits, offsets, labels, weights → loss, sequence losses, log-sum-exp, predictions
    SequenceCrossEntropy(SequenceCrossEntropy),
    /// x, targets, weights → loss
    SquaredError(SquaredError),
    /// a, b → y
    Add(Add),
    /// x → y
    Scale(Scale),
    /// x → y
    SliceColumns(Columns),
    /// x₀, x₁, … → y: the columns of all inputs side by side
    ConcatenateColumns,
    /// x, offsets → y
    SequenceSoftmax(SequenceSoftmax),
    /// weights, x, offsets → y
    SequenceSum(SequenceSum),
}

/// What differentiation appends. "into" marks an output that may start from an earlier contribution; parameters whose
/// gradient is added to are listed after `⇒`.
#[derive(Clone, Debug, PartialEq)]
pub enum GradientOp {
    /// → 1, the gradient of the loss with respect to itself: no step, but a constant among the inputs
    Seed,
    /// token ids, position ids, segment ids, token order, dy ⇒ words, positions, segments
    Embedding(Embedding),
    /// preactivation → y: a forward value computed again
    Activation(Activation),
    /// saved, dy → du
    ActivationGradient(Activation),
    /// du, weight → dx (into)
    LinearInput(Linear),
    /// dy, weight, saved → du: [`Self::LinearInput`] and [`Self::ActivationGradient`] in one, where planning fuses them
    LinearPreactivation(AfterActivation),
    /// x, du ⇒ weight, bias?
    LinearWeight(Linear),
    /// sum, mean, rstd, γ, dy, logical rows? → d_sum (into), d_x? ⇒ γ, β
    LayerNorm(LayerNorm),
    /// qkv, offsets, context, log-sum-exp, d_context → d_qkv
    Attention(Attention),
    /// dy, logical rows? → dx (into)
    Dropout(Dropout),
    /// rows, dy → dx (into)
    Gather(Gather),
    /// logits, labels, weights, log-sum-exp, d_loss → d_logits
    CrossEntropy(CrossEntropy),
    /// logits, offsets, labels, weights, log-sum-exp, d_loss → d_logits
    SequenceCrossEntropy(SequenceCrossEntropy),
    /// x, targets, weights, d_loss → dx (into)
    SquaredError(SquaredError),
    /// dy → dx (into)
    Scale(Scale),
    /// dy → dx (into): columns back to where they were sliced from, or out of a concatenation
    Columns(Columns),
    /// y, offsets, dy → dx (into)
    SequenceSoftmax(SequenceSoftmax),
    /// weights, x, offsets, dy → d_weights (into), dx (into)
    SequenceSum(SequenceSum),
}

/// Either kind of operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Recorded by the model.
    Forward(Op),
    /// Appended by differentiation.
    Backward(GradientOp),
}

/// Names of operations, for plans, profiles, and tests that must not forget one.
macro_rules! names {
    ($enum:ident { $($variant:ident: $name:literal,)* }) => {
        impl $enum {
            /// The names of all variants.
            pub const NAMES: &[&str] = &[$($name),*];

            /// Short name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                }
            }
        }
    };
}

names!(Op {
    Embedding: "embedding",
    Linear: "linear",
    LayerNorm: "layer_norm",
    Attention: "attention",
    Dropout: "dropout",
    Gather: "gather",
    CrossEntropy: "cross_entropy",
    SequenceCrossEntropy: "sequence_cross_entropy",
    SquaredError: "squared_error",
    Add: "add",
    Scale: "scale",
    SliceColumns: "slice_columns",
    ConcatenateColumns: "concatenate_columns",
    SequenceSoftmax: "sequence_softmax",
    SequenceSum: "sequence_sum",
});

names!(GradientOp {
    Seed: "seed",
    Embedding: "embedding_gradient",
    Activation: "activation",
    ActivationGradient: "activation_gradient",
    LinearInput: "linear_input_gradient",
    LinearPreactivation: "linear_preactivation_gradient",
    LinearWeight: "linear_weight_gradient",
    LayerNorm: "layer_norm_gradient",
    Attention: "attention_gradient",
    Dropout: "dropout_gradient",
    Gather: "gather_gradient",
    CrossEntropy: "cross_entropy_gradient",
    SequenceCrossEntropy: "sequence_cross_entropy_gradient",
    SquaredError: "squared_error_gradient",
    Scale: "scale_gradient",
    Columns: "columns_gradient",
    SequenceSoftmax: "sequence_softmax_gradient",
    SequenceSum: "sequence_sum_gradient",
});

impl Operation {
    /// The position of what an operation reads, element by element, before it stores its first output there: the output may
    /// take its place if nobody reads it later.
    pub fn overwrites(&self) -> Option<usize> {
        match self {
            Self::Backward(GradientOp::CrossEntropy(_)) => Some(at::cross_entropy_gradient::LOGITS),
            Self::Backward(GradientOp::ActivationGradient(_)) => Some(at::activation_gradient::DY),
            Self::Forward(_) | Self::Backward(_) => None,
        }
    }

    /// Whether the operand at `position`, if it is a parameter, is read as the master rather than as a product's weight.
    pub fn reads_master(&self, position: usize) -> bool {
        match self {
            Self::Forward(Op::Embedding(_)) => position <= at::embedding::SEGMENTS,
            Self::Forward(Op::Linear(_)) => position == at::linear::BIAS,
            Self::Forward(Op::LayerNorm(_)) => {
                [at::layer_norm::GAMMA, at::layer_norm::BETA].contains(&position)
            }
            Self::Backward(GradientOp::LayerNorm(_)) => position == at::layer_norm_gradient::GAMMA,
            Self::Forward(_) | Self::Backward(_) => false,
        }
    }

    /// Short name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forward(op) => op.name(),
            Self::Backward(op) => op.name(),
        }
    }
}

/// The block that input `index` of a concatenation of `widths` occupies.
pub(crate) fn concatenation(widths: impl Iterator<Item = usize> + Clone, index: usize) -> Columns {
    let width = widths.clone().nth(index).expect("an input of the concatenation");
    Columns { width, x_width: width, from: 0, y_width: widths.clone().sum(), to: widths.take(index).sum() }
}

/// The opposite copy.
pub(crate) fn reversed(columns: &Columns) -> Columns {
    Columns {
        width: columns.width,
        x_width: columns.y_width,
        from: columns.to,
        y_width: columns.x_width,
        to: columns.from,
    }
}
