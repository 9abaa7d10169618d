//! The loop: batch, gradient, guard, update; evaluations, checkpoints and the journal around it.

mod telling;

use std::sync::Arc;
use std::time::Instant;

use super::best::Best;
use super::error::TrainError;
use super::event::TrainEvent;
use super::interval::{Interval, StepTime};
use super::learner::Learner;
use super::metrics::Metrics;
use super::objective::Objective;
use super::state::TrainingState;
use super::stream::BatchStream;
use crate::config;
use crate::optimization::{Action, OptimizerSettings, Schedule};
use crate::run::checkpoint::{CheckpointError, Checkpoints, Saved, Snapshot};
use crate::run::journal::{Event, Journal, RESUME};
use crate::run::progress::Pace;
use crate::run::save_schedule::SaveSchedule;
use crate::run::signals::{StopReason, StopRequests};
use crate::threads::ThreadsError;

/// The part of a run, one in so many steps, after which it should have learnt more than frequencies.
const WARNING_SHARE: u64 = 4;

/// How a run goes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Optimizer steps of the whole run.
    pub steps: u64,
    /// Examples of an optimizer step.
    pub batch_size: usize,
    /// Steps between held-out evaluations; 0 for one at the end.
    pub evaluate_every: u64,
    /// Evaluations without a better one after which the run ends before its steps are done.
    pub patience: Option<u64>,
    /// Steps or time between checkpoints; there is always one at the end.
    pub save_every: config::Interval,
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
    Done(Metrics),
    /// Somebody asked to stop; a verified checkpoint of this step is on the disk.
    Stopped(StopReason, u64),
}

