//! What the loop tells those who watch.

use std::time::Duration;

use super::learner::Outcome;
use super::metrics::Evaluation;
use crate::run::checkpoint::CheckpointError;
use crate::run::progress::{Pace, Remaining};

/// Something a person may want to see.
#[derive(Clone, Debug)]
pub enum Happening<'a> {
    /// A step was done.
    Step {
        /// Steps done.
        step: u64,
        /// What it found.
        outcome: &'a Outcome,
        /// Its learning rate.
        learning_rate: f64,
        /// Speed of this session.
        pace: &'a Pace,
        /// What is left.
        remaining: Remaining,
    },
    /// A held-out evaluation was made.
    Evaluated(&'a Evaluation),
    /// A good part of the run is over, or all of it, and masked words are told no better than by frequency.
    NoBetterThanFrequency {
        /// The evaluation that shows it.
        evaluation: &'a Evaluation,
        /// The highest learning rate of the run.
        learning_rate: f64,
    },
    /// A checkpoint was saved.
    Saved {
        /// Its step.
        step: u64,
        /// How long it took.
        time: Duration,
    },
    /// A checkpoint was not saved; the run goes on.
    NotSaved {
        /// Why.
        error: &'a CheckpointError,
        /// When it is tried again.
        retry: Duration,
    },
    /// The best checkpoint is not there any more: the next evaluation is the best.
    BestLost {
        /// Its step.
        step: u64,
    },
    /// What is held out is not what the best evaluation was made on: the next evaluation is the best.
    OtherHeldOut {
        /// Step of the best evaluation.
        step: u64,
    },
    /// A batch's loss or gradient was not finite and it was passed over.
    Skipped {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
        /// Its gradient's norm.
        gradient_norm: f64,
    },
    /// The run went back.
    RolledBack {
        /// From this step.
        from: u64,
        /// To this one.
        to: u64,
    },
    /// The journal cannot be written from now on; told once.
    JournalFailed(&'a std::io::Error),
    /// It can again, and nothing is missing.
    JournalGoesOn,
}
