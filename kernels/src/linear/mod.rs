//! Linear map with bias and activation: `u = x · Wᵀ + b`, `y = f(u)`.
//!
//! `W` is `[outputs, inputs]`, as in transformers' files. Backward is two kernels, because one gradient may be wanted
//! without the other: `dx = du · W` and `dW += duᵀ · x`, `db += Σ du`; `du = dy · f'(u)` is [`crate::activation`]'s.

use crate::contract::{rows, shapes};
use crate::{Activation, Cost, Store};

pub(crate) mod cpu;
pub(crate) mod reference;

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

/// Operands of the forward pass.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[rows, inputs]`
    pub x: &'a [R],
    /// `[outputs, inputs]`
    pub weight: &'a [R],
    /// `[outputs]`
    pub bias: Option<&'a [R]>,
    /// u, `[rows, outputs]`, wanted by backward if [`Activation::keeps_preactivation`].
    pub preactivation: Option<&'a mut [R]>,
    /// `[rows, outputs]`
    pub y: &'a mut [R],
}

/// Operands of `dx = du · W`.
#[derive(Debug)]
pub struct InputGradient<'a, R> {
    /// `[rows, outputs]`
    pub du: &'a [R],
    /// `[outputs, inputs]`
    pub weight: &'a [R],
    /// `[rows, inputs]`
    pub dx: &'a mut [R],
    /// Whether `dx` is stored or added to.
    pub store: Store,
}

/// Operands of `dW += duᵀ · x`, `db += Σ_rows du`: always added, since shared weights are used many times.
#[derive(Debug)]
pub struct WeightGradient<'a, R> {
    /// `[rows, inputs]`
    pub x: &'a [R],
    /// `[rows, outputs]`
    pub du: &'a [R],
    /// `[outputs, inputs]`
    pub d_weight: &'a mut [R],
    /// `[outputs]`
    pub d_bias: Option<&'a mut [R]>,
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Linear { inputs, outputs, .. }: &Linear) {
        let rows = rows(self.y.len(), outputs);
        shapes!(self; x: [rows, inputs], weight: [outputs, inputs], bias: [outputs]);
        shapes!(self; preactivation: [rows, outputs], y: [rows, outputs]);
    }
}

impl<R> InputGradient<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Linear { inputs, outputs, .. }: &Linear) {
        let rows = rows(self.dx.len(), inputs);
        shapes!(self; du: [rows, outputs], weight: [outputs, inputs], dx: [rows, inputs]);
    }
}

impl<R> WeightGradient<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, &Linear { inputs, outputs, .. }: &Linear) {
        let rows = rows(self.x.len(), inputs);
        shapes!(self; x: [rows, inputs], du: [rows, outputs], d_weight: [outputs, inputs], d_bias: [outputs]);
    }
}
