//! A session up to its first step, for those who want to know what it would be like.

use std::path::Path;

use kernels::cuda::ProductChoice;

use super::beginning::{Beginning, expect_steps};
use super::{Watch, announce, introduce, not_measured, prepare};
use crate::config::Resolved;
use crate::run::directory::{self, DirectoryError};
use crate::training::error::SessionError;
use crate::training::estimate::Estimate;
use crate::training::event::TrainEvent;
use crate::training::job::{Job, Prepared, RunSettings};

/// All that a session of the run in `out` does before its first step, and nothing of what follows: what is refused, data, plan,
/// memory, an estimate. The run is not changed; data that it lacks are made in `folder`.
///
/// # Errors
/// As the session would have.
pub fn rehearse<S: RunSettings, J: Job<S>>(
    job: &J,
    resolved: &Resolved<S>,
    out: &Path,
    folder: &Path,
    allow_schedule_change: bool,
    watch: &Watch,
) -> Result<(), SessionError> {
    let Beginning { earlier, has_begun, info, settings, chosen, .. } =
        Beginning::of(resolved, out, allow_schedule_change)?;
    directory::look_at(out)?;
    if let Some(chosen) = chosen {
        watch(TrainEvent::Said(&chosen));
    }
    let settings = &settings;
    if let Some(notice) = settings.notice() {
        watch(TrainEvent::Said(notice));
    }
    let of_run = out.join(directory::DATA);
    let run = earlier.as_ref().filter(|_| has_begun).map(|earlier| (&*of_run, earlier));
    let data = job.rehearse(settings, folder, run, &|what| watch(TrainEvent::Said(what)))?;
    let identity = job.identity(settings, &data)?;
    if info.and_then(|info| info.data).is_some_and(|begun_with| !identity.continues(&begun_with)) {
        return Err(DirectoryError::OtherData { path: out.into(), difference: String::new() }.into());
    }
    expect_steps(out, job.options(settings, &data).steps)?;
    let Prepared { mut learner, objective, description, .. } = prepare(job, settings, &data, watch)?;
    if let (Some(gpu), false) = (learner.runtime().gpu(), settings.device().deterministic) {
        gpu.choose_products(ProductChoice::Timed);
    }
    let options = job.options(settings, &data);
    introduce(&mut learner, &options, &description, false, settings.keep(), watch);
    let estimate =
        Estimate::measure(&mut learner, &objective, Default::default(), &options, 0, &announce(watch))
            .map_err(not_measured)?;
    let terms = objective.terms();
    watch(TrainEvent::Estimated { estimate: &estimate, options: &options, step: 0, terms });
    Ok(())
}
