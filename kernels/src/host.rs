//! The list of operations as a trait, and the two devices of the host that implement it.

use crate::{
    Cpu, activation, add, attention, columns, cross_entropy, dropout, embedding, gather, layer_norm, linear,
    optimizer, scale, sequence_softmax, sequence_sum, squared_error,
};

/// Whether a result replaces what its destination holds or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// The destination's old content is not read: it may be anything, NaN included.
    Assign,
    /// The result is added to the destination.
    Add,
}

impl Store {
    /// Stores `value` at `destination`, or adds it.
    #[inline(always)]
    pub(crate) fn put<R: Copy + std::ops::AddAssign>(self, destination: &mut R, value: R) {
        match self {
            Self::Assign => *destination = value,
            Self::Add => *destination += value,
        }
    }
}

/// A number the host computes with: `f64` in [`Reference`], `f32` in [`Cpu`].
pub trait Real: bytemuck::Pod + Send + Sync + PartialOrd + std::fmt::Debug + std::fmt::Display {
    /// Rounds to nearest.
    fn from_f64(value: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// The oracle: every operation in f64, one scalar after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// Writes the trait and its two implementations from one table: method, constants, operands.
macro_rules! operations {
    ($($(#[$doc:meta])* $method:ident: $module:ident::$function:ident($constants:ty, $operands:ident);)*) => {
        /// The names of all operations.
        pub const KERNELS: &[&str] = &[$(stringify!($method)),*];

        /// A device that lives in host memory.
        ///
        /// Every method panics, and names the operand, if one does not have the shape that its contract gives it.
        pub trait Host: Send + Sync {
            /// What it computes with.
            type Real: Real;

            /// Runs `work`, a list of kernel calls, where the device likes to be called from.
            fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
                work()
            }

            $($(#[$doc])* fn $method(&self, constants: &$constants, operands: $module::$operands<'_, Self::Real>);)*
        }

        impl Host for Reference {
            type Real = f64;
            $(fn $method(&self, constants: &$constants, operands: $module::$operands<'_, f64>) {
                operands.check(constants);
                $module::reference::$function(constants, operands);
            })*
        }

        impl Host for Cpu {
            type Real = f32;

            fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
                Cpu::enter(self, work)
            }

            $(fn $method(&self, constants: &$constants, operands: $module::$operands<'_, f32>) {
                operands.check(constants);
                $module::cpu::$function(self, constants, operands);
            })*
        }
    };
}

operations! {
    /// See [`embedding`].
    embedding_forward: embedding::forward(embedding::Embedding, Forward);
    /// See [`embedding`].
    embedding_backward: embedding::backward(embedding::Embedding, Backward);
    /// See [`linear`].
    linear_forward: linear::forward(linear::Linear, Forward);
    /// See [`linear`].
    linear_input_gradient: linear::input_gradient(linear::Linear, InputGradient);
    /// See [`linear`].
    linear_weight_gradient: linear::weight_gradient(linear::Linear, WeightGradient);
    /// See [`activation`].
    activation_forward: activation::forward(activation::Activation, Forward);
    /// See [`activation`].
    activation_backward: activation::backward(activation::Activation, Backward);
    /// See [`layer_norm`].
    layer_norm_forward: layer_norm::forward(layer_norm::LayerNorm, Forward);
    /// See [`layer_norm`].
    layer_norm_backward: layer_norm::backward(layer_norm::LayerNorm, Backward);
    /// See [`attention`].
    attention_forward: attention::forward(attention::Attention, Forward);
    /// See [`attention`].
    attention_backward: attention::backward(attention::Attention, Backward);
    /// See [`dropout`].
    dropout_forward: dropout::forward(dropout::Dropout, Forward);
    /// See [`dropout`].
    dropout_backward: dropout::backward(dropout::Dropout, Backward);
    /// See [`gather`].
    gather_forward: gather::forward(gather::Gather, Forward);
    /// See [`gather`].
    gather_backward: gather::backward(gather::Gather, Backward);
    /// See [`cross_entropy`].
    cross_entropy_forward: cross_entropy::forward(cross_entropy::CrossEntropy, Forward);
    /// See [`cross_entropy`].
    cross_entropy_backward: cross_entropy::backward(cross_entropy::CrossEntropy, Backward);
    /// See [`squared_error`].
    squared_error_forward: squared_error::forward(squared_error::SquaredError, Forward);
    /// See [`squared_error`].
    squared_error_backward: squared_error::backward(squared_error::SquaredError, Backward);
    /// See [`add`].
    add_forward: add::forward(add::Add, Forward);
    /// See [`scale`].
    scale_forward: scale::forward(scale::Scale, Forward);
    /// See [`columns`].
    columns_copy: columns::copy(columns::Columns, Copy);
    /// See [`sequence_softmax`].
    sequence_softmax_forward: sequence_softmax::forward(sequence_softmax::SequenceSoftmax, Forward);
    /// See [`sequence_softmax`].
    sequence_softmax_backward: sequence_softmax::backward(sequence_softmax::SequenceSoftmax, Backward);
    /// See [`sequence_sum`].
    sequence_sum_forward: sequence_sum::forward(sequence_sum::SequenceSum, Forward);
    /// See [`sequence_sum`].
    sequence_sum_backward: sequence_sum::backward(sequence_sum::SequenceSum, Backward);
    /// See [`optimizer`].
    optimizer_update: optimizer::update(optimizer::Update, Operands);
    /// See [`optimizer`].
    gradient_norm: optimizer::norm((), Norm);
}
