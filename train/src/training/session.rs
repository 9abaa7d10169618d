//! One session of one run, from its settings to a published model: the order of events that every command that trains has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{RunError, State};
use kernels::cuda::ProductChoice;
use serde::Serialize;

use super::companions::Companions;
use super::device::{available_memory, bytes, little_memory};
use super::error::{SessionError, TrainError};
use super::estimate::Estimate;
use super::event::TrainEvent;
use super::job::{Job, Prepared, Publish, Published, RunSettings};
use super::learner::Learner;
use super::memory::resident_memory;
use super::metrics::Metrics;
use super::state::TrainingState;
use super::trainer::{Finished, Trainer, TrainerOptions};
use crate::config::{Interval, Resolved};
use crate::run::checkpoint::{Checkpoints, MIN_KEEP};
use crate::run::clock::format_duration;
use crate::run::directory::{self, RunDirectory, publish_model};
use crate::run::info::{Machine, Status};
use crate::run::journal::Journal;
use crate::run::signals::{StopReason, StopRequests};
use crate::visible::shown;

mod beginning;
mod rehearsal;

use beginning::{Beginning, expect_steps};
pub use rehearsal::rehearse;

/// Who watches a session.
pub type Watch = Arc<dyn Fn(TrainEvent<'_>) + Send + Sync>;

/// How a session ended.
#[derive(Debug)]
pub enum Ended<D> {
    /// All steps are done.
    Finished {
        /// Where the model is.
        model: PathBuf,
        /// Its held-out figures.
        metrics: Metrics,
        /// What it learnt from.
        data: D,
    },
    /// Somebody asked to stop.
    Stopped(StopReason),
}

/// A run directory that is open for one session.
pub struct Session<S, J> {
    job: J,
    resolved: Resolved<S>,
    /// What was resolved, with a device and a precision that are settled.
    settings: S,
    directory: RunDirectory,
    stop: StopRequests,
    machine: Machine,
    /// What is said of a device that was chosen.
    chosen: Option<String>,
    /// Whether sums are rounded otherwise than in the session before this one.
    rounds_otherwise: bool,
    /// How the algorithms of a GPU's matrix products are chosen.
    products: ProductChoice,
}

impl<S: RunSettings, J: Job<S>> Session<S, J> {
    /// Opens the run in `out`: a new one, or one that goes on. What this session cannot have, or must not change, is refused
    /// before it changes anything. `allow_schedule_change` lets the learning rate's schedule differ from the one the run was
    /// begun with; `command` is noted.
    ///
    /// # Errors
    /// If the machine lacks what is asked for, the settings would make it another run, or the directory cannot be used.
    pub fn open(
        job: J,
        resolved: Resolved<S>,
        out: &Path,
        stop: StopRequests,
        command: &[String],
        allow_schedule_change: bool,
    ) -> Result<Self, SessionError> {
        let beginning = Beginning::of(&resolved, out, allow_schedule_change)?;
        let Beginning { earlier, has_begun, info: _, settings, machine, chosen, rounds_otherwise, products } =
            beginning;
        if let Some(limit) = settings.max_time() {
            stop.limit_time(limit.0);
        }
        let directory = RunDirectory::open(out, command)?;
        if !has_begun {
            job.drop_other_data(&directory.data(), earlier.as_ref(), &settings)?;
            directory.write_config(&resolved.to_toml())?;
            directory.note_choices(None)?; // those of a start that came to nothing
        }
        stop.watch(directory.path().to_path_buf());
        let machine = Machine {
            timed_products: matches!(products, ProductChoice::Timed | ProductChoice::Recorded(_)),
            unsplit_products: products == ProductChoice::Unsplit,
            ..machine
        };
        Ok(Self { job, resolved, settings, directory, stop, machine, chosen, rounds_otherwise, products })
    }

    /// The run directory.
    pub fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    /// Runs the session to its end, and notes how it ended. Whatever leaves nothing behind that is not whole can be left at
    /// any moment, and is; only the trainer knows when it can stop.
    ///
    /// # Errors
    /// Whatever ends a session but a request to stop.
    pub fn run(mut self, watch: &Watch) -> Result<Ended<J::Data>, SessionError> {
        let tensorboard = self.resolved.settings.tensorboard();
        let companions = Arc::new(Companions::new(self.directory.path(), tensorboard, watch.clone()));
        let watch = &Companions::watch(&companions);
        let change = self.directory.last_machine().and_then(|before| self.machine.change_since(before));
        if let Some((now, before)) = change {
            watch(TrainEvent::Said(&format!(
                "note: computing with {now} from here on, before it was {before}: results may differ in the last bits",
            )));
        }
        let were_timed = self.directory.last_machine().is_some_and(|before| before.timed_products);
        if were_timed && self.machine.is_gpu() && !self.machine.timed_products {
            watch(TrainEvent::Said(&format!(
                "note: there is no {} any more: matrix products are done as cuBLASLt proposes from here on, before it was as timing chose: \
                 results may differ in the last bits",
                directory::PRODUCTS
            )));
        }
        let overriding = kernels::cuda::overriding_variables();
        if self.machine.is_gpu() && !overriding.is_empty() {
            watch(TrainEvent::Said(&format!(
                "note: with {} in the environment NVIDIA's libraries may compute otherwise than they are asked to: results may differ in \
                 more than the last bits; without it they compute as every other run's",
                overriding.join(" and ")
            )));
        }
        if let Some(chosen) = &self.chosen {
            watch(TrainEvent::Said(chosen));
        }
        if self.rounds_otherwise {
            let note = "note: micro-batches of another size (or another --recompute, in bf16) from here on: results may differ in the last bits";
            watch(TrainEvent::Said(note));
        }
        let result = self.work(watch);
        let (status, reason) = match &result {
            Ok(Ended::Finished { .. }) => (Status::Finished, "all steps are done".to_owned()),
            Ok(Ended::Stopped(reason)) => (Status::Interrupted, reason.to_string()),
            Err(error) => (Status::Failed, error.to_string()),
        };
        watch(TrainEvent::Noted(&reason));
        if status == Status::Failed && self.directory.withdraw() {
            return result; // nothing is left to be noted on
        }
        let noted = self.directory.finish(status, &reason);
        companions.end();
        let ended = result?; // what ended the run is told first
        noted?;
        Ok(ended)
    }

    fn work(&mut self, watch: &Watch) -> Result<Ended<J::Data>, SessionError> {
        let settings = &self.settings;
        if let Some(notice) = settings.notice() {
            watch(TrainEvent::Said(notice));
        }
        let gather = {
            let (job, settings, watch) = (self.job.clone(), settings.clone(), watch.clone());
            let (folder, has_begun) = (self.directory.data(), directory::has_begun(self.directory.path()));
            move || job.gather(&settings, &folder, has_begun, &|what| watch(TrainEvent::Said(what)))
        };
        let data = match self.stop.unless_stopped(gather)? {
            Ok(data) => data?,
            Err(reason) => return Ok(stopped(watch, reason, "what was prepared is kept")),
        };
        self.directory.expect_data(&self.job.identity(settings, &data)?)?;
        expect_steps(self.directory.path(), self.job.options(settings, &data).steps)?;
        self.directory.write_config(&self.resolved.to_toml())?; // only now: a session that is refused changes nothing
        let load = {
            let (job, settings, stop, watch) =
                (self.job.clone(), settings.clone(), self.stop.clone(), watch.clone());
            let kept = (self.directory.checkpoints(settings.keep())?, self.directory.journal()?);
            let products = self.products.clone();
            move || load(&job, &settings, data, products, kept, stop, watch)
        };
        let (mut trainer, data) = match self.stop.unless_stopped(load)? {
            Ok(loaded) => loaded?,
            Err(reason) => return Ok(stopped(watch, reason, "nothing was changed")),
        };
        if let (ProductChoice::Timed, Some(gpu)) = (&self.products, trainer.learner.runtime().gpu()) {
            self.directory.note_choices(Some(&gpu.end_timing()))?;
        }
        // Only now: what a session computes on that ends before is nothing that the next has to go on with.
        self.directory.note_machine(self.machine.clone())?;
        self.warn_of_little_room(&trainer, watch)?;
        if trainer.state.step == 0 {
            trainer.tell_of_slow_products(); // once in a run
        }
        watch(TrainEvent::Begun { task: trainer.objective.name(), steps: trainer.options.steps });
        let finished = trainer.run();
        watch(TrainEvent::Ended);
        match finished? {
            Finished::Stopped(reason, step) => {
                let ended = stopped(watch, reason, &format!("step {step} is saved"));
                // The run is safe by now: a disk without room for a copy to look at is no failure.
                let published = (&self.settings, None, &*self.command());
                let said = match export(&self.job, self.directory.path(), trainer.learner, &data, published) {
                    Ok(model) => format!("the model of step {step} is in {}", shown(&model)),
                    Err(error) => format!("warning: the model of step {step} was not written: {error}"),
                };
                watch(TrainEvent::Said(&said));
                Ok(ended)
            }
            Finished::Done(metrics) => {
                let published = match J::PUBLISH {
                    Publish::Last => Some((trainer.state.step, metrics)),
                    Publish::Best => trainer.take_best(metrics)?,
                };
                let Some((step, metrics)) = published else {
                    let reason = self.stop.pending().expect("an evaluation is cut off on request only");
                    return Ok(stopped(
                        watch,
                        reason,
                        "all steps are done and saved, only the model is not written yet",
                    ));
                };
                self.directory.write_json(directory::EVAL_RESULTS, &Results { step, metrics: &metrics })?;
                let export = {
                    let (job, run, metrics) =
                        (self.job.clone(), self.directory.path().to_path_buf(), metrics.clone());
                    let (learner, settings, command) =
                        (trainer.learner, self.settings.clone(), self.command());
                    move || {
                        let published = (&settings, Some(&metrics), &*command);
                        export(&job, &run, learner, &data, published).map(|model| (model, data))
                    }
                };
                match self.stop.unless_stopped(export)? {
                    Ok(exported) => {
                        let (model, data) = exported?;
                        Ok(Ended::Finished { model, metrics, data })
                    }
                    Err(reason) => Ok(stopped(
                        watch,
                        reason,
                        "all steps are done and saved, only the model is not written yet",
                    )),
                }
            }
        }
    }

    /// The command of this session.
    fn command(&self) -> String {
        self.directory.info().sessions.last().map_or_else(String::new, |session| session.command.join(" "))
    }

    /// Warns where the disk has no room for what the run is going to write.
    fn warn_of_little_room(&self, trainer: &Trainer, watch: &Watch) -> Result<(), SessionError> {
        let weights = (trainer.learner.albert().parameters().count() * size_of::<f32>()) as u64;
        // A checkpoint has two moments beside the weights; at the end there is the model.
        let needed = trainer.checkpoints.growth(3 * weights)? + weights;
        if let Some(free) = self.directory.shortage(needed) {
            watch(TrainEvent::Said(&format!(
                "warning: the run is going to write {} of checkpoints and model, but only {} are free in {}: make room, or \
                 checkpoints will fail to be saved (--keep says how many are kept)",
                bytes(needed as usize),
                bytes(free as usize),
                shown(self.directory.path()),
            )));
        }
        Ok(())
    }
}

/// `eval_results.json`
#[derive(Serialize)]
struct Results<'a> {
    #[serde(rename = "global_step")]
    step: u64,
    #[serde(flatten)]
    metrics: &'a Metrics,
}

