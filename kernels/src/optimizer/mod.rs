//! One parameter update over flat buffers: LAMB and AdamW as ALBERT's reference implements them.
//!
//! Per element, with g the clipped gradient (`model/ALBERT.md`, Optimizers):
//! `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²`, `u = m / (√v + ε)`, `u ← u + λw` where the segment decays,
//! `w ← w − lr · r · u`. For AdamW, and for LAMB's segments that do not adapt, r = 1; otherwise r = ‖w‖ / ‖u‖ over the
//! segment, 1 if either norm is 0. The LAMB paper (You et al. 2020, algorithm 2) differs by bias correction of m and v.

pub(crate) mod cpu;
pub(crate) mod reference;

use crate::contract::shapes;

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
    /// What gradients are multiplied with first: `min(1, clip / ‖g‖)`.
    pub gradient_scale: f64,
    /// `Some(t)`, t = 1 for the first update: divide m by 1 − β₁ᵗ and v by 1 − β₂ᵗ when forming u.
    pub bias_correction: Option<u64>,
}

/// Operands of an update.
#[derive(Debug)]
pub struct Operands<'a, R> {
    /// In ascending order of offset, not overlapping, covering what is to be updated.
    pub segments: &'a [Segment],
    /// w
    pub parameters: &'a mut [R],
    /// g, before `gradient_scale`.
    pub gradients: &'a [R],
    /// m
    pub first_moments: &'a mut [R],
    /// v
    pub second_moments: &'a mut [R],
}

/// Operands of the global gradient norm: `√(Σ g²)`, summed in f64 in a fixed order.
#[derive(Debug)]
pub struct Norm<'a, R> {
    /// Any length.
    pub gradients: &'a [R],
    /// `[1]`, stored.
    pub norm: &'a mut [f64],
}

impl<R> Operands<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &Update) {
        let length = self.parameters.len();
        shapes!(self; gradients: [length], first_moments: [length], second_moments: [length]);
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

impl<R> Norm<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, (): &()) {
        shapes!(self; norm: [1]);
    }
}
