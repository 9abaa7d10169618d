//! Softmax cross-entropy over the rows of each sequence: which row of it is meant, by one logit per row.
//! `loss = Σ_s weight_s · (log Σ_{t in sequence s} exp logit_t − logit_{label_s})`: the start of an answer among the tokens of
//! a passage, or the right option among those of a question.
//!
//! Gradient: `d logit_t = d_loss · weight_s · (softmax_t − [t = label_s])`. A sequence of weight 0 adds nothing and gets a
//! gradient of 0, whatever its logits are. An empty sequence has loss 0 and log-sum-exp 0, and predicts the row where it
//! would begin. Rows past the last offset are dead: they are never read, and their gradient is 0.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

use crate::contract::shapes;
use crate::memory::{Length, Memory};
use crate::precision::Precision;

/// Cross-entropy over sequences; it has no constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceCrossEntropy;

/// Operands of the forward pass.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows]`
    pub logits: M::Slice<'a, P::Activation>,
    /// `[sequences + 1]`
    pub offsets: M::Slice<'a, i32>,
    /// `[sequences]`, each a row of its sequence, where that has any.
    pub labels: M::Slice<'a, i32>,
    /// `[sequences]`
    pub weights: M::Slice<'a, P::Master>,
    /// `[1]`, stored.
    pub loss: M::SliceMut<'a, P::Master>,
    /// −log softmax of the label, unweighted, `[sequences]`
    pub sequence_loss: M::SliceMut<'a, P::Master>,
    /// `[sequences]`
    pub log_sum_exp: M::SliceMut<'a, P::Master>,
    /// First row of the largest logit, `[sequences]`
    pub prediction: M::SliceMut<'a, i32>,
}

/// Operands of the backward pass.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// `[rows]`
    pub logits: M::Slice<'a, P::Activation>,
    /// `[sequences + 1]`
    pub offsets: M::Slice<'a, i32>,
    /// `[sequences]`
    pub labels: M::Slice<'a, i32>,
    /// `[sequences]`
    pub weights: M::Slice<'a, P::Master>,
    /// `[sequences]`
    pub log_sum_exp: M::Slice<'a, P::Master>,
    /// `[1]`
    pub d_loss: M::Slice<'a, P::Master>,
    /// `[rows]`, stored.
    pub d_logits: M::SliceMut<'a, P::Activation>,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &SequenceCrossEntropy) {
        let sequences = self.labels.length();
        shapes!(self; weights: [sequences], offsets: [sequences + 1], loss: [1]);
        shapes!(self; sequence_loss: [sequences], log_sum_exp: [sequences], prediction: [sequences]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &SequenceCrossEntropy) {
        let (rows, sequences) = (self.logits.length(), self.labels.length());
        shapes!(self; weights: [sequences], offsets: [sequences + 1], log_sum_exp: [sequences], d_loss: [1]);
        shapes!(self; d_logits: [rows]);
    }
}