fn stopped<D>(watch: &Watch, reason: StopReason, kept: &str) -> Ended<D> {
    watch(TrainEvent::Said(&format!("stopped: {reason}; {kept}, run the same command again to continue")));
    Ended::Stopped(reason)
}

/// The model before the first step, and what a person should know of it.
fn prepare<S: RunSettings, J: Job<S>>(
    job: &J,
    settings: &S,
    data: &J::Data,
    watch: &Watch,
) -> Result<Prepared, SessionError> {
    let prepared = job.prepare(settings, data, available_memory(settings.device()))?;
    for warning in &prepared.warnings {
        watch(TrainEvent::Said(&format!("warning: {warning}")));
    }
    Ok(prepared)
}

/// A trainer that stands where the newest checkpoint left it, or before the first step.
fn load<S: RunSettings, J: Job<S>>(
    job: &J,
    settings: &S,
    data: J::Data,
    products: ProductChoice,
    (checkpoints, journal): (Checkpoints, Journal),
    stop: StopRequests,
    watch: Watch,
) -> Result<(Trainer, J::Data), SessionError> {
    let Prepared { mut learner, objective, description, .. } = prepare(job, settings, &data, &watch)?;
    if let Some(gpu) = learner.runtime().gpu() {
        gpu.choose_products(products);
    }
    let options = job.options(settings, &data);
    let is_continued = !checkpoints.steps()?.is_empty();
    introduce(&mut learner, &options, &description, is_continued, settings.keep(), &watch);
    let mut trainer = Trainer {
        learner,
        objective,
        options,
        state: TrainingState::default(),
        checkpoints,
        journal,
        journal_fails: false,
        interval: Default::default(),
        alarms: Vec::new(),
        saved: None,
        stop,
        observe: watch.clone(),
    };
    match trainer.resume()? {
        Some(step) => watch(TrainEvent::Said(&format!("continuing from step {step}"))),
        None => job.begin(settings, &data, &mut trainer.learner, &|what| watch(TrainEvent::Said(what))),
    }
    let step = trainer.state.step;
    if step < trainer.options.steps {
        let Trainer { learner, objective, state, options, .. } = &mut trainer;
        let estimate =
            Estimate::measure(learner, objective, state.position, options, step, &announce(&watch))
                .map_err(not_measured)?;
        let terms = objective.terms();
        watch(TrainEvent::Estimated { estimate: &estimate, options, step, terms });
        if let Some(note) = learner.runtime().gpu().and_then(little_memory) {
            watch(TrainEvent::Said(&note));
        }
    }
    Ok((trainer, data))
}

