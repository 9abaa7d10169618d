//! Linear map with bias and activation: `u = x · Wᵀ + b`, `y = f(u)`.
//!
//! `W` is `[outputs, inputs]`, as in transformers' files. Backward is two kernels, because one gradient may be wanted
//! without the other: `dx = du · W` and `dW += duᵀ · x`, `db += Σ du`; `du = dy · f'(u)` is [`crate::activation`]'s. Where x
//! itself is f of something and nobody else wants dx, the first two of them are one: [`PreactivationGradient`].

use crate::contract::{rows, shapes};
use crate::memory::{Length, Memory};
use crate::precision::Precision;
use crate::{Activation, Cost, Store};

pub(crate) mod cpu;
pub(crate) mod cuda;
mod cuda_bias;
pub(crate) mod reference;

pub use cuda::scratch_bytes;

/// Shape of a linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Columns of `x`.
    pub inputs: usize,
    /// Columns of `y`.
    pub outputs: usize,
    /// Function applied to the result.
    pub activation: Activation,
}

impl Linear {
    /// Cost of each of the three matrix products (forward, input gradient, weight gradient) over `rows` rows.
    pub fn cost(&self, rows: usize, element_size: usize) -> Cost {
        let (m, k, n) = (rows, self.inputs, self.outputs);
        Cost::new(2 * m * n * k, m * k + n * k + m * n, element_size)
    }
}

/// A linear map of `x = f(u)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterActivation {
    /// The linear map.
    pub linear: Linear,
    /// f
    pub activation: Activation,
}

impl AfterActivation {
    /// Cost of the gradient of u over `rows` rows.
    pub fn cost(&self, rows: usize, element_size: usize) -> Cost {
        // Besides what the product touches, what f' is computed from: what one pass takes at least.
        let derivative = self.activation.cost(rows * self.linear.inputs, 1, element_size);
        self.linear.cost(rows, element_size) + derivative
    }
}

/// Operands of the forward pass.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows, inputs]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[outputs, inputs]`
    pub weight: M::Slice<'a, P::Activation>,
    /// `[outputs]`
    pub bias: Option<M::Slice<'a, P::Master>>,
    /// u, `[rows, outputs]`, wanted by backward if [`Activation::keeps_preactivation`].
    pub preactivation: Option<M::SliceMut<'a, P::Activation>>,
    /// `[rows, outputs]`
    pub y: M::SliceMut<'a, P::Activation>,
}

/// Operands of `dx = du · W`.
pub struct InputGradient<'a, M: Memory, P: Precision> {
    /// `[rows, outputs]`
    pub du: M::Slice<'a, P::Activation>,
    /// `[outputs, inputs]`
    pub weight: M::Slice<'a, P::Activation>,
    /// `[rows, inputs]`
    pub dx: M::SliceMut<'a, P::Activation>,
    /// Whether `dx` is stored or added to.
    pub store: Store,
}

/// Operands of `du = (dy · W) ∘ f'(u)` for a linear map of `x = f(u)`: what [`InputGradient`] and then
/// [`crate::activation::Backward`] make. A CPU's results are the same bits: what they store between them in less than f32, it rounds.
pub struct PreactivationGradient<'a, M: Memory, P: Precision> {
    /// Gradient of the linear map's result, `[rows, outputs]`
    pub dy: M::Slice<'a, P::Activation>,
    /// `[outputs, inputs]`
    pub weight: M::Slice<'a, P::Activation>,
    /// u if [`Activation::keeps_preactivation`], otherwise f(u), `[rows, inputs]`
    pub saved: M::Slice<'a, P::Activation>,
    /// `[rows, inputs]`, stored.
    pub du: M::SliceMut<'a, P::Activation>,
}

/// Operands of `dW += duᵀ · x`, `db += Σ_rows du`: always added, since shared weights are used many times.
pub struct WeightGradient<'a, M: Memory, P: Precision> {
    /// `[rows, inputs]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[rows, outputs]`
    pub du: M::Slice<'a, P::Activation>,
    /// `[outputs, inputs]`
    pub d_weight: M::SliceMut<'a, P::Master>,
    /// `[outputs]`
    pub d_bias: Option<M::SliceMut<'a, P::Master>>,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Linear { inputs, outputs, .. }: &Linear) {
        let rows = rows(self.y.length(), outputs);
        shapes!(self; x: [rows, inputs], weight: [outputs, inputs], bias: [outputs]);
        shapes!(self; preactivation: [rows, outputs], y: [rows, outputs]);
    }
}

impl<M: Memory, P: Precision> InputGradient<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Linear { inputs, outputs, .. }: &Linear) {
        let rows = rows(self.dx.length(), inputs);
        shapes!(self; du: [rows, outputs], weight: [outputs, inputs], dx: [rows, inputs]);
    }
}

impl<M: Memory, P: Precision> PreactivationGradient<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, constants: &AfterActivation) {
        let Linear { inputs, outputs, .. } = constants.linear;
        let rows = rows(self.du.length(), inputs);
        shapes!(self; dy: [rows, outputs], weight: [outputs, inputs]);
        shapes!(self; saved: [rows, inputs], du: [rows, inputs]);
    }
}

impl<M: Memory, P: Precision> WeightGradient<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Linear { inputs, outputs, .. }: &Linear) {
        let rows = rows(self.x.length(), inputs);
        shapes!(self; x: [rows, inputs], du: [rows, outputs], d_weight: [outputs, inputs], d_bias: [outputs]);
    }
}
