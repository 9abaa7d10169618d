//! One parameter update over flat buffers: LAMB and AdamW as ALBERT's reference implements them.
//!
//! Per element, with g the clipped gradient (`model/ALBERT.md`, Optimizers):
//! `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²`, `u = m / (√v + ε)`, `u ← u + λw` where the segment decays,
//! `w ← w − lr · r · u`. For AdamW, and for LAMB's segments that do not adapt, r = 1; otherwise r = ‖w‖ / ‖u‖ over the
//! segment, 1 if either norm is 0. The LAMB paper (You et al. 2020, algorithm 2) differs by bias correction of m and v.

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

pub use cuda::scratch_bytes;

use crate::contract::shapes;
use crate::memory::{Length, Memory};
use crate::precision::Precision;

/// A stretch of the flat buffers that is one tensor to the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub length: usize,
    /// Whether weight decay applies.
    pub decays: bool,
    /// Whether LAMB's trust ratio applies.
    pub adapts: bool,
}

/// Which update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// r = 1 everywhere.
    AdamW,
    /// r = ‖w‖ / ‖u‖ where the segment adapts.
    Lamb,
}

/// The constants of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Which update.
    pub rule: Rule,
    /// Learning rate of this step.
    pub lr: f64,
    /// β₁
    pub beta1: f64,
    /// β₂
    pub beta2: f64,
    /// ε, added outside the root.
    pub epsilon: f64,
    /// λ
    pub weight_decay: f64,
    /// Largest norm of the gradient, which is scaled down to it; 0 for no limit.
    pub clip_norm: f64,
    /// `Some(t)`, t = 1 for the first update: divide m by 1 − β₁ᵗ and v by 1 − β₂ᵗ when forming u.
    pub bias_correction: Option<u64>,
}

impl Update {
    /// What a gradient of norm `norm` is multiplied with first, `min(1, clip / ‖g‖)`; `None` if norm or loss is not finite, and
    /// nothing may change.
    pub fn gradient_scale(&self, norm: f64, loss: f64) -> Option<f64> {
        let clips = self.clip_norm > 0.0 && norm > self.clip_norm;
        let scale = if clips { self.clip_norm / norm } else { 1.0 };
        (norm.is_finite() && loss.is_finite()).then_some(scale)
    }
}

/// Operands of an update. Nothing changes unless loss and norm are finite.
pub struct Operands<'a, M: Memory, P: Precision> {
    /// In ascending order of offset, not overlapping, covering what is to be updated.
    pub segments: &'a [Segment],
    /// w
    pub parameters: M::SliceMut<'a, P::Master>,
    /// g, before it is clipped.
    pub gradients: M::Slice<'a, P::Master>,
    /// ‖g‖ over all gradients, `[1]`
    pub norm: M::Slice<'a, f64>,
    /// The loss that g is the gradient of, `[1]`
    pub loss: M::Slice<'a, P::Master>,
    /// m
    pub first_moments: M::SliceMut<'a, P::Master>,
    /// v
    pub second_moments: M::SliceMut<'a, P::Master>,
}

/// Operands of the global gradient norm: `√(Σ g²)`, summed in f64 in a fixed order.
pub struct Norm<'a, M: Memory, P: Precision> {
    /// Any length.
    pub gradients: M::Slice<'a, P::Master>,
    /// `[1]`, stored.
    pub norm: M::SliceMut<'a, f64>,
}

/// Operands of the rounding of weights to what products read: `weights = round(masters)`.
pub struct Weights<'a, M: Memory, P: Precision> {
    /// Any length.
    pub masters: M::Slice<'a, P::Master>,
    /// Length of `masters`, stored.
    pub weights: M::SliceMut<'a, P::Activation>,
}

impl<M: Memory, P: Precision> Weights<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, (): &()) {
        shapes!(self; weights: [self.masters.length()]);
    }
}

impl<M: Memory, P: Precision> Operands<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &Update) {
        let length = self.parameters.length();
        shapes!(self; gradients: [length], first_moments: [length], second_moments: [length]);
        shapes!(self; norm: [1], loss: [1]);
        let mut end = 0;
        for segment in self.segments {
            let after = segment.offset.checked_add(segment.length).filter(|&after| after <= length);
            assert!(
                segment.offset >= end && after.is_some(),
                "{segment:?} after {end} of {length} parameters"
            );
            end = after.unwrap_or(end);
        }
    }
}

impl<M: Memory, P: Precision> Norm<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, (): &()) {
        shapes!(self; norm: [1]);
    }
}
