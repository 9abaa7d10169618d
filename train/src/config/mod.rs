//! Settings from files, the environment and flags: strict, with the source of every value, and all problems at once.
//!
//! A set of settings is a plain struct of sections that implements [`Settings`]; its keys are `section.key`. Later layers
//! win: defaults, what other values imply (a preset, a rule), the file, `ALBERT_TRAIN_SECTION_KEY` variables, `--set`,
//! flags. A key that does not exist is an error with the nearest one that does.
//!
//! ```
//! use train::config::{Layers, Pretrain};
//!
//! let mut layers = Layers::<Pretrain>::new();
//! layers.toml("[model]\npreset = 'tiny'\n[training]\nsteps = 1e4", "run.toml".as_ref());
//! layers.flag("training.batch", "--batch", &["64"]);
//! let resolved = layers.resolve()?;
//! assert_eq!((resolved.settings.model.hidden_size, resolved.settings.training.batch), (312, 64));
//! assert_eq!(resolved.source("model.hidden_size").to_string(), "preset tiny");
//! assert_eq!(resolved.source("training.steps").to_string(), "run.toml:4");
//! # Ok::<(), train::config::ConfigError>(())
//! ```

mod finetune;
mod layers;
mod model;
mod nearest;
mod pretrain;
pub mod recipe;
mod resolve;
mod resume;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::model::ModelSettings;
pub use finetune::{
    AnswerHead, Finetune, FinetuneTraining, MOST_OPTIONS, RaceLevel, SequenceSettings, StartSettings,
    TableKind, TaskSettings,
};
pub use layers::Layers;
pub use nearest::nearest;
pub use pretrain::{
    DataSettings, DeviceSettings, LearningSettings, Precision, Pretrain, Recompute, TrainingSettings,
};
pub use resolve::{Key, Resolved, keys};
pub(crate) use resume::bears_on_results;
pub use values::{Device, Interval, Span};

use crate::exit::{Classify, ExitCode};
use crate::visible::shown;

/// The most threads that may be asked for here: four for each core that this process may use, and never fewer than 64, so
/// that settings made on a larger machine serve on a smaller one. Beyond that a number is a slip of the finger, and costs: a
/// thousand threads on two cores are fifty times slower than two.
pub fn most_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (4 * cores).max(64)
}

/// The keys of all commands: a variable that is meant for one does not bother another.
fn all_keys() -> impl Iterator<Item = &'static str> {
    Pretrain::keys().chain(Finetune::keys()).map(|(key, _)| *key)
}

/// A key and its line of help.
pub type KeyHelp = (&'static str, &'static str);

/// A struct of sections, each a struct of values.
pub trait Settings: Clone + Default + PartialEq + Serialize + DeserializeOwned {
    /// Every key with a line of help, in the order in which they are shown, in pieces that kinds of settings share.
    const KEYS: &'static [&'static [KeyHelp]];

    /// Keys that each say how long a run is, of which the highest layer's counts; and the values that a file which was saved
    /// with all keys has where nobody chose them.
    const LENGTHS: &'static [(&'static str, &'static [u64])];

    /// Keys that came with a later version, and what a run was begun with whose saved settings do not say: it goes on so.
    const BEFORE: &'static [(&'static str, bool)] = &[];

    /// Every key with a line of help.
    fn keys() -> impl Iterator<Item = &'static KeyHelp> {
        Self::KEYS.iter().copied().flatten()
    }

    /// Values that follow from others where the user gave none; of two for one key the later counts.
    fn implied(&self) -> Vec<Implied>;

    /// Brings values into the form in which they are saved.
    fn normalize(&mut self) {}

    /// Says what is wrong with values of the right types.
    fn check(&self, objections: &mut Objections);
}

/// A value that follows from others.
#[derive(Clone, Debug)]
pub struct Implied {
    /// The key it is for.
    pub key: &'static str,
    /// The value.
    pub value: serde_json::Value,
    /// Why, as shown to the user: `preset tiny`.
    pub reason: String,
}

/// What is wrong with values that have the right types.
#[derive(Debug, Default)]
pub struct Objections(Vec<Objection>);

#[derive(Debug)]
struct Objection {
    key: &'static str,
    message: String,
    help: String,
}

impl Objections {
    /// Objects to the value of `key`, the one that is best changed: what is wrong, and what would be right.
    pub fn add(&mut self, key: &'static str, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Objection { key, message: message.into(), help: help.into() });
    }

    /// Objects to `value` as out of range unless it is `allowed`.
    pub fn require(
        &mut self,
        allowed: bool,
        key: &'static str,
        value: impl fmt::Display,
        help: impl Into<String>,
    ) {
        if !allowed {
            self.add(key, format!("{value} is out of range"), help);
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// It follows from other values.
    Implied(String),
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// In the saved configuration of a run: the source that the value had when the run was begun.
        noted: Option<String>,
    },
    /// An environment variable.
    Environment(String),
    /// `--set key=value`.
    Set,
    /// A flag, as the user writes it.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::Implied(reason) => f.write_str(reason),
            Source::File { path, line, .. } => write!(f, "{}:{line}", shown(path)),
            Source::Environment(variable) => write!(f, "environment variable {variable}"),
            Source::Set => f.write_str("--set"),
            Source::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Kind of problem, for searching: `unknown-key`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub source: Option<Source>,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values are repeated as they were given, and may be anything.
        write!(f, "error[config::{}]: {}", self.code, nearest::beginning(&self.message, 400))?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, found in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Classify for ConfigError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}
