//! What a kind of work brings to a session: settings that every run has, data, and a model to learn from them.

use std::path::Path;
use std::sync::Arc;

use model::Albert;

use super::error::SessionError;
use super::learner::Learner;
use super::metrics::Metrics;
use super::objective::Objective;
use super::trainer::TrainerOptions;
use crate::config::{DeviceSettings, Settings, Span};
use crate::run::info::Identity;
use crate::tokenizer::Tokenizer;

/// What the settings of every run say.
pub trait RunSettings: Settings + Send + 'static {
    /// Keys that may differ between the sessions of a run: what does not change what is computed, or is checked by its content.
    const FREE_AT_RESUME: &'static [&'static str];

    /// Checkpoints kept besides the best.
    fn keep(&self) -> usize;

    /// Stop, with a checkpoint, after this time.
    fn max_time(&self) -> Option<Span>;

    /// Where it is computed.
    fn device(&self) -> &DeviceSettings;

    /// The same, to settle what was left open.
    fn device_mut(&mut self) -> &mut DeviceSettings;

    /// Whether the run keeps TensorBoard's event files too.
    fn tensorboard(&self) -> bool;

    /// Whether sums are made in the same order as with `earlier` settings, to the last bit.
    fn rounds_like(&self, earlier: &Self) -> bool;

    /// What a person is told of the run's data before anything is read, if there is something to tell.
    fn notice(&self) -> Option<&'static str> {
        None
    }
}

/// Which weights are published as the finished model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// The last.
    Last,
    /// Those of the best evaluation.
    Best,
}

/// What is known of a run whose model is published.
pub struct Published<'a, S> {
    /// Its settings.
    pub settings: &'a S,
    /// The model.
    pub albert: &'a Albert,
    /// Its held-out figures; `None` where the run goes on.
    pub metrics: Option<&'a Metrics>,
    /// The command of the session.
    pub command: &'a str,
}

/// What a job brings to the loop.
pub struct Prepared {
    /// The model with its initial values, as far as they do not depend on the data (see [`Job::begin`]).
    pub learner: Learner,
    /// What it is trained for.
    pub objective: Arc<dyn Objective>,
    /// The data in a line.
    pub description: String,
    /// What a person should know of the model that it begins with.
    pub warnings: Vec<String>,
}

/// What a session does that those of other commands do not.
pub trait Job<S: RunSettings>: Clone + Send + 'static {
    /// What is learnt from.
    type Data: Send + 'static;

    /// Which weights are published.
    const PUBLISH: Publish;

    /// Removes from `folder`, the `data/` of a run that has not begun, what an earlier start made of other data.
    ///
    /// # Errors
    /// If something cannot be removed.
    fn drop_other_data(&self, folder: &Path, earlier: Option<&S>, now: &S) -> Result<(), SessionError>;

    /// Gathers, and where needed makes in `folder`, what the run learns from. Can be killed at any moment.
    ///
    /// # Errors
    /// If the data cannot be used.
    fn gather(
        &self,
        settings: &S,
        folder: &Path,
        has_begun: bool,
        say: &dyn Fn(&str),
    ) -> Result<Self::Data, SessionError>;

    /// Gathers the same and changes nothing of `run`, the `data/` of a run that has begun, with its settings, if there is one: what
    /// it lacks is made in `folder`.
    ///
    /// # Errors
    /// If the data cannot be used.
    fn rehearse(
        &self,
        settings: &S,
        folder: &Path,
        run: Option<(&Path, &S)>,
        say: &dyn Fn(&str),
    ) -> Result<Self::Data, SessionError> {
        self.gather(settings, folder, run.is_some(), say)
    }

    /// Tells the data to learn from, and the model to begin with, apart from any other.
    ///
    /// # Errors
    /// If the model cannot be read.
    fn identity(&self, settings: &S, data: &Self::Data) -> Result<Identity, SessionError>;

    /// How a run on these data goes.
    fn options(&self, settings: &S, data: &Self::Data) -> TrainerOptions;

    /// A model that stands before the first step, and what it is trained for.
    ///
    /// # Errors
    /// If the model cannot be had, or a step does not fit into `available` bytes of memory.
    fn prepare(
        &self,
        settings: &S,
        data: &Self::Data,
        available: Option<usize>,
    ) -> Result<Prepared, SessionError>;

    /// Gives fresh parameters what only the data can say, before the first step of a run: one that goes on has it in its
    /// checkpoint. `say` tells what takes time.
    fn begin(&self, _settings: &S, _data: &Self::Data, _learner: &mut Learner, _say: &dyn Fn(&str)) {}

    /// What turned text into ids.
    fn tokenizer<'a>(&self, data: &'a Self::Data) -> &'a Tokenizer;

    /// Adds to the published model what only this kind of work has to say.
    ///
    /// # Errors
    /// If it cannot be written.
    fn complete_model(
        &self,
        _folder: &Path,
        _run: &Published<'_, S>,
        _data: &Self::Data,
    ) -> Result<(), SessionError> {
        Ok(())
    }
}
