//! The loop: batch, gradient, guard, update; evaluations, checkpoints and the journal around it.

use std::sync::Arc;
use std::time::Instant;

use super::best::{Best, identity};
use super::error::TrainError;
use super::happening::Happening;
use super::learner::{Learner, Outcome};
use super::metrics::Evaluation;
use super::state::TrainingState;
use crate::config::Interval;
use crate::data::{Batch, BatchStream, DataError, Dataset};
use crate::optimization::{Action, OptimizerSettings, Schedule};
use crate::run::checkpoint::{CheckpointError, Checkpoints, Saved, Snapshot};
use crate::run::journal::{Event, Journal, RESUME};
use crate::run::progress::{Pace, Remaining};
use crate::run::save_schedule::SaveSchedule;
use crate::run::signals::{StopReason, StopRequests};

/// The part of a run, one in so many steps, after which it should have learnt more than frequencies.
const WARNING_SHARE: u64 = 4;

/// How a run goes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Sequences of an optimizer step.
    pub batch_size: usize,
    /// Sequences that are computed together.
    pub micro_batch_size: usize,
    /// Steps between held-out evaluations; 0 for one at the end.
    pub evaluate_every: u64,
    /// Steps or time between checkpoints; there is always one at the end.
    pub save_every: Interval,
    /// Steps between `train` events of the journal.
    pub log_every: u64,
    /// Learning rate by step.
    pub schedule: Schedule,
    /// Everything else of the optimizer.
    pub optimizer: OptimizerSettings,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Finished {
    /// All steps are done.
    Done(Evaluation),
    /// Somebody asked to stop; a verified checkpoint of this step is on the disk.
    Stopped(StopReason, u64),
}

/// A training session under way.
pub struct Trainer {
    /// The model.
    pub learner: Learner,
    /// What it learns from.
    pub dataset: Arc<Dataset>,
    /// What it is evaluated on.
    pub held_out: Vec<Batch>,
    /// How the run goes.
    pub options: TrainerOptions,
    /// Where the run is.
    pub state: TrainingState,
    /// Where it is saved.
    pub checkpoints: Checkpoints,
    /// Where it is recorded.
    pub journal: Journal,
    /// Whether the last event could not be recorded.
    pub journal_fails: bool,
    /// What the newest checkpoint holds.
    pub saved: Option<TrainingState>,
    /// Who may ask it to stop.
    pub stop: StopRequests,
    /// Who watches.
    pub observe: Box<dyn FnMut(Happening<'_>) + Send>,
}

impl Trainer {
    /// Loads the newest checkpoint, if there is one, into model and state; returns its step.
    ///
    /// # Errors
    /// If there are checkpoints and none can be used, or it is of another model.
    pub fn resume(&mut self) -> Result<Option<u64>, TrainError> {
        let newest = self.checkpoints.load_newest::<TrainingState>()?;
        for damaged in &newest.quarantined {
            self.record(Event::new("quarantine").at(damaged.step).with("reason", damaged.reason.as_str()));
        }
        let Some(checkpoint) = newest.checkpoint else { return Ok(None) };
        self.learner
            .restore(&checkpoint.model, &checkpoint.optimizer)
            .map_err(|source| TrainError::OtherModel { step: checkpoint.step, source })?;
        self.state = checkpoint.state;
        self.saved = Some(self.state.clone());
        self.record(Event::new(RESUME).at(self.state.step));
        self.take_up_best()?;
        Ok(Some(self.state.step))
    }

    /// Puts pointers and pruning right by what the state calls the best, after the state was loaded.
    fn take_up_best(&mut self) -> Result<(), TrainError> {
        if let Some(step) = self.state.best.as_ref().map(|best| best.step)
            && !self.checkpoints.contains(step)?
        {
            self.state.best = None;
            (self.observe)(Happening::BestLost { step });
        }
        self.checkpoints.settle(self.state.step, self.state.best.as_ref().map(|best| best.step));
        if let Some(best) =
            self.state.best.as_ref().filter(|best| !best.is_measured_on(&identity(&self.held_out)))
        {
            (self.observe)(Happening::OtherHeldOut { step: best.step });
        }
        Ok(())
    }

