//! `albert-train pretrain`: from text, or from built-in stories, to a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use engine::State;
use train::config::{ConfigError, Interval, Layers, Pretrain, Resolved};
use train::data::DataError;
use train::exit::ExitCode;
use train::run::checkpoint::Checkpoints;
use train::run::directory::{self, RunDirectory, publish_model};
use train::run::info::Status;
use train::run::journal::Journal;
use train::run::signals::{StopReason, StopRequests};
use train::training::{
    self, Estimate, Finished, Materials, SessionError, TrainError, Trainer, TrainerOptions, TrainingState,
    Workshop, bytes,
};

use crate::estimate;
use crate::farewell::Farewell;
use crate::log::Log;
use crate::output::{is_unread, say};
use crate::progress::Display;
use crate::settings::SettingsArguments;

/// Where a run goes whose place nobody named.
pub const DEFAULT_DIRECTORY: &str = "runs/pretrain";

/// Pre-train a model: masked words and sentence order.
///
/// Without arguments, a small model learns from built-in stories in a few minutes. Run the same command again to
/// continue a run that was stopped.
///
/// The line of progress: loss is what is minimised, words and order are its two parts, with the share of masked words and of
/// sentence orders that were told right; lr is the learning rate, gradient the length of the gradient before clipping, wait the
/// share of the time without a batch to work on, ETA the time left.
#[derive(Args)]
pub struct Arguments {
    /// Run directory: a new one, or one to continue
    #[arg(short, long, default_value = DEFAULT_DIRECTORY, value_name = "DIR")]
    out: PathBuf,
    /// Print all settings, each with where it comes from, and stop
    #[arg(long)]
    print_config: bool,
    /// Continue even if the learning rate's schedule has changed
    #[arg(long)]
    allow_schedule_change: bool,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let saved = arguments.out.join(directory::CONFIG);
    let has_begun = directory::has_begun(&arguments.out);
    // Until then the command says what the run is; only where it says nothing, what was said last.
    let is_base = saved.is_file() && (has_begun || arguments.settings.is_empty());
    let resolved = arguments.settings.resolve(is_base.then_some(saved.as_path()))?;
    if arguments.print_config {
        say!("{}", resolved.to_toml().trim_end());
        return Ok(ExitCode::Done);
    }
    // What this session cannot have, or must not change, is said before it changes anything.
    let machine = training::machine(&resolved.settings.device)?;
    let earlier = saved.is_file().then(|| settings_in(&saved));
    let rounding = match (&earlier, has_begun) {
        (Some(Err(error)), true) => return Err(error.clone().into()),
        (Some(Ok(earlier)), true) => {
            let problems = Pretrain::changes_at_resume(&resolved, earlier, arguments.allow_schedule_change);
            if !problems.is_empty() {
                return Err(ConfigError { problems }.into());
            }
            training::micro_batch(earlier) != training::micro_batch(&resolved.settings)
        }
        _ => false,
    };
    let stop = crate::stop::requests("finishing the micro-batch under way, saving, and ending")?;
    if let Some(limit) = resolved.settings.training.max_time {
        stop.limit_time(limit.0);
    }
    let command: Vec<String> = std::env::args_os().map(|text| text.to_string_lossy().into_owned()).collect();
    let mut directory = RunDirectory::open(&arguments.out, &command)?;
    if !has_begun {
        let earlier = earlier.and_then(Result::ok);
        training::drop_other_data(&directory.data(), earlier.as_ref(), &resolved.settings)?;
        directory.write_config(&resolved.to_toml())?;
    }
    stop.watch(directory.path().to_path_buf());
    let log = Arc::new(Log::open(&directory)?);
    log.note(&command.join(" "));
    let other_isa = directory.last_isa().filter(|isa| *isa != machine.isa).map(str::to_owned);
    if let Some(before) = other_isa {
        log.say(&format!(
            "note: computing with {} from here on, before it was {before}: results may differ in the last bits",
            machine.isa
        ));
    }
    if rounding {
        log.say("note: micro-batches of another size from here on: results may differ in the last bits");
    }
    directory.note_machine(machine)?;
    let result = session(&resolved, &mut directory, &stop, &log);
    let (status, reason) = match &result {
        Ok(Session::Finished(_)) => (Status::Finished, "all steps are done".to_owned()),
        Ok(Session::Stopped(reason)) => (Status::Interrupted, reason.to_string()),
        Err(error) => (Status::Failed, error.to_string()),
    };
    log.note(&reason);
    let noted = directory.finish(status, &reason);
    let session = result?; // what ended the run is told first
    noted?;
    match session {
        Session::Stopped(_) => Ok(ExitCode::Interrupted),
        Session::Finished(farewell) => {
            // The run is finished, whatever becomes of this.
            if let Ok(Err(error)) = stop.unless_stopped(move || farewell.show())?
                && !is_unread(&error)
            {
                log.say(&format!("the model is finished, but no examples can be shown: {error:#}"));
            }
            Ok(ExitCode::Done)
        }
    }
}

