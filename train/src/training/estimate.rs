//! How long a run is going to take, before its first step.

use std::time::{Duration, Instant};

use engine::RunError;

use super::learner::Learner;
use super::objective::{Objective, Position};
use super::trainer::TrainerOptions;

/// A micro-batch that takes less is measured again: its first run pays for memory that was never touched.
const BRIEF: Duration = Duration::from_secs(1);

/// Forward is about a third of forward and backward: backward multiplies matrices twice for each time that forward does.
const FORWARD_SHARE: f64 = 1.0 / 3.0;

/// What a run is going to take on this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Forward and backward of one micro-batch, as measured.
    pub micro_batch: Duration,
    /// Micro-batches of a step.
    pub micro_batches: u64,
    /// Sequences of the one that was measured.
    pub sequences: usize,
    /// Seconds of all steps that are left, evaluations included; saving is left out.
    pub seconds_left: f64,
    /// How often the whole run sees each sample of the training data.
    pub epochs: f64,
}

impl Estimate {
    /// Measures one micro-batch, the one at `position`, whose sequences are announced; no parameter changes.
    ///
    /// # Errors
    /// If it does not fit the plan.
    pub fn measure(
        learner: &mut Learner,
        objective: &std::sync::Arc<dyn Objective>,
        position: Position,
        options: &TrainerOptions,
        steps_done: u64,
        announce: &dyn Fn(usize),
    ) -> Result<Self, RunError> {
        let step = objective.clone().steps(position).next().expect("an objective's steps have no end");
        let micro_batch = &step.micro_batches[..1];
        announce(micro_batch[0].sequences());
        let records = learner.runtime().records();
        let mut time = || -> Result<Duration, RunError> {
            let start = Instant::now();
            learner.gradient(micro_batch, steps_done)?;
            Ok(start.elapsed())
        };
        if records {
            // Kernels are compiled in the first run, and recorded in the second.
            time()?;
            time()?;
        }
        let first = time()?;
        let time = if first < BRIEF { time()? } else { first };
        let sizes = (step.micro_batches.len() as u64, micro_batch[0].sequences());
        let data = (objective.evaluation_batches(), objective.examples());
        Ok(Self::new(time, sizes, options, data, steps_done))
    }

    /// What follows from the time of one micro-batch: of so many in a step, with so many sequences; where an evaluation has
    /// so many micro-batches, and an epoch so many examples.
    fn new(
        micro_batch: Duration,
        (micro_batches, sequences): (u64, usize),
        options: &TrainerOptions,
        (held_out, examples): (u64, u64),
        steps_done: u64,
    ) -> Self {
        let &TrainerOptions { steps, batch_size, evaluate_every, .. } = options;
        let left = steps.saturating_sub(steps_done) as f64;
        let evaluations = left / evaluate_every.max(1) as f64;
        let of_step = micro_batches as f64 * micro_batch.as_secs_f64();
        let of_evaluation = held_out as f64 * FORWARD_SHARE * micro_batch.as_secs_f64();
        Self {
            micro_batch,
            micro_batches,
            sequences,
            seconds_left: left * of_step + evaluations * of_evaluation,
            epochs: steps as f64 * batch_size as f64 / examples as f64,
        }
    }

    /// Seconds of a step.
    pub fn step_seconds(&self) -> f64 {
        self.micro_batches as f64 * self.micro_batch.as_secs_f64()
    }

    /// Steps that an hour holds, at least one, where each has `micro_batches`.
    pub fn steps_an_hour(&self, micro_batches: u64) -> u64 {
        let step = micro_batches as f64 * self.micro_batch.as_secs_f64();
        ((3600.0 / step) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interval;
    use crate::optimization::{OptimizerSettings, Schedule};

    #[test]
    fn what_is_left_follows_from_one_micro_batch() {
        let options = TrainerOptions {
            steps: 1000,
            batch_size: 33,
            evaluate_every: 100,
            patience: None,
            save_every: Interval::Steps(1),
            log_every: 10,
            schedule: Schedule::default(),
            optimizer: OptimizerSettings::default(),
        };
        let estimate = Estimate::new(Duration::from_millis(300), (5, 8), &options, (20, 3300), 600);
        assert_eq!((estimate.micro_batches, estimate.epochs), (5, 10.0));
        approx::assert_relative_eq!(estimate.step_seconds(), 1.5);
        // 400 steps of 1.5 s and four evaluations of 20 · 0.1 s.
        approx::assert_relative_eq!(estimate.seconds_left, 608.0);
        assert_eq!((estimate.steps_an_hour(5), estimate.steps_an_hour(1)), (2400, 12_000));
        let slow = Estimate::new(Duration::from_secs(9000), (5, 8), &options, (1, 1), 0);
        assert_eq!(slow.steps_an_hour(1), 1);
    }
}