    /// Trains until all steps are done or somebody asks to stop.
    ///
    /// A request to stop is heard between micro-batches, of an evaluation too. The gradient of a step that was not finished
    /// is thrown away, so that the step is done again, and an evaluation that was not finished is made again.
    ///
    /// # Errors
    /// If data cannot be read, the guard gives up, nothing was learnt, or the last checkpoint cannot be saved.
    pub fn run(&mut self) -> Result<Finished, TrainError> {
        if self.checkpoints.steps()?.is_empty() {
            self.save()?; // a disk that takes no checkpoint is found out now, not after hours
        }
        let stop = self.stop.clone();
        let is_asked = || stop.pending().is_some();
        let mut pace = Pace::default();
        let mut saves = SaveSchedule::new(self.options.save_every, Instant::now());
        let mut batches = self.batches()?;
        let mut evaluation = None;
        let (mut has_moved, mut has_warned) = (false, false);
        loop {
            if self.state.evaluation_pending {
                let start = Instant::now();
                evaluation = self.evaluate(&is_asked)?;
                pace.evaluation(start.elapsed());
                if let Some(evaluation) = &evaluation {
                    has_warned |= self.warn_of_frequency(evaluation, has_warned);
                }
            }
            let best = evaluation.and_then(|evaluation| {
                Best::of(&evaluation, &identity(&self.held_out), self.state.best.as_ref())
            });
            if let Some(reason) = stop.pending() {
                self.state.best = best.or(self.state.best.take());
                self.save_unless_saved()?;
                return Ok(Finished::Stopped(reason, self.state.step));
            }
            if evaluation.is_some() || has_moved {
                self.save_where_due(best, &mut pace, &mut saves)?;
            }
            if self.state.step >= self.options.steps {
                break;
            }
            evaluation = None;
            let start = Instant::now();
            let batch = batches.next_step();
            let waited = start.elapsed();
            let step = self.state.step;
            if !self.state.guard.refuses(step) {
                let Some(outcome) = self.learner.gradient_unless(&is_asked, &batch.micro_batches, step)?
                else {
                    continue;
                };
                let learning_rate = self.options.schedule.at(step);
                let update = self.options.optimizer.update(self.state.next_update(), learning_rate);
                let scale = update.gradient_scale(outcome.gradient_norm, outcome.loss).unwrap_or(1.0);
                let clipped_norm = scale * outcome.gradient_norm;
                match self.state.guard.judge(step, outcome.loss, clipped_norm) {
                    Action::Apply => {
                        self.learner.update(&update);
                        self.state.updates = self.state.updates.map(|updates| updates + 1);
                        self.state.tokens += outcome.tokens;
                        pace.step(start.elapsed(), waited, outcome.tokens);
                        self.report(&outcome, learning_rate, &pace);
                    }
                    Action::Skip => self.skip(&outcome),
                    Action::RollBack { refused } => {
                        self.roll_back(refused.start)?;
                        batches = self.batches()?;
                        continue;
                    }
                    Action::Stop { bad_steps } => {
                        let newest = self.checkpoints.steps()?.last().copied();
                        self.record(
                            Event::new("diverged")
                                .at(step)
                                .with("bad_steps", format!("{bad_steps:?}").as_str()),
                        );
                        return Err(TrainError::Diverged { bad_steps, newest });
                    }
                }
            }
            has_moved = true;
            self.state.step += 1;
            self.state.position = batch.until;
            let every = self.options.evaluate_every;
            self.state.evaluation_pending =
                self.state.step == self.options.steps || every > 0 && self.state.step.is_multiple_of(every);
        }
        self.save_unless_saved()?;
        // A run that was finished before has made no step and is evaluated for the figures alone.
        let evaluation = match evaluation {
            Some(evaluation) => evaluation,
            None => match (self.evaluate(&is_asked)?, stop.pending()) {
                (Some(evaluation), _) => evaluation,
                (None, reason) => {
                    let reason = reason.expect("an evaluation is cut off on request only");
                    return Ok(Finished::Stopped(reason, self.state.step));
                }
            },
        };
        self.expect_learnt(&evaluation)?;
        Ok(Finished::Done(evaluation))
    }

    /// Tells of a run that has learnt nothing yet from the words around a masked one, once and at the end,
    /// not twice in a row; whether it did.
    fn warn_of_frequency(&mut self, evaluation: &Evaluation, has_warned: bool) -> bool {
        let Schedule { steps, warmup_steps, learning_rate, .. } = self.options.schedule;
        let step = evaluation.global_step;
        let is_soon_over = steps - step <= self.options.evaluate_every;
        let is_late = step >= warmup_steps.max(steps / WARNING_SHARE) && !is_soon_over && !has_warned;
        // Of a run that is going to be refused at its end the error says what to do.
        let is_last = step == steps && self.expect_learnt(evaluation).is_ok();
        let is_due = (is_late || is_last) && !evaluation.beats_frequency();
        if is_due {
            self.record(Event::new("no_better_than_frequency").at(step));
            (self.observe)(Happening::NoBetterThanFrequency { evaluation, learning_rate });
        }
        is_due
    }