/// The settings with which the session before this one went to work.
fn settings_in(saved: &Path) -> Result<Pretrain, ConfigError> {
    let mut layers = Layers::<Pretrain>::new();
    layers.saved(saved);
    Ok(layers.resolve()?.settings)
}

/// How a session ended.
enum Session {
    Finished(Box<Farewell>),
    Stopped(StopReason),
}

/// One session of a run. Whatever leaves nothing behind that is not whole can be left at any moment, and is; only the
/// trainer knows when it can stop.
fn session(
    resolved: &Resolved<Pretrain>,
    directory: &mut RunDirectory,
    stop: &StopRequests,
    log: &Arc<Log>,
) -> Result<Session> {
    let settings = &resolved.settings;
    if settings.data.train.is_empty() {
        log.say("no text was given: learning from built-in stories (your own: --train FILE)");
    }
    let stopped = |reason: StopReason, kept: &str| {
        log.say(&format!("stopped: {reason}; {kept}, run the same command again to continue"));
        Ok(Session::Stopped(reason))
    };
    let gather = {
        let (settings, log) = (settings.clone(), log.clone());
        let (folder, has_begun) = (directory.data(), directory::has_begun(directory.path()));
        move || gather(&settings, &folder, has_begun, &log)
    };
    let materials = match stop.unless_stopped(gather)? {
        Ok(materials) => materials?,
        Err(reason) => return stopped(reason, "what was prepared is kept"),
    };
    directory.expect_data(&materials.identity)?;
    directory.write_config(&resolved.to_toml())?; // only now: a session that is refused changes nothing
    let load = {
        let settings = settings.clone();
        let (checkpoints, journal) = (directory.checkpoints(settings.training.keep)?, directory.journal()?);
        let (stop, log) = (stop.clone(), log.clone());
        move || trainer(&settings, materials, checkpoints, journal, stop, log)
    };
    let (mut trainer, materials) = match stop.unless_stopped(load)? {
        Ok(loaded) => loaded?,
        Err(reason) => return stopped(reason, "nothing was changed"),
    };
    warn_of_little_room(directory, &trainer, log)?;
    let finished = trainer.run();
    let Trainer { mut learner, observe, .. } = trainer;
    drop(observe); // and with it the bar
    let finished = finished?;
    learner.runtime().unload(); // the export takes no memory beside the parameters'
    let export = {
        let (run, mut learner) = (directory.path().to_path_buf(), learner);
        move || -> Result<(PathBuf, Materials), SessionError> {
            let model = publish_model::<SessionError>(&run, |folder| {
                let tokenizer = &materials.tokenizer;
                let notes = [(model::TOKENIZER_HASH, &*tokenizer.fingerprint_text())];
                let (albert, runtime) = (learner.albert().clone(), learner.runtime());
                model::save_from(folder, &albert, &notes, &mut |range, into| {
                    runtime.read_range(State::Values, range, into);
                })?;
                Ok(tokenizer.save_for(folder, Some(albert.config().max_position_embeddings))?)
            })?;
            Ok((model, materials))
        }
    };
    match finished {
        Finished::Stopped(reason, step) => {
            let session = stopped(reason, &format!("step {step} is saved"));
            // The run is safe by now: a disk without room for a copy to look at is no failure.
            match export() {
                Ok((model, _)) => log.say(&format!("the model of step {step} is in {}", model.display())),
                Err(error) => log.say(&format!("warning: the model of step {step} was not written: {error}")),
            }
            session
        }
        Finished::Done(evaluation) => {
            directory.write_json("eval_results.json", &evaluation)?;
            match stop.unless_stopped(export)? {
                Ok(exported) => {
                    let (model, materials) = exported?;
                    let settings = settings.clone();
                    Ok(Session::Finished(Box::new(Farewell { model, materials, settings })))
                }
                Err(reason) => {
                    stopped(reason, "all steps are done and saved, only the model is not written yet")
                }
            }
        }
    }
}

/// What the run learns from, in `folder`.
fn gather(settings: &Pretrain, folder: &Path, has_begun: bool, log: &Log) -> Result<Materials, SessionError> {
    let gather = || Workshop { folder, announce: &|what| log.say(what) }.materials(settings);
    match gather() {
        Err(SessionError::Data(DataError::OtherPreparation { .. })) if !has_begun => {
            // The text was changed since a start that failed.
            training::drop_other_data(folder, None, settings)?;
            gather()
        }
        gathered => gathered,
    }
}

