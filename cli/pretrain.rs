//! `albert-train pretrain`: from text, or from built-in stories, to a model.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use model::Origin;
use train::config::Pretrain;
use train::exit::ExitCode;
use train::pretraining::PretrainingJob;
use train::run::directory::model_in;
use train::training::TrainEvent;

use crate::arguments::place;
use crate::output::is_unread;
use crate::session::{self, Outcome, SessionArguments};
use crate::settings::SettingsArguments;
use crate::summary::Summary;

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
    #[arg(short, long, default_value = DEFAULT_DIRECTORY, value_name = "DIR", value_parser = place())]
    out: PathBuf,
    #[command(flatten)]
    session: SessionArguments,
    #[command(flatten)]
    settings: SettingsArguments<Pretrain>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let saved = session::saved(&arguments.out, &arguments.settings);
    let resolved = arguments.settings.resolve(saved.as_deref())?;
    let settings = resolved.settings.clone();
    let init = settings.model.init.as_deref().map(model_in).transpose()?;
    let _origin = init.as_deref().map(Origin::of).transpose()?; // an archive stays unpacked for all of the following
    match session::run(PretrainingJob, resolved, &arguments.out, &arguments.session)? {
        Outcome::Shown => Ok(ExitCode::Done),
        Outcome::Stopped => Ok(ExitCode::Interrupted),
        Outcome::Finished { model, metrics, data, watch, stop } => {
            // The run is finished, whatever becomes of this.
            let summary = Summary { model, data, settings, run: arguments.out.clone(), metrics };
            if let Ok(Err(error)) = stop.unless_stopped(move || summary.show())?
                && !is_unread(&error)
            {
                watch(TrainEvent::Said(&format!(
                    "the model is finished, but no examples can be shown: {error:#}"
                )));
            }
            Ok(ExitCode::Done)
        }
    }
}