    /// Refuses to call a run finished that has not learnt anything.
    fn expect_learnt(&self, evaluation: &Evaluation) -> Result<(), TrainError> {
        let steps = self.state.step;
        if self.state.updates == Some(0) {
            return Err(TrainError::NothingLearnt { steps });
        }
        let (loss, uniform) =
            (evaluation.masked_lm_loss, (self.learner.albert().config().vocab_size as f64).ln());
        // Twice the loss of knowing nothing is beyond any fluctuation of a few held-out words.
        let is_useless = !evaluation.loss.is_finite() || loss > 2.0 * uniform;
        if is_useless { Err(TrainError::Useless { steps, loss, uniform }) } else { Ok(()) }
    }

    /// Evaluates on what is held out, and tells; `None` where somebody asked to stop.
    fn evaluate(&mut self, stop: &dyn Fn() -> bool) -> Result<Option<Evaluation>, TrainError> {
        let evaluation = self.learner.evaluate(&self.held_out, self.state.step, stop)?;
        if let Some(evaluation) = &evaluation {
            self.state.evaluation_pending = false;
            self.record(evaluation_event(evaluation));
            (self.observe)(Happening::Evaluated(evaluation));
        }
        Ok(evaluation)
    }

    fn batches(&self) -> Result<BatchStream, DataError> {
        let TrainerOptions { batch_size, micro_batch_size, .. } = self.options;
        BatchStream::start(self.dataset.clone(), self.state.position, batch_size, micro_batch_size)
    }