/// A trainer that stands where the newest checkpoint left it, or before the first step.
fn trainer(
    settings: &Pretrain,
    materials: Materials,
    checkpoints: Checkpoints,
    journal: Journal,
    stop: StopRequests,
    log: Arc<Log>,
) -> Result<(Trainer, Materials)> {
    let config = training::albert_config(&settings.model, &materials.tokenizer)?;
    let mut learner = training::learner(settings, config, training::available_memory())?;
    let micro_batch = training::micro_batch(settings);
    let held_out =
        training::held_out_batches(materials.held_out.clone(), settings.training.eval_sequences, micro_batch);
    let is_continued = !checkpoints.steps()?.is_empty();
    introduce(settings, &materials, &mut learner, is_continued, &log);
    let mut display = Display::new(settings.training.steps, log.clone());
    let mut trainer = Trainer {
        learner,
        dataset: materials.training.clone(),
        held_out,
        options: options(settings, micro_batch),
        state: TrainingState::default(),
        checkpoints,
        journal,
        journal_fails: false,
        saved: None,
        stop,
        observe: Box::new(move |happening| display.show(&happening)),
    };
    if let Some(step) = trainer.resume()? {
        log.say(&format!("continuing from step {step}"));
    }
    let step = trainer.state.step;
    if step < trainer.options.steps {
        let Trainer { learner, dataset, state, options, held_out, .. } = &mut trainer;
        log.say(&format!(
            "measuring one micro-batch of {micro_batch} sequences, for an estimate of the time it will take"
        ));
        let estimate = Estimate::measure(learner, dataset, state.position, options, held_out, step)
            .map_err(TrainError::from)?;
        log.say(&estimate::words(&estimate, options, step));
    }
    Ok((trainer, materials))
}

fn options(settings: &Pretrain, micro_batch_size: usize) -> TrainerOptions {
    let training = &settings.training;
    TrainerOptions {
        steps: training.steps,
        batch_size: training.batch,
        micro_batch_size,
        evaluate_every: training.eval_every,
        save_every: training.save_every,
        log_every: 10,
        schedule: settings.schedule(),
        optimizer: settings.optimizer.optimizer(),
    }
}

/// Warns where the disk has no room for what the run is going to write.
fn warn_of_little_room(directory: &RunDirectory, trainer: &Trainer, log: &Log) -> Result<()> {
    let weights = (trainer.learner.albert().parameters().count() * size_of::<f32>()) as u64;
    // A checkpoint has two moments beside the weights; at the end there is the model.
    let needed = trainer.checkpoints.growth(3 * weights)? + weights;
    if let Some(free) = directory.shortage(needed) {
        log.say(&format!(
            "warning: the run is going to write {} of checkpoints and model, but only {} are free in {}: make room, or \
             checkpoints will fail to be saved (--keep says how many are kept)",
            bytes(needed as usize),
            bytes(free as usize),
            directory.path().display(),
        ));
    }
    Ok(())
}

/// Says what is about to be trained, on what, and how.
fn introduce(
    settings: &Pretrain,
    materials: &Materials,
    learner: &mut training::Learner,
    is_continued: bool,
    log: &Log,
) {
    let (training, schedule) = (&settings.training, settings.schedule());
    let parameters = learner.albert().parameters().count();
    let plan = learner.training_plan();
    let plan = learner.runtime().plan(plan);
    let (activations, persistent) = (plan.arena_size(), plan.parameter_size());
    let in_all = training::resident_memory().map(|resident| {
        let buffer = learner.albert().parameters().buffer_length() * size_of::<f32>();
        // Only the values have been written so far. A checkpoint is in memory while it is loaded, weights and moments.
        let of_step = persistent - buffer + activations;
        resident + if is_continued { of_step.max(5 * buffer) } else { of_step }
    });
    log.say(&format!(
        "model: {:.2} M parameters, vocabulary {}; memory: {} for parameters and moments, {} for activations{}",
        parameters as f64 / 1e6,
        learner.albert().config().vocab_size,
        bytes(persistent),
        bytes(activations),
        in_all.map_or(String::new(), |in_all| format!(", {} in all", bytes(in_all))),
    ));
    let corpus = materials.training.sampler();
    log.say(&format!(
        "data: {} documents, {} samples an epoch of at most {} tokens",
        corpus.documents(),
        materials.training.epoch(0).samples(),
        settings.sampling.max_seq_length,
    ));
    log.say(&format!(
        "training: {} steps of {} sequences, {:?}, learning rate {:.2e} after {} steps of warm-up",
        training.steps,
        training.batch,
        settings.optimizer.kind,
        schedule.learning_rate,
        schedule.warmup_steps,
    ));
    let every = match training.save_every {
        Interval::Time(every) => train::run::clock::format_duration(every),
        Interval::Steps(steps) => format!("{steps} steps"),
    };
    log.say(&format!(
        "checkpoints: every {every}, at the best evaluation so far, and at the end; the newest {} and the best are kept",
        training.keep.max(train::run::checkpoint::MIN_KEEP)
    ));
}
