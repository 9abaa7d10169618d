//! Residual connection, dropout and layer normalisation in one pass:
//! `z = dropout(x) + residual`, `y = γ · (z − μ) / √(σ² + ε) + β`.
//!
//! μ and σ² are mean and biased variance of a row (Ba et al. 2016; in ALBERT ε = 1e-12 inside the root, statistics in
//! f32 at least). Without residual and dropout `z` is `x` itself and is not written.

use crate::contract::{rows, shapes};
use crate::dropout::{Dropout, Randomness};
use crate::{Cost, Store};

pub(crate) mod cpu;
pub(crate) mod reference;

/// Shape and constants of a layer norm. Rows come from the operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Columns.
    pub width: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Dropout of `x`, before the residual is added.
    pub dropout: Option<Dropout>,
}

impl LayerNorm {
    /// Cost of either pass over `rows` rows that touches `operands` matrices (8 operations for an element, by convention).
    pub fn cost(&self, rows: usize, operands: usize, element_size: usize) -> Cost {
        Cost::new(8 * rows * self.width, operands * rows * self.width, element_size)
    }
}

/// Operands of the forward pass.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[rows, width]`
    pub x: &'a [R],
    /// `[rows, width]`
    pub residual: Option<&'a [R]>,
    /// γ, `[width]`
    pub gamma: &'a [R],
    /// β, `[width]`
    pub beta: &'a [R],
    /// Source of the dropout coins; not read without dropout.
    pub randomness: Randomness,
    /// z, `[rows, width]`; `None` exactly if there is neither residual nor dropout.
    pub sum: Option<&'a mut [R]>,
    /// μ, `[rows]`
    pub mean: &'a mut [R],
    /// 1 / √(σ² + ε), `[rows]`
    pub reciprocal_deviation: &'a mut [R],
    /// `[rows, width]`
    pub y: &'a mut [R],
}

/// Operands of the backward pass.
///
/// With x̂ = (z − μ) · r and g = γ · dy: `dz = r · (g − mean(g) − x̂ · mean(g · x̂))`, `dγ += Σ dy · x̂`, `dβ += Σ dy`,
/// `d residual = dz`, `dx = dz · keep / (1 − p)`.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// z as forward wrote it (or x), `[rows, width]`
    pub sum: &'a [R],
    /// `[rows]`
    pub mean: &'a [R],
    /// `[rows]`
    pub reciprocal_deviation: &'a [R],
    /// `[width]`
    pub gamma: &'a [R],
    /// `[rows, width]`
    pub dy: &'a [R],
    /// Source of the dropout coins: the same as in forward.
    pub randomness: Randomness,
    /// dz, `[rows, width]`: the gradient of the residual, and of `x` where nothing is dropped.
    pub d_sum: &'a mut [R],
    /// Whether `d_sum` is stored or added to.
    pub store: Store,
    /// Gradient of `x`, `[rows, width]`, stored; `Some` exactly if there is dropout.
    pub d_x: Option<&'a mut [R]>,
    /// `[width]`, added to.
    pub d_gamma: &'a mut [R],
    /// `[width]`, added to.
    pub d_beta: &'a mut [R],
}

impl LayerNorm {
    fn check(&self) {
        if let Some(dropout) = &self.dropout {
            dropout.check(self.width);
        }
    }
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, layer_norm: &LayerNorm) {
        layer_norm.check();
        let (width, rows) = (layer_norm.width, rows(self.y.len(), layer_norm.width));
        let sums = self.residual.is_some() || layer_norm.dropout.is_some();
        assert_eq!(self.sum.is_some(), sums, "z is wanted where it is not x itself");
        shapes!(self; x: [rows, width], residual: [rows, width], gamma: [width], beta: [width]);
        shapes!(self; sum: [rows, width], mean: [rows], reciprocal_deviation: [rows], y: [rows, width]);
    }
}

impl<R> Backward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, layer_norm: &LayerNorm) {
        layer_norm.check();
        let (width, rows) = (layer_norm.width, rows(self.dy.len(), layer_norm.width));
        assert_eq!(
            self.d_x.is_some(),
            layer_norm.dropout.is_some(),
            "dx is wanted where it is not dz itself"
        );
        shapes!(self; sum: [rows, width], mean: [rows], reciprocal_deviation: [rows], gamma: [width]);
        shapes!(self; dy: [rows, width], d_sum: [rows, width], d_x: [rows, width]);
        shapes!(self; d_gamma: [width], d_beta: [width]);
    }
}