    /// Saves a checkpoint where one is due: at the end, because it is the best so far, somebody asked, or it is time.
    fn save_where_due(
        &mut self,
        best: Option<Best>,
        pace: &mut Pace,
        saves: &mut SaveSchedule,
    ) -> Result<(), TrainError> {
        let step = self.state.step;
        let is_last = step == self.options.steps;
        let is_asked = self.stop.take_save_request();
        let start = Instant::now();
        if is_last || best.is_some() || is_asked || saves.is_due(step, start) {
            let earlier = self.state.best.clone();
            self.state.best = best.or(self.state.best.take());
            match self.save() {
                Ok(_) => {
                    saves.saved(start);
                    pace.save(start.elapsed());
                }
                // Training goes on from memory: the disk may have room again.
                Err(TrainError::Checkpoint(error)) if !is_last && is_of_disk(&error) => {
                    self.state.best = earlier; // the best that there is a checkpoint of
                    self.record(Event::new("not_saved").at(step).with("error", error.to_string().as_str()));
                    let Some(retry) = saves.refused(Instant::now()) else { return Err(error.into()) };
                    (self.observe)(Happening::NotSaved { error: &error, retry });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Saves what is not on the disk yet: a checkpoint of many gigabytes is not written twice.
    fn save_unless_saved(&mut self) -> Result<(), TrainError> {
        if self.saved.as_ref() != Some(&self.state) {
            self.save()?;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<Saved, TrainError> {
        let start = Instant::now();
        let (state, checkpoints) = (&self.state, &mut self.checkpoints);
        let saved = self.learner.with_tensors(|model, optimizer| {
            let best = state.best.as_ref().map(|best| best.step);
            checkpoints.save(&Snapshot { step: state.step, best, state, model, optimizer })
        })?;
        self.saved = Some(self.state.clone());
        let (step, time) = (self.state.step, start.elapsed());
        self.record(
            Event::new("save").at(step).with("seconds", time.as_secs_f64()).with("bytes", saved.bytes),
        );
        let synced = self.journal.sync();
        self.tell_of_journal(synced);
        (self.observe)(Happening::Saved { step, time });
        Ok(saved)
    }

    fn skip(&mut self, outcome: &Outcome) {
        let (step, Outcome { loss, gradient_norm, .. }) = (self.state.step, *outcome);
        let position = self.state.position;
        self.record(
            Event::new("skip")
                .at(step)
                .with("loss", loss)
                .with("gradient_norm", gradient_norm)
                .with("epoch", u64::from(position.epoch))
                .with("index", position.index),
        );
        (self.observe)(Happening::Skipped { step, loss, gradient_norm });
    }

    /// Goes back to the newest checkpoint that is not younger than `step`, or the oldest there is.
    fn roll_back(&mut self, step: u64) -> Result<(), TrainError> {
        let steps = self.checkpoints.steps()?;
        let (older, younger): (Vec<u64>, Vec<u64>) = steps.into_iter().partition(|&saved| saved <= step);
        let mut candidates = older.into_iter().rev().chain(younger);
        // A damaged checkpoint is passed over for the next one.
        let checkpoint = loop {
            let Some(candidate) = candidates.next() else {
                break self.checkpoints.load::<TrainingState>(step)?;
            };
            match self.checkpoints.load::<TrainingState>(candidate) {
                Err(CheckpointError::Damaged { .. }) => {}
                checkpoint => break checkpoint?,
            }
        };
        let to = checkpoint.step;
        self.learner
            .restore(&checkpoint.model, &checkpoint.optimizer)
            .map_err(|source| TrainError::OtherModel { step: to, source })?;
        self.checkpoints.supersede_after(to)?;
        let from = self.state.step;
        let guard = std::mem::take(&mut self.state.guard);
        self.state = TrainingState { guard, ..checkpoint.state };
        self.record(Event::new(RESUME).at(to).with("rolled_back_from", from));
        (self.observe)(Happening::RolledBack { from, to });
        self.take_up_best()?;
        Ok(())
    }

    fn report(&mut self, outcome: &Outcome, learning_rate: f64, pace: &Pace) {
        let step = self.state.step + 1;
        if step.is_multiple_of(self.options.log_every.max(1)) || step == 1 {
            let mut event = Event::new("train")
                .at(step)
                .with("loss", outcome.loss)
                .with("masked_lm_loss", outcome.masked_lm.mean_loss())
                .with("masked_lm_accuracy", outcome.masked_lm.accuracy())
                .with("sentence_order_loss", outcome.sentence_order.mean_loss())
                .with("sentence_order_accuracy", outcome.sentence_order.accuracy())
                .with("learning_rate", learning_rate)
                .with("gradient_norm", outcome.gradient_norm)
                .with("tokens", self.state.tokens);
            // Not known before the second step.
            for (name, value) in
                [("tokens_per_second", pace.tokens_per_second()), ("waiting_share", pace.waiting_share())]
            {
                if let Some(value) = value {
                    event = event.with(name, value);
                }
            }
            self.record(event);
        }
        let left = self.options.steps - step;
        let due = |every: u64| left.checked_div(every).unwrap_or(0);
        let remaining = Remaining {
            steps: left,
            evaluations: due(self.options.evaluate_every) + 1,
            saves: match self.options.save_every {
                Interval::Steps(every) => due(every) + 1,
                Interval::Time(_) => 1,
            },
        };
        (self.observe)(Happening::Step { step, outcome, learning_rate, pace, remaining });
    }

    fn record(&mut self, event: Event) {
        let recorded = self.journal.record(&event);
        let synced = if self.journal_fails { self.journal.sync() } else { Ok(()) };
        self.tell_of_journal(recorded.and(synced));
    }

    /// Tells when the journal begins to fail, and when it goes on: not at every event between.
    fn tell_of_journal(&mut self, result: std::io::Result<()>) {
        if self.journal_fails != result.is_err() {
            self.journal_fails = result.is_err();
            (self.observe)(match &result {
                Err(error) => Happening::JournalFailed(error),
                Ok(()) => Happening::JournalGoesOn,
            });
        }
    }
}

/// Whether waiting may help: the disk may have room again.
fn is_of_disk(error: &CheckpointError) -> bool {
    matches!(error, CheckpointError::NotSaved { .. } | CheckpointError::Io { .. })
}

fn evaluation_event(evaluation: &Evaluation) -> Event {
    Event::new("evaluation")
        .at(evaluation.global_step)
        .with("loss", evaluation.loss)
        .with("masked_lm_loss", evaluation.masked_lm_loss)
        .with("masked_lm_accuracy", evaluation.masked_lm_accuracy)
        .with("sentence_order_loss", evaluation.sentence_order_loss)
        .with("sentence_order_accuracy", evaluation.sentence_order_accuracy)
        .with("majority_masked_lm_accuracy", evaluation.majority_masked_lm_accuracy)
}
