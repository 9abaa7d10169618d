//! Squared error with a weight per row: `loss = Σ_i weight_i · (x_i − target_i)²`, `dx_i = d_loss · 2 weight_i (x_i − target_i)`.
//! A row of weight 0 adds nothing and gets a gradient of 0, whatever it holds: it fills up a batch.

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::contract::shapes;

/// Squared error; it has no constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SquaredError;

/// Operands of the forward pass.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[rows]`
    pub x: &'a [R],
    /// `[rows]`
    pub targets: &'a [R],
    /// `[rows]`
    pub weights: &'a [R],
    /// `[1]`, stored.
    pub loss: &'a mut [R],
}

/// Operands of the backward pass.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// `[rows]`
    pub x: &'a [R],
    /// `[rows]`
    pub targets: &'a [R],
    /// `[rows]`
    pub weights: &'a [R],
    /// `[1]`
    pub d_loss: &'a [R],
    /// `[rows]`
    pub dx: &'a mut [R],
    /// Whether `dx` is stored or added to.
    pub store: crate::Store,
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &SquaredError) {
        let rows = self.x.len();
        shapes!(self; targets: [rows], weights: [rows], loss: [1]);
    }
}

impl<R> Backward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &SquaredError) {
        let rows = self.x.len();
        shapes!(self; targets: [rows], weights: [rows], d_loss: [1], dx: [rows]);
    }
}