/// A training session under way.
pub struct Trainer {
    /// The model.
    pub learner: Learner,
    /// What it is trained for: what it learns from, and what it is evaluated on.
    pub objective: Arc<dyn Objective>,
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
    /// The steps since the journal's last line.
    pub interval: Interval,
    /// Alarms of this session.
    pub alarms: Vec<&'static str>,
    /// What the newest checkpoint holds.
    pub saved: Option<TrainingState>,
    /// Who may ask it to stop.
    pub stop: StopRequests,
    /// Who watches.
    pub observe: Arc<dyn Fn(TrainEvent<'_>) + Send + Sync>,
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
            (self.observe)(TrainEvent::BestLost { step });
        }
        self.checkpoints.settle(self.state.step, self.state.best.as_ref().map(|best| best.step));
        let measured_on = self.objective.measured_on();
        if let Some(best) = self.state.best.as_ref().filter(|best| !best.is_measured_on(&measured_on)) {
            (self.observe)(TrainEvent::OtherHeldOut { step: best.step });
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
                    has_warned |= self.warn_if_not_learnt(evaluation, has_warned);
                }
            }
            let best = evaluation.as_ref().and_then(|evaluation| self.best_of(evaluation));
            if let Some(reason) = stop.pending() {
                self.state.best = best.or(self.state.best.take());
                self.save_unless_saved()?;
                return Ok(Finished::Stopped(reason, self.state.step));
            }
            if evaluation.is_some() || has_moved {
                self.save_where_due(best, &mut pace, &mut saves)?;
            }
            if self.state.step >= self.options.steps || self.is_out_of_patience() {
                break;
            }
            evaluation = None;
            let start = Instant::now();
            let Some(batch) = batches.next_step(&is_asked) else { continue };
            let waited = start.elapsed();
            let step = self.state.step;
            if !self.state.guard.refuses(step) {
                let objective = self.objective.clone();
                let outcome = self.learner.gradient_unless(
                    &is_asked,
                    &batch.micro_batches,
                    step,
                    &mut |inputs, outputs, sums| objective.tally(inputs, outputs, sums),
                )?;
                let Some(outcome) = outcome else { continue };
                let learning_rate = self.options.schedule.at(step);
                let update = self.options.optimizer.update(self.state.next_update(), learning_rate);
                let scale = update.gradient_scale(outcome.gradient_norm, outcome.loss).unwrap_or(1.0);
                let clipped_norm = scale * outcome.gradient_norm;
                match self.state.guard.judge(step, outcome.loss, clipped_norm) {
                    Action::Apply if !self.learner.update(&update)?.applied => self.skip(&outcome),
                    Action::Apply => {
                        self.state.updates = self.state.updates.map(|updates| updates + 1);
                        self.state.tokens += outcome.tokens;
                        let time = StepTime { whole: start.elapsed(), waiting: waited };
                        pace.step(time.whole, waited, outcome.tokens);
                        self.report(&outcome, learning_rate, time, &pace);
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
                        return Err(TrainError::Diverged { bad_steps, newest, terms: objective.terms() });
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

    /// Takes the weights of the best evaluation, where the finished run has better ones than its last; their step and figures,
    /// which are `last` where they are the last; `None` where somebody asked to stop.
    ///
    /// # Errors
    /// If the checkpoint cannot be loaded.
    pub fn take_best(&mut self, last: Metrics) -> Result<Option<(u64, Metrics)>, TrainError> {
        let step = match &self.state.best {
            Some(best) if best.step != self.state.step => best.step,
            _ => return Ok(Some((self.state.step, last))),
        };
        let checkpoint = match self.checkpoints.load::<TrainingState>(step) {
            Ok(checkpoint) => checkpoint,
            // The last weights are as good as any that there are.
            Err(CheckpointError::Damaged { .. } | CheckpointError::Missing { .. }) => {
                (self.observe)(TrainEvent::BestLost { step });
                return Ok(Some((self.state.step, last)));
            }
            Err(error) => return Err(error.into()),
        };
        self.learner
            .restore(&checkpoint.model, &checkpoint.optimizer)
            .map_err(|source| TrainError::OtherModel { step, source })?;
        let stop = self.stop.clone();
        let is_asked = || stop.pending().is_some();
        let metrics = self.objective.evaluate(&mut self.learner.evaluator(&is_asked))?;
        Ok(metrics.map(|metrics| (step, metrics)))
    }

    /// An evaluation of this step as the best, if it is.
    fn best_of(&self, evaluation: &Metrics) -> Option<Best> {
        let (objective, earlier) = (&self.objective, self.state.best.as_ref());
        Best::of(self.state.step, evaluation, objective.selects_by(), &objective.measured_on(), earlier)
    }

    /// Whether evaluations have not become better for as long as is waited for. What the state says of the best is enough to
    /// know, so that a run that is continued ends where it would have.
    fn is_out_of_patience(&self) -> bool {
        let (step, every) = (self.state.step, self.options.evaluate_every.max(1));
        let Some((patience, best)) = self.options.patience.zip(self.state.best.as_ref()) else {
            return false;
        };
        let is_out = step.saturating_sub(best.step) / every >= patience;
        if is_out {
            (self.observe)(TrainEvent::OutOfPatience { step, best: best.step });
        }
        is_out
    }

    /// Tells of a run that has learnt nothing yet that needs a model, once and at the end, not twice in a row; whether it did.
    fn warn_if_not_learnt(&mut self, evaluation: &Metrics, has_warned: bool) -> bool {
        let Schedule { steps, warmup_steps, learning_rate, .. } = self.options.schedule;
        let step = self.state.step;
        let is_soon_over = steps - step <= self.options.evaluate_every;
        let is_late = step >= warmup_steps.max(steps / WARNING_SHARE);
        let best = self.state.best.as_ref().map(|best| best.value);
        for alarm in self.objective.alarms(evaluation, best, is_late && (!is_soon_over || step == steps)) {
            self.alarm(step, alarm);
        }
        let is_late = is_late && !is_soon_over && !has_warned;
        // Of a run that is going to be refused at its end the error says what to do.
        let is_last = step == steps && self.expect_learnt(evaluation).is_ok();
        let finding = self.objective.not_learnt(evaluation).filter(|_| is_late || is_last);
        if let Some(finding) = &finding {
            self.record(Event::new(finding.event).at(step).with("words", finding.words.as_str()));
            (self.observe)(TrainEvent::NotLearnt { step, steps, finding: &finding.words, learning_rate });
        }
        finding.is_some()
    }

    /// Refuses to call a run finished that has not learnt anything.
    fn expect_learnt(&self, evaluation: &Metrics) -> Result<(), TrainError> {
        let steps = self.state.step;
        if self.state.updates == Some(0) {
            return Err(TrainError::NothingLearnt { steps, terms: self.objective.terms() });
        }
        match self.objective.useless(evaluation) {
            Some(finding) => Err(TrainError::Useless { steps, finding }),
            None => Ok(()),
        }
    }

    /// Evaluates on what is held out, and tells; `None` where somebody asked to stop.
    fn evaluate(&mut self, stop: &dyn Fn() -> bool) -> Result<Option<Metrics>, TrainError> {
        let evaluation = self.objective.evaluate(&mut self.learner.evaluator(stop))?;
        if let Some(metrics) = &evaluation {
            let step = self.state.step;
            self.state.evaluation_pending = false;
            self.record(metrics.record(Event::new("evaluation").at(step)));
            let words = self.objective.in_words(metrics);
            (self.observe)(TrainEvent::Evaluated { step, metrics, words: &words });
        }
        Ok(evaluation)
    }

    fn batches(&self) -> Result<BatchStream, ThreadsError> {
        BatchStream::start(self.objective.clone(), self.state.position)
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
                    (self.observe)(TrainEvent::NotSaved { error: &error, retry });
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
        })??;
        self.saved = Some(self.state.clone());
        let (step, time) = (self.state.step, start.elapsed());
        self.record(
            Event::new("save").at(step).with("seconds", time.as_secs_f64()).with("bytes", saved.bytes),
        );
        let synced = self.journal.sync();
        self.tell_of_journal(synced);
        (self.observe)(TrainEvent::Saved { step, time });
        Ok(saved)
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
        self.interval.begin_again();
        self.record(Event::new(RESUME).at(to).with("rolled_back_from", from));
        (self.observe)(TrainEvent::RolledBack { from, to });
        self.take_up_best()?;
        Ok(())
    }
}

/// Whether waiting may help: the disk may have room again.
fn is_of_disk(error: &CheckpointError) -> bool {
    matches!(error, CheckpointError::NotSaved { .. } | CheckpointError::Io { .. })
}
