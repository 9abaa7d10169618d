//! What the optimizer is told, besides the learning rate.

use kernels::optimizer::{Rule, Update};
use serde::{Deserialize, Serialize};

/// The optimizers (`model/ALBERT.md`, Optimizers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Layer-wise adaptive moments: each tensor's update is scaled by ‖weight‖/‖update‖.
    Lamb,
    /// Adam with decoupled weight decay: the same update with a ratio of 1.
    Adamw,
}

impl std::fmt::Display for OptimizerKind {
    /// As it is called, not as a setting is spelt.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OptimizerKind::Lamb => "LAMB",
            OptimizerKind::Adamw => "AdamW",
        })
    }
}

/// Settings of LAMB and AdamW. The defaults are ALBERT's: no bias correction, epsilon outside the root.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerSettings {
    /// Which one.
    pub kind: OptimizerKind,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay, added to the update before the ratio; not for biases and layer norms.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; it is scaled down to it. 0 for no limit.
    pub clip_norm: f64,
    /// Whether the moments are divided by 1 − βᵗ: with it, LAMB is the paper's; ALBERT's code does without.
    pub bias_correction: bool,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        OptimizerSettings {
            kind: OptimizerKind::Lamb,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            clip_norm: 1.0,
            bias_correction: false,
        }
    }
}

impl OptimizerSettings {
    /// The constants of update number `number` (1 for the first).
    pub fn update(&self, number: u64, learning_rate: f64) -> Update {
        Update {
            rule: match self.kind {
                OptimizerKind::Lamb => Rule::Lamb,
                OptimizerKind::Adamw => Rule::AdamW,
            },
            lr: learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            bias_correction: self.bias_correction.then_some(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gradient_that_is_too_long_is_scaled() {
        let settings = OptimizerSettings::default();
        let scale = |norm| settings.update(1, 0.1).gradient_scale(norm, 2.0);
        assert_eq!([0.0, 0.5, 1.0, 4.0].map(scale), [1.0, 1.0, 1.0, 0.25].map(Some));
        let without = OptimizerSettings { clip_norm: 0.0, ..settings };
        assert_eq!(without.update(1, 0.1).gradient_scale(1e9, 2.0), Some(1.0));
    }

    #[test]
    fn the_papers_form_counts_updates() {
        let paper = OptimizerSettings { bias_correction: true, ..OptimizerSettings::default() };
        assert_eq!(paper.update(3, 0.1).bias_correction, Some(3));
        assert_eq!(OptimizerSettings::default().update(3, 0.1).bias_correction, None);
    }
}
