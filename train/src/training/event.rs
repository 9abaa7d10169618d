//! What the loop tells those who watch.

use std::time::Duration;

use super::alarm::Alarm;
use super::estimate::Estimate;
use super::metrics::Metrics;
use super::objective::Terms;
use super::trainer::TrainerOptions;
use crate::run::checkpoint::CheckpointError;
use crate::run::journal::Event;
use crate::run::progress::{Figure, Pace, Remaining};

/// Something a person may want to see, or that is worth noting.
#[derive(Clone, Debug)]
pub enum TrainEvent<'a> {
    /// Something to be told in words.
    Said(&'a str),
    /// Something to be noted only.
    Noted(&'a str),
    /// What is left was estimated from one micro-batch.
    Estimated {
        /// How the work is spoken of.
        terms: &'static Terms,
        /// The estimate.
        estimate: &'a Estimate,
        /// How the run goes.
        options: &'a TrainerOptions,
        /// Steps done.
        step: u64,
    },
    /// The loop begins, in a run of so many steps.
    Begun {
        /// What the run is called in a line of progress.
        task: &'a str,
        /// Steps of the whole run.
        steps: u64,
    },
    /// A step was done.
    Step {
        /// Steps done.
        step: u64,
        /// What it found, as a line of progress shows it.
        figures: &'a [Figure<'a>],
        /// Speed of this session.
        pace: &'a Pace,
        /// What is left.
        remaining: Remaining,
    },
    /// A held-out evaluation was made.
    Evaluated {
        /// Steps done.
        step: u64,
        /// Its figures.
        metrics: &'a Metrics,
        /// The same in words.
        words: &'a str,
    },
    /// A good part of the run is over, or all of it, and nothing was learnt that needs a model.
    NotLearnt {
        /// Steps done.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
        /// What shows it.
        finding: &'a str,
        /// The highest learning rate of the run.
        learning_rate: f64,
    },
    /// Something was found that should not be.
    Alarm {
        /// Steps done.
        step: u64,
        /// What.
        alarm: &'a Alarm,
    },
    /// Evaluations have not become better for as long as `patience` says: the run ends here.
    OutOfPatience {
        /// Steps done.
        step: u64,
        /// Step of the best evaluation.
        best: u64,
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
    /// An event of the journal; it is told whether or not the journal can be written.
    Recorded(&'a Event),
    /// The journal cannot be written from now on; told once.
    JournalFailed(&'a std::io::Error),
    /// It can again, and nothing is missing.
    JournalGoesOn,
    /// The loop has ended, however.
    Ended,
}