/// Nothing has been computed yet that could be lost.
fn not_measured(error: RunError) -> SessionError {
    match error {
        RunError::Device(error) => SessionError::Refused(error),
        error => TrainError::Run(error).into(),
    }
}

fn announce(watch: &Watch) -> impl Fn(usize) {
    move |sequences| {
        watch(TrainEvent::Said(&format!(
            "measuring one micro-batch of {sequences} sequences, for an estimate of the time it will take"
        )));
    }
}

/// Writes the model into the run's `model/`.
fn export<S: RunSettings, J: Job<S>>(
    job: &J,
    run: &Path,
    mut learner: Learner,
    data: &J::Data,
    (settings, metrics, command): (&S, Option<&Metrics>, &str),
) -> Result<PathBuf, SessionError> {
    learner.runtime().unload(); // the export takes no memory beside the parameters'
    publish_model::<SessionError>(run, |folder| {
        let tokenizer = job.tokenizer(data);
        let notes = [(model::TOKENIZER_HASH, &*tokenizer.fingerprint_text())];
        let (albert, runtime) = (learner.albert().clone(), learner.runtime());
        model::save_from(folder, &albert, &notes, &mut |range, into| {
            runtime.read_range(State::Values, range, into);
        })?;
        runtime.status()?;
        tokenizer.save_for(folder, Some(albert.config().max_position_embeddings))?;
        job.complete_model(folder, &Published { settings, albert: &albert, metrics, command }, data)
    })
}

