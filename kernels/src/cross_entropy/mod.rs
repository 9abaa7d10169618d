//! Softmax cross-entropy with a weight per row: `loss = Σ_i weight_i · (log Σ_c exp logit_ic − logit_{i, label_i})`.
//!
//! The weights carry the normalisation: the caller divides by what the *whole* optimisation batch holds, so that the
//! losses and gradients of micro-batches simply add up. Gradient: `d logit_ic = d_loss · weight_i · (softmax_ic − [c = label_i])`.
//! A row of weight 0 adds nothing and gets a gradient of 0, whatever its logits are: it fills up a batch.

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::Cost;
use crate::contract::shapes;

/// Shape of a cross-entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropy {
    /// Columns of the logits.
    pub classes: usize,
}

impl CrossEntropy {
    /// Cost of either pass over `rows` rows that touches `operands` matrices (5 operations for a logit, by convention).
    pub fn cost(&self, rows: usize, operands: usize, element_size: usize) -> Cost {
        Cost::new(5 * rows * self.classes, operands * rows * self.classes, element_size)
    }
}

/// Operands of the forward pass.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[rows, classes]`
    pub logits: &'a [R],
    /// `[rows]`, each in `0..classes`.
    pub labels: &'a [i32],
    /// `[rows]`
    pub weights: &'a [R],
    /// `[1]`, stored.
    pub loss: &'a mut [R],
    /// −log softmax of the label, unweighted, `[rows]`
    pub row_loss: &'a mut [R],
    /// `[rows]`
    pub log_sum_exp: &'a mut [R],
    /// First index of the largest logit, as a number, `[rows]`
    pub prediction: &'a mut [R],
}

/// Operands of the backward pass.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// `[rows, classes]`
    pub logits: &'a [R],
    /// `[rows]`
    pub labels: &'a [i32],
    /// `[rows]`
    pub weights: &'a [R],
    /// `[rows]`
    pub log_sum_exp: &'a [R],
    /// `[1]`
    pub d_loss: &'a [R],
    /// `[rows, classes]`, stored.
    pub d_logits: &'a mut [R],
}

impl CrossEntropy {
    fn check(&self) {
        let exact = 1..=1 << 24; // what f32 can number
        assert!(exact.contains(&self.classes), "{} classes are not in {exact:?}", self.classes);
    }
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, cross_entropy: &CrossEntropy) {
        cross_entropy.check();
        let rows = self.labels.len();
        shapes!(self; logits: [rows, cross_entropy.classes], weights: [rows], loss: [1]);
        shapes!(self; row_loss: [rows], log_sum_exp: [rows], prediction: [rows]);
    }
}

impl<R> Backward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, cross_entropy: &CrossEntropy) {
        cross_entropy.check();
        let (rows, classes) = (self.labels.len(), cross_entropy.classes);
        shapes!(self; logits: [rows, classes], weights: [rows], log_sum_exp: [rows], d_loss: [1]);
        shapes!(self; d_logits: [rows, classes]);
    }
}
