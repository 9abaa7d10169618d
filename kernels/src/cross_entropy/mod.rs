//! Softmax cross-entropy with a weight per row: `loss = Σ_i weight_i · (log Σ_c exp logit_ic − logit_{i, label_i})`.
//!
//! The weights carry the normalisation: the caller divides by what the *whole* optimisation batch holds, so that the
//! losses and gradients of micro-batches simply add up. Gradient: `d logit_ic = d_loss · weight_i · (softmax_ic − [c = label_i])`.
//! A row of weight 0 adds nothing and gets a gradient of 0, whatever its logits are: it fills up a batch.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

use crate::Cost;
use crate::contract::shapes;
use crate::memory::{Length, Memory};
use crate::precision::Precision;

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
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows, classes]`
    pub logits: M::Slice<'a, P::Activation>,
    /// `[rows]`, each in `0..classes`.
    pub labels: M::Slice<'a, i32>,
    /// `[rows]`
    pub weights: M::Slice<'a, P::Master>,
    /// `[1]`, stored.
    pub loss: M::SliceMut<'a, P::Master>,
    /// −log softmax of the label, unweighted, `[rows]`
    pub row_loss: M::SliceMut<'a, P::Master>,
    /// `[rows]`
    pub log_sum_exp: M::SliceMut<'a, P::Master>,
    /// First index of the largest logit, `[rows]`
    pub prediction: M::SliceMut<'a, i32>,
}

/// Operands of the backward pass.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// `[rows, classes]`; `None` if they lie where their gradient is stored, which takes their place.
    pub logits: Option<M::Slice<'a, P::Activation>>,
    /// `[rows]`
    pub labels: M::Slice<'a, i32>,
    /// `[rows]`
    pub weights: M::Slice<'a, P::Master>,
    /// `[rows]`
    pub log_sum_exp: M::Slice<'a, P::Master>,
    /// `[1]`
    pub d_loss: M::Slice<'a, P::Master>,
    /// `[rows, classes]`, stored.
    pub d_logits: M::SliceMut<'a, P::Activation>,
}

impl CrossEntropy {
    fn check(&self) {
        let exact = 1..=1 << 24; // what f32 can number
        assert!(exact.contains(&self.classes), "{} classes are not in {exact:?}", self.classes);
    }
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, cross_entropy: &CrossEntropy) {
        cross_entropy.check();
        let rows = self.labels.length();
        shapes!(self; logits: [rows, cross_entropy.classes], weights: [rows], loss: [1]);
        shapes!(self; row_loss: [rows], log_sum_exp: [rows], prediction: [rows]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, cross_entropy: &CrossEntropy) {
        cross_entropy.check();
        let (rows, classes) = (self.labels.length(), cross_entropy.classes);
        shapes!(self; logits: [rows, classes], weights: [rows], log_sum_exp: [rows], d_loss: [1]);
        shapes!(self; d_logits: [rows, classes]);
    }
}
