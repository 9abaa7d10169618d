//! Where a run is.

use serde::{Deserialize, Serialize};

use super::best::Best;
use super::objective::Position;
use crate::optimization::Guard;

/// Where a run is: what a checkpoint holds beside weights and moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Steps done; those whose batch was passed over are among them.
    pub step: u64,
    /// Updates of the weights, by which bias correction counts. `None` in a run that was begun by an earlier version: there
    /// it counts steps.
    #[serde(default)]
    pub updates: Option<u64>,
    /// The evaluation that is due at this step was cut off by a request to stop: it comes before the next step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluation_pending: bool,
    /// The next example.
    pub position: Position,
    /// Real tokens learnt from.
    pub tokens: u64,
    /// What the guard remembers.
    pub guard: Guard,
    /// The best evaluation so far.
    pub best: Option<Best>,
}

impl Default for TrainingState {
    /// Before the first step.
    fn default() -> Self {
        Self {
            step: 0,
            updates: Some(0),
            evaluation_pending: false,
            position: Position::default(),
            tokens: 0,
            guard: Guard::default(),
            best: None,
        }
    }
}

impl TrainingState {
    /// The number of the next update, 1 for the first.
    pub fn next_update(&self) -> u64 {
        self.updates.unwrap_or(self.step) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_counted_and_in_earlier_runs_steps() {
        let fresh = TrainingState::default();
        assert_eq!(fresh.next_update(), 1);
        let skipped = TrainingState { step: 9, updates: Some(4), ..fresh };
        assert_eq!(skipped.next_update(), 5, "what was passed over moved nothing");
        let mut text = serde_json::to_value(&skipped).unwrap();
        assert_eq!(text.get("evaluation_pending"), None, "in what is saved at any other time it is left out");
        text.as_object_mut().unwrap().remove("updates");
        let earlier: TrainingState = serde_json::from_value(text).unwrap();
        assert_eq!(earlier.next_update(), 10, "as it was begun, so it goes on");
    }
}
