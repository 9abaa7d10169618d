//! Why training failed.

use engine::RunError;

use crate::data::DataError;
use crate::exit::{Classify, ExitCode};
use crate::run::checkpoint::{CheckpointError, TensorError, way_back};

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A batch does not fit the plan.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint could not be saved or loaded.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint is of another model.
    #[error("the checkpoint of step {step} does not fit this model: {source}")]
    OtherModel {
        /// Its step.
        step: u64,
        /// What does not fit.
        source: TensorError,
    },
    /// All steps are done, and none changed the weights.
    #[error(
        "nothing was learnt: in none of the {steps} steps could the weights be changed, because loss or gradient were not \
         finite or too large\n  help: the model does not compute at all: look at --initializer-range and the sizes of the \
         model first; `albert-train inspect batches --step N` shows the batch of a step"
    )]
    NothingLearnt {
        /// Steps done.
        steps: u64,
    },
    /// All steps are done, and the model is worse than none.
    #[error(
        "training diverged: after {steps} steps the loss of held-out masked words is {loss:.4}, where giving all pieces the \
         same probability has {uniform:.4}; no model was written\n  help: begin a run with a lower --learning-rate or a \
         longer warm-up (--warmup-steps); metrics.jsonl shows where the loss rose"
    )]
    Useless {
        /// Steps done.
        steps: u64,
        /// Loss of held-out masked words.
        loss: f64,
        /// The same without a model.
        uniform: f64,
    },
    /// The guard gave up.
    #[error(
        "training diverged: loss or gradient were not finite at steps {bad_steps:?}, although the run went back twice\n  \
         help: {}begin a run with a lower --learning-rate or a longer warm-up (--warmup-steps); `albert-train inspect \
         batches --step N` shows the batch of a step",
        way_back(*.newest)
    )]
    Diverged {
        /// Steps whose batches led to it.
        bad_steps: Vec<u64>,
        /// Step of the newest checkpoint, if there is one.
        newest: Option<u64>,
    },
}

impl Classify for TrainError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Data(error) => error.exit_code(),
            Self::Run(_) => ExitCode::Internal,
            Self::Checkpoint(error) => error.exit_code(),
            Self::OtherModel { .. } => ExitCode::Checkpoint,
            Self::NothingLearnt { .. } | Self::Useless { .. } | Self::Diverged { .. } => ExitCode::Diverged,
        }
    }
}
