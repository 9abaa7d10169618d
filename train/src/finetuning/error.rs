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
         a file to measure on (--dev)", shown(.file)
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
            Self::NoModel | Self::NoData => ExitCode::Usage,
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
