//! What every command that trains does around its session: settings, requests to stop, what a person sees, the exit code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use train::config::{Resolved, Settings};
use train::run::directory;
use train::run::signals::StopRequests;
use train::training::{Ended, Job, Metrics, RunSettings, Session, TrainEvent, Watch, rehearse};

use crate::log::Log;
use crate::output::{say, tell};
use crate::progress::Display;
use crate::settings::SettingsArguments;

/// How a run is begun and continued.
#[derive(Args)]
pub struct SessionArguments {
    /// Print all settings, each with where it comes from, and stop
    #[arg(long, hide_short_help = true)]
    print_config: bool,
    /// Do all that comes before the first step, and nothing more
    ///
    /// Settings, data, plan, memory, an estimate of the time: nothing is trained, nothing is left behind.
    #[arg(long)]
    dry_run: bool,
    /// Continue even if the learning rate's schedule has changed
    #[arg(long, hide_short_help = true)]
    allow_schedule_change: bool,
}

/// The saved settings that those of a run in `out` go on from, if any. Until it has begun the command says what the run is;
/// only where it says nothing, what was said last.
pub fn saved<S: Settings>(out: &Path, settings: &SettingsArguments<S>) -> Option<PathBuf> {
    let saved = out.join(directory::CONFIG);
    (saved.is_file() && (directory::has_begun(out) || settings.is_empty())).then_some(saved)
}

/// A session that all steps were done in, with its watch and its requests to stop; or none, because somebody asked to stop or
/// did not want more than to look.
pub enum Outcome<D> {
    /// All steps are done.
    Finished {
        /// Where the model is.
        model: PathBuf,
        /// Its held-out figures.
        metrics: Metrics,
        /// What it learnt from.
        data: D,
        /// Who watches.
        watch: Watch,
        /// Who may ask to stop.
        stop: StopRequests,
    },
    /// Somebody asked to stop.
    Stopped,
    /// Nothing was to be trained.
    Shown,
}

/// Runs a session of the run in `out`.
pub fn run<S: RunSettings, J: Job<S>>(
    job: J,
    resolved: Resolved<S>,
    out: &Path,
    arguments: &SessionArguments,
) -> Result<Outcome<J::Data>> {
    if arguments.print_config {
        say!("{}", resolved.to_toml().trim_end());
        return Ok(Outcome::Shown);
    }
    if arguments.dry_run {
        let temporary = tempfile::tempdir().context("cannot make a temporary folder (in TMPDIR)")?;
        let stop = crate::stop::requests("ending; the run was not changed")?;
        let display = Display::new(None);
        let watch: Watch = Arc::new(move |event: TrainEvent<'_>| display.show(&event));
        let (out, folder) = (out.to_path_buf(), temporary.path().join("data"));
        let allow_schedule_change = arguments.allow_schedule_change;
        let work = move || rehearse(&job, &resolved, &out, &folder, allow_schedule_change, &watch);
        let Ok(rehearsed) = stop.unless_stopped(work)? else { return Ok(Outcome::Stopped) };
        rehearsed?;
        tell("nothing was trained: this was a dry run");
        return Ok(Outcome::Shown);
    }
    let stop = crate::stop::requests("finishing the micro-batch under way, saving, and ending")?;
    let command: Vec<String> = std::env::args_os().map(|text| text.to_string_lossy().into_owned()).collect();
    let session = Session::open(job, resolved, out, stop.clone(), &command, arguments.allow_schedule_change)?;
    let log = Log::open(session.directory())?;
    log.note(&command.join(" "));
    let display = Display::new(Some(log));
    let watch: Watch = Arc::new(move |event: TrainEvent<'_>| display.show(&event));
    Ok(match session.run(&watch)? {
        Ended::Finished { model, metrics, data } => Outcome::Finished { model, metrics, data, watch, stop },
        Ended::Stopped(_) => Outcome::Stopped,
    })
}
