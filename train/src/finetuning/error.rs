//! Why a task cannot be learnt.

use std::path::PathBuf;

use super::tasks::UnknownTask;
use crate::exit::{Classify, ExitCode};
use crate::training::SessionError;
use crate::visible::shown;

/// Why a task cannot be learnt, before anything is read, or because of what was read.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Nothing to begin with.
    #[error(
        "no model was given to begin with\n  help: --model names a model directory, a run of pretrain, or hf:owner/name"
    )]
    NoModel,
    /// Nothing to learn from.
    #[error(
        "no data were given\n  help: --data names the folder with the task's files, or a file; --train and --dev name one file each"
    )]
    NoData,
    /// A learning rate that never comes to its height.
    #[error(
        "the learning rate would never come to its height: {warmup} steps of warm-up from step {start} on, in the {steps} steps of \
         the run\n  help: begin the warm-up earlier (--start-warmup-step), make it shorter (--warmup-steps), or the run longer"
    )]
    WarmUp {
        /// Steps of the warm-up.
        warmup: u64,
        /// The step at which it begins.
        start: u64,
        /// Steps of the run.
        steps: u64,
    },
    /// Two texts at once, and a model that was trained with one.
    #[error(
        "the model tells no two segments apart (type_vocab_size 1), and this shows it two texts at once\n  help: use a model \
         with two segments, or join the texts in one column"
    )]
    OneSegment,
    /// A model for something that no task here is.
    #[error(
        "{} tells {outputs} values of a text (problem_type regression in its config.json), which no task here asks for\n  help: if \
         they are classes, set problem_type to single_label_classification",
        shown(model)
    )]
    SeveralValues {
        /// The model.
        model: PathBuf,
        /// How many it tells.
        outputs: usize,
    },
    /// A split that cannot be used.
    #[error(
        "the {split} set in {} has no examples with labels\n  help: {split} needs labels; test sets of GLUE have none",
        shown(.source_path)
    )]
    NothingToLearn {
        /// Which.
        split: &'static str,
        /// Where it comes from.
        source_path: PathBuf,
    },
    /// A file that is too short to be divided into what is learnt from and what is measured on.
    #[error(
        "{} has {examples} examples: every tenth is kept to measure on, which takes ten at least\n  help: give more, or name \
         a file to measure on (--dev)",
        shown(.file)
    )]
    TooFewToDivide {
        /// The file.
        file: PathBuf,
        /// How many it has.
        examples: usize,
    },
}

impl Classify for TaskError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoModel | Self::NoData | Self::WarmUp { .. } | Self::OneSegment => ExitCode::Usage,
            Self::SeveralValues { .. } => ExitCode::Checkpoint,
            Self::NothingToLearn { .. } | Self::TooFewToDivide { .. } => ExitCode::Data,
        }
    }
}

impl From<TaskError> for SessionError {
    fn from(error: TaskError) -> Self {
        Self::of_work(error)
    }
}

impl From<UnknownTask> for SessionError {
    fn from(error: UnknownTask) -> Self {
        Self::of_work(error)
    }
}
