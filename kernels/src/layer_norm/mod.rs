//! Residual connection, dropout and layer normalisation in one pass:
//! `z = dropout(x) + residual`, `y = γ · (z − μ) / √(σ² + ε) + β`.
//!
//! μ and σ² are mean and biased variance of a row (Ba et al. 2016; in ALBERT ε = 1e-12 inside the root, statistics in
//! f32 at least). Without residual and dropout `z` is `x` itself and is not written.

use crate::contract::{rows, shapes};
use crate::dropout::Dropout;
use crate::memory::{Length, Memory};
use crate::precision::Precision;
use crate::{Cost, Store};

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

pub use cuda::scratch_bytes;

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
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows, width]`
    pub x: M::Slice<'a, P::Activation>,
    /// `[rows, width]`
    pub residual: Option<M::Slice<'a, P::Activation>>,
    /// γ, `[width]`
    pub gamma: M::Slice<'a, P::Master>,
    /// β, `[width]`
    pub beta: M::Slice<'a, P::Master>,
    /// Source of the dropout coins; not read without dropout.
    pub randomness: M::Randomness,
    /// `[rows]`: which row of this run each is, where that is not its own number; not read without dropout.
    pub logical_rows: Option<M::Slice<'a, i32>>,
    /// z, `[rows, width]`; `None` exactly if there is neither residual nor dropout.
    pub sum: Option<M::SliceMut<'a, P::Activation>>,
    /// μ, `[rows]`
    pub mean: M::SliceMut<'a, P::Master>,
    /// 1 / √(σ² + ε), `[rows]`
    pub rstd: M::SliceMut<'a, P::Master>,
    /// `[rows, width]`
    pub y: M::SliceMut<'a, P::Activation>,
}

/// Operands of the backward pass.
///
/// With x̂ = (z − μ) · r and g = γ · dy: `dz = r · (g − mean(g) − x̂ · mean(g · x̂))`, `dγ += Σ dy · x̂`, `dβ += Σ dy`,
/// `d residual = dz`, `dx = dz · keep / (1 − p)`.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// z as forward wrote it (or x), `[rows, width]`
    pub sum: M::Slice<'a, P::Activation>,
    /// `[rows]`
    pub mean: M::Slice<'a, P::Master>,
    /// `[rows]`
    pub rstd: M::Slice<'a, P::Master>,
    /// `[width]`
    pub gamma: M::Slice<'a, P::Master>,
    /// `[rows, width]`
    pub dy: M::Slice<'a, P::Activation>,
    /// Source of the dropout coins: the same as in forward.
    pub randomness: M::Randomness,
    /// The same as in forward.
    pub logical_rows: Option<M::Slice<'a, i32>>,
    /// dz, `[rows, width]`: the gradient of the residual, and of `x` where nothing is dropped.
    pub d_sum: M::SliceMut<'a, P::Activation>,
    /// Whether `d_sum` is stored or added to.
    pub store: Store,
    /// Gradient of `x`, `[rows, width]`, stored; `Some` exactly if there is dropout.
    pub d_x: Option<M::SliceMut<'a, P::Activation>>,
    /// `[width]`, added to.
    pub d_gamma: M::SliceMut<'a, P::Master>,
    /// `[width]`, added to.
    pub d_beta: M::SliceMut<'a, P::Master>,
}

impl LayerNorm {
    fn check(&self) {
        if let Some(dropout) = &self.dropout {
            dropout.check(self.width);
        }
    }
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, layer_norm: &LayerNorm) {
        layer_norm.check();
        let (width, rows) = (layer_norm.width, rows(self.y.length(), layer_norm.width));
        let sums = self.residual.is_some() || layer_norm.dropout.is_some();
        assert_eq!(self.sum.is_some(), sums, "z is wanted where it is not x itself");
        shapes!(self; x: [rows, width], residual: [rows, width], gamma: [width], beta: [width]);
        shapes!(self; sum: [rows, width], mean: [rows], rstd: [rows], y: [rows, width], logical_rows: [rows]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, layer_norm: &LayerNorm) {
        layer_norm.check();
        let (width, rows) = (layer_norm.width, rows(self.dy.length(), layer_norm.width));
        assert_eq!(
            self.d_x.is_some(),
            layer_norm.dropout.is_some(),
            "dx is wanted where it is not dz itself"
        );
        shapes!(self; sum: [rows, width], mean: [rows], rstd: [rows], gamma: [width]);
        shapes!(self; dy: [rows, width], d_sum: [rows, width], d_x: [rows, width], logical_rows: [rows]);
        shapes!(self; d_gamma: [width], d_beta: [width]);
    }
}
