//! What a session finds where it begins, and what it refuses there.

use std::path::Path;

use kernels::cuda::ProductChoice;

use crate::config::{ConfigError, Layers, Precision, Resolved, Settings};
use crate::run::checkpoint;
use crate::run::directory;
use crate::run::info::{Machine, RunInfo};
use crate::training::choices;
use crate::training::device::{machine, settle};
use crate::training::error::SessionError;
use crate::training::job::RunSettings;

/// The settings with which the session before this one went to work, if there was one.
fn settings_in<S: Settings>(saved: &Path) -> Option<Result<S, ConfigError>> {
    saved.is_file().then(|| {
        let mut layers = Layers::<S>::new();
        layers.saved(saved);
        Ok(layers.resolve()?.settings)
    })
}

/// What a session finds where it begins, before it changes anything.
pub(super) struct Beginning<S> {
    /// The settings with which the session before this one went to work, if there was one.
    pub earlier: Option<S>,
    /// Whether they bind this one.
    pub has_begun: bool,
    /// The run as it was left, if it has begun.
    pub info: Option<RunInfo>,
    /// What was resolved, with a device and a precision that are settled.
    pub settings: S,
    pub machine: Machine,
    /// What is said of a device that was chosen.
    pub chosen: Option<String>,
    pub rounds_otherwise: bool,
    pub products: ProductChoice,
}

impl<S: RunSettings> Beginning<S> {
    /// Looks at the run in `out`, and refuses what the machine does not have or the run must not change.
    pub fn of(resolved: &Resolved<S>, out: &Path, allow_schedule_change: bool) -> Result<Self, SessionError> {
        let earlier = settings_in::<S>(&out.join(directory::CONFIG));
        let has_begun = directory::has_begun(out);
        let info = if has_begun { directory::read_info(out)? } else { None };
        let sessions = info.iter().flat_map(|info| info.sessions.iter().rev());
        let before = sessions.filter_map(|session| session.machine.as_ref()).next();
        let mut settings = resolved.settings.clone();
        if let (Some(Ok(earlier)), true) = (&earlier, has_begun)
            && settings.device().precision == Precision::Auto
        {
            settings.device_mut().precision = earlier.device().precision;
        }
        let chosen = settle(settings.device_mut(), before);
        let machine = machine(settings.device())?;
        let rounds_otherwise = match (&earlier, has_begun) {
            (Some(Err(error)), true) => return Err(error.clone().into()),
            (Some(Ok(earlier)), true) => {
                let problems = resolved.changes_at_resume(earlier, S::FREE_AT_RESUME, allow_schedule_change);
                if !problems.is_empty() {
                    return Err(ConfigError { problems }.into());
                }
                !settings.rounds_like(earlier)
            }
            _ => false,
        };
        let products = choices::of_session(out, has_begun, info.as_ref(), &machine, settings.device())?;
        let earlier = earlier.and_then(Result::ok);
        Ok(Self { earlier, has_begun, info, settings, machine, chosen, rounds_otherwise, products })
    }
}

/// Refuses to end a run before where it is.
pub(super) fn expect_steps(run: &Path, steps: u64) -> Result<(), SessionError> {
    match checkpoint::newest_in(run) {
        Some(done) if done > steps => Err(SessionError::StepsDone { done, steps }),
        _ => Ok(()),
    }
}
