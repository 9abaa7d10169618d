//! Why training failed.

use std::path::PathBuf;

use engine::{DeviceError, RunError};
use kernels::cpu::CpuError;
use kernels::cuda::Unavailable;
use model::ModelError;

use super::device::bytes;
use super::objective::Terms;
use crate::config::ConfigError;
use crate::data::DataError;
use crate::exit::{Classify, ExitCode};
use crate::run::checkpoint::{CheckpointError, TensorError, way_back};
use crate::run::directory::DirectoryError;
use crate::tables::InputError;
use crate::threads::ThreadsError;
use crate::tokenizer::TokenizerError;
use crate::visible::shown;

/// Why the loop failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// There is no thread that makes batches.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// A batch does not fit the plan.
    #[error(transparent)]
    Run(RunError),
    /// The device failed.
    #[error("{0}; what was computed since the last checkpoint is lost{help}", help = way_on(.0))]
    Device(#[from] DeviceError),
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
         finite or too large\n  help: the model does not compute at all: {}{}",
        .terms.model, .terms.batch
    )]
    NothingLearnt {
        /// Steps done.
        steps: u64,
        /// How the work is spoken of.
        terms: &'static Terms,
    },
    /// All steps are done, and the model is worse than none.
    #[error(
        "training diverged: after {steps} steps {finding}; no model was written\n  help: begin a run with a lower \
         --learning-rate or a longer warm-up (--warmup-steps); metrics.jsonl shows where the loss rose"
    )]
    Useless {
        /// Steps done.
        steps: u64,
        /// What shows it.
        finding: String,
    },
    /// The guard gave up.
    #[error(
        "training diverged: loss or gradient were not finite at steps {bad_steps:?}, although the run went back twice\n  \
         help: {}begin a run with a lower --learning-rate or a longer warm-up (--warmup-steps){}",
        way_back(*.newest), .terms.batch
    )]
    Diverged {
        /// Steps whose batches led to it.
        bad_steps: Vec<u64>,
        /// Step of the newest checkpoint, if there is one.
        newest: Option<u64>,
        /// How the work is spoken of.
        terms: &'static Terms,
    },
}

impl From<RunError> for TrainError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Device(error) => Self::Device(error),
            error => Self::Run(error),
        }
    }
}

impl Classify for TrainError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Threads(error) => error.exit_code(),
            Self::Device(error) => error.exit_code(),
            Self::Run(_) => ExitCode::Internal,
            Self::Checkpoint(error) => error.exit_code(),
            Self::OtherModel { .. } => ExitCode::Checkpoint,
            Self::NothingLearnt { .. } | Self::Useless { .. } | Self::Diverged { .. } => ExitCode::Diverged,
        }
    }
}

/// What to do about a device that fails in the middle of a run.
fn way_on(error: &DeviceError) -> &'static str {
    match error {
        DeviceError::Failed { .. } => "\n  help: the same command goes on from the last checkpoint",
        DeviceError::OutOfDeviceMemory { .. } => {
            "\n  help: free memory of the GPU (nvidia-smi shows who has it) or use smaller micro-batches; the same command goes on from \
             the last checkpoint"
        }
        _ => advice(error),
    }
}

/// What to do about a device that refuses, where there is something.
fn advice(error: &DeviceError) -> &'static str {
    match error {
        DeviceError::OutOfMemory { .. } | DeviceError::OutOfDeviceMemory { .. } => {
            "\n  help: use smaller micro-batches, a smaller model or shorter sequences, or free memory"
        }
        DeviceError::Compile { .. } | DeviceError::Failed { .. } => "",
    }
}