/// Says what is about to be trained, on what, and how.
fn introduce(
    learner: &mut Learner,
    options: &TrainerOptions,
    data: &str,
    is_continued: bool,
    keep: usize,
    watch: &Watch,
) {
    let say = |text: String| watch(TrainEvent::Said(&text));
    let parameters = learner.albert().parameters().count();
    let plan = learner.training_plan();
    let plan = learner.runtime().plan(plan);
    let (activations, persistent) = (plan.arena_size(), plan.parameter_size());
    let in_all = resident_memory().map(|resident| {
        let buffer = learner.albert().parameters().buffer_length() * size_of::<f32>();
        // Only the values have been written so far. A checkpoint is in memory while it is loaded, weights and moments.
        let of_step = persistent - buffer + activations;
        resident + if is_continued { of_step.max(5 * buffer) } else { of_step }
    });
    say(format!(
        "model: {:.2} M parameters, vocabulary {}; memory: {} for parameters and moments, {} for activations{}",
        parameters as f64 / 1e6,
        learner.albert().config().vocab_size,
        bytes(persistent),
        bytes(activations),
        in_all.map_or(String::new(), |in_all| format!(", {} in all", bytes(in_all))),
    ));
    say(data.to_owned());
    let TrainerOptions { steps, batch_size, schedule, optimizer, save_every, .. } = options;
    say(format!(
        "training: {steps} steps of {batch_size} sequences, {}, learning rate {:.2e} after {} steps of warm-up",
        optimizer.kind, schedule.learning_rate, schedule.warmup_steps,
    ));
    let every = match save_every {
        Interval::Time(every) => format_duration(*every),
        Interval::Steps(steps) => format!("{steps} steps"),
    };
    say(format!(
        "checkpoints: every {every}, at the best evaluation so far, and at the end; the newest {} and the best are kept",
        keep.max(MIN_KEEP)
    ));
}
