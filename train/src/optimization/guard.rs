//! What to do when the loss or the gradient is not a number: skip, then go back, then give up.
//!
//! The guard only decides; the trainer acts. It never touches a step whose numbers are finite: a run without an event is the
//! same, bit for bit, as a run without a guard. No bad number is hidden either: every decision is an event of the journal.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Bad steps within [`WINDOW`] that are skipped before the run goes back.
const SKIPS: usize = 3;

/// Steps over which bad ones are counted together, and by which the run goes back before the first of them: the weights
/// were on their way to trouble before it showed.
const WINDOW: u64 = 50;

/// How often a run goes back before it gives up.
const ROLLBACKS: usize = 2;

/// The longest gradient that is applied: the second moment, which holds its square, leaves f32 at √(2¹²⁸) = 1.8e19, and
/// from then on the weights it belongs to would not move any more.
const LONGEST: f64 = 1e19;

/// What to do with the step just computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its numbers can be used: update the weights.
    Apply,
    /// Leave weights and moments as they are and go on with the next batch.
    Skip,
    /// Load the newest checkpoint whose step is at most `refused.start` and go on from there, keeping this guard and not
    /// the one in the checkpoint.
    RollBack {
        /// The steps whose batches are passed over from now on ([`Guard::refuses`]), so that the run takes another way.
        refused: Range<u64>,
    },
    /// Give up.
    Stop {
        /// The steps whose batches led to bad numbers since the run last went back, the latest last.
        bad_steps: Vec<u64>,
    },
}

/// The state of the guard. It belongs into a checkpoint, so that a resumed run decides as an uninterrupted one would.
///
/// ```
/// use train::optimization::{Action, Guard};
/// let mut guard = Guard::default();
/// assert_eq!(guard.judge(7, 2.3, 0.8), Action::Apply);
/// assert_eq!(guard.judge(8, f64::NAN, 0.8), Action::Skip);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Bad steps that are still counted.
    recent: Vec<u64>,
    /// What each return to a checkpoint ruled out.
    refused: Vec<Range<u64>>,
    total: u64,
}

impl Guard {
    /// Decides about the step number `step` (steps done before it), given the loss of its batch and the norm of the gradient
    /// that would be applied, after clipping; it is NaN where the norm before clipping is not finite.
    pub fn judge(&mut self, step: u64, loss: f64, gradient_norm: f64) -> Action {
        if loss.is_finite() && gradient_norm.is_finite() && gradient_norm <= LONGEST {
            return Action::Apply;
        }
        self.total += 1;
        self.recent.retain(|&bad| bad + WINDOW > step);
        self.recent.push(step);
        if self.recent.len() <= SKIPS {
            return Action::Skip;
        }
        let bad_steps = std::mem::take(&mut self.recent);
        if self.refused.len() == ROLLBACKS {
            return Action::Stop { bad_steps };
        }
        let refused = bad_steps[0].saturating_sub(WINDOW)..step + 1;
        self.refused.push(refused.clone());
        Action::RollBack { refused }
    }

    /// Whether the run, having gone back, passes over the batch of this step: nothing is computed, the step counts.
    pub fn refuses(&self, step: u64) -> bool {
        self.refused.iter().any(|range| range.contains(&step))
    }

    /// Bad steps met so far, for the journal and the final report.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: [(f64, f64); 5] =
        [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, f64::NAN), (1.0, f64::NEG_INFINITY), (1.0, 1e20)];

    #[test]
    fn finite_numbers_change_nothing() {
        let mut guard = Guard::default();
        for step in 0..1000 {
            assert_eq!(guard.judge(step, 1e30, 1e19), Action::Apply);
        }
        assert_eq!(guard, Guard::default());
    }

    #[test]
    fn each_kind_of_bad_number_is_skipped() {
        for (loss, norm) in BAD {
            assert_eq!(Guard::default().judge(0, loss, norm), Action::Skip);
        }
    }

    #[test]
    fn the_ladder_is_skip_then_back_then_stop() {
        let mut guard = Guard::default();
        for step in [110, 120, 130] {
            assert_eq!(guard.judge(step, f64::NAN, 1.0), Action::Skip);
        }
        assert_eq!(guard.judge(140, f64::NAN, 1.0), Action::RollBack { refused: 60..141 });
        assert_eq!([59, 60, 140, 141].map(|step| guard.refuses(step)), [false, true, true, false]);
        for step in [150, 160, 170] {
            assert_eq!(guard.judge(step, f64::NAN, 1.0), Action::Skip);
        }
        assert_eq!(guard.judge(180, f64::NAN, 1.0), Action::RollBack { refused: 100..181 });
        for step in [181, 182, 183] {
            assert_eq!(guard.judge(step, f64::NAN, 1.0), Action::Skip);
        }
        let stop = Action::Stop { bad_steps: vec![181, 182, 183, 184] };
        assert_eq!(guard.judge(184, f64::NAN, 1.0), stop);
        assert_eq!(guard.total(), 12);
    }

    #[test]
    fn rare_bad_steps_are_skipped_for_ever() {
        let mut guard = Guard::default();
        for step in (0..10_000).step_by(17) {
            assert_eq!(guard.judge(step, f64::NAN, 1.0), Action::Skip, "three within 50 steps");
        }
    }

    #[test]
    fn a_resumed_guard_decides_alike() {
        let mut whole = Guard::default();
        let mut resumed = Guard::default();
        for step in 0..12 {
            let text = serde_json::to_string(&resumed).unwrap();
            resumed = serde_json::from_str(&text).unwrap();
            let norm = if step % 3 == 0 { f64::NAN } else { 1.0 };
            assert_eq!(resumed.judge(step, 1.0, norm), whole.judge(step, 1.0, norm));
            assert_eq!(resumed, whole);
        }
        assert!(whole.refuses(3));
    }
}