/// Why a session could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The settings, or what of them must not change.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The run directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(Box<CheckpointError>),
    /// The loop.
    #[error(transparent)]
    Train(Box<TrainError>),
    /// The processor does not have what was asked for.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The system gives no threads.
    #[error(transparent)]
    Threads(#[from] ThreadsError),
    /// A prepared folder together with something else.
    #[error(
        "{} is a folder: give one prepared folder, or one or more text files, not a mixture\n  \
         help: `albert-train prepare` makes one folder of all text files",
        shown(folder)
    )]
    MixedSources {
        /// The folder.
        folder: PathBuf,
    },
    /// Files of a task.
    #[error(transparent)]
    Input(#[from] InputError),
    /// What is wrong with the work itself, such as a task or its data.
    #[error("{error}")]
    Work {
        /// What it is.
        error: Box<dyn std::error::Error + Send + Sync>,
        /// How the program ends because of it.
        code: ExitCode,
    },
    /// The device refused or failed.
    #[error("{0}{help}", help = advice(.0))]
    Refused(#[from] DeviceError),
    /// A GPU that cannot be used.
    #[error(
        "{device} cannot be used: {reason}\n  help: --device cpu computes on the processor; `albert-train doctor` looks at the whole machine"
    )]
    Gpu {
        /// What was asked for.
        device: String,
        /// Why not.
        reason: Box<Unavailable>,
    },
    /// What a run found out by timing means nothing here.
    #[error(
        "the run's algorithms of matrix products were chosen by timing on {chosen}; here is {here}, to which they mean nothing\n  \
         help: go on with it where they were chosen; or remove {} to go on with what the library here proposes: results differ \
         in the last bits from there on (--deterministic begins a run without such a choice)", shown(.file)
    )]
    OtherProducts {
        /// Where they are recorded.
        file: PathBuf,
        /// GPU and library that they were chosen with.
        chosen: String,
        /// GPU and library of this session.
        here: String,
    },
    /// The vocabulary and the tokenizer do not belong together.
    #[error(
        "model.vocab_size is {vocab_size}, but the tokenizer has {pieces} pieces: leave vocab_size out, or give at \
         least {pieces}"
    )]
    Vocabulary {
        /// Rows of the word table.
        vocab_size: usize,
        /// Pieces of the tokenizer.
        pieces: usize,
    },
    /// The run has more steps behind it than it is to have.
    #[error(
        "the run has done {done} steps, and is to have {steps}: steps are not taken back\n  help: give at least {done} (--steps, or what \
         makes as many), or begin another run with --out"
    )]
    StepsDone {
        /// Steps done.
        done: u64,
        /// Steps of the whole run, as they are asked for now.
        steps: u64,
    },
    /// The step does not fit into memory.
    #[error(
        "a micro-batch of {micro_batch} sequences of {length} tokens needs about {needed} of memory ({activations} of it \
         activations: ALBERT shares its weights, not its activations); {available} are free for it\n  help: {advice}",
        needed = bytes(*.needed), activations = bytes(*.activations), available = bytes(*.available)
    )]
    Memory {
        /// Sequences.
        micro_batch: usize,
        /// Tokens of each.
        length: usize,
        /// Bytes needed.
        needed: usize,
        /// Of which activations.
        activations: usize,
        /// Bytes free.
        available: usize,
        /// What to do.
        advice: String,
    },
}

impl SessionError {
    /// An error that only one kind of work knows.
    pub fn of_work(error: impl std::error::Error + Classify + Send + Sync + 'static) -> Self {
        Self::Work { code: error.exit_code(), error: Box::new(error) }
    }
}

impl From<CheckpointError> for SessionError {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(Box::new(error))
    }
}

impl From<TrainError> for SessionError {
    fn from(error: TrainError) -> Self {
        Self::Train(Box::new(error))
    }
}

impl Classify for SessionError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(error) => error.exit_code(),
            Self::Data(error) => error.exit_code(),
            Self::Tokenizer(error) => error.exit_code(),
            Self::Model(error) => error.exit_code(),
            Self::Input(error) => error.exit_code(),
            Self::Work { code, .. } => *code,
            Self::MixedSources { .. } | Self::Vocabulary { .. } | Self::StepsDone { .. } => ExitCode::Usage,
            Self::Directory(error) => error.exit_code(),
            Self::Checkpoint(error) => error.exit_code(),
            Self::Train(error) => error.exit_code(),
            Self::Cpu(error) => error.exit_code(),
            Self::Threads(error) => error.exit_code(),
            Self::Gpu { reason, .. } if matches!(**reason, Unavailable::Memory { .. }) => ExitCode::Memory,
            Self::Gpu { .. } | Self::OtherProducts { .. } => ExitCode::Device,
            Self::Refused(error) => error.exit_code(),
            Self::Memory { .. } => ExitCode::Memory,
        }
    }
}
