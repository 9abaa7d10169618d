use std::io;
use std::path::{Path, PathBuf};

use engine::{DeviceError, RunError};
use model::ModelError;

use crate::data::DataError;
use crate::exit::{Classify, ExitCode};
use crate::run::signals::StopReason;
use crate::tokenizer::TokenizerError;
use crate::visible::shown;

/// Why a model cannot be put to work on some input.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The model directory.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The text.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Numbers that the model has no row for.
    #[error("the input does not fit the model: {0}")]
    Run(#[from] RunError),
    /// The device refused, for want of memory.
    #[error("{0}\n  help: use a smaller model or shorter sequences, or free memory")]
    Device(#[from] DeviceError),
    /// More tokens than positions.
    #[error(
        "{what} has {found} tokens, but the model has {positions} positions: shorten it, or split it into several"
    )]
    TooLong {
        /// Which sequence.
        what: String,
        /// Its tokens, special ones included.
        found: usize,
        /// Rows of the position table.
        positions: usize,
    },
    /// Padding where the token is that stands for its sequence.
    #[error(
        "sequence {sequence} begins with padding (its attention_mask is 0 there), but pooler_output and sop_logits are read \
         from the first token, which is [CLS] in training: pad on the right (padding_side=\"right\")"
    )]
    LeftPadding {
        /// The first such sequence.
        sequence: usize,
    },
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Text without a tokenizer.
    #[error(
        "the input is text, but there is no tokenizer to make ids of it: name one, or give ids in a safetensors file"
    )]
    NoTokenizer,
    /// A model without what is asked of it.
    #[error(
        "the model has no {head} (its weights are not in model.safetensors): use a pre-trained model as saved by pretrain"
    )]
    MissingHead {
        /// What is missing.
        head: &'static str,
    },
    /// A text without a mask.
    #[error("there is no [MASK] in \"{text}\": write [MASK] where a piece is to be filled in")]
    NoMask {
        /// The text.
        text: String,
    },
    /// A border between segments where none can be.
    #[error("[SEP] stands between the two segments of a text, A [SEP] B, but \"{text}\" is not two segments")]
    Segments {
        /// The text.
        text: String,
    },
    /// Somebody asked to stop; nothing was written.
    #[error("stopped: {0}; nothing was written")]
    Stopped(StopReason),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", shown(path))]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason given by the system.
        source: io::Error,
    },
    /// Not a safetensors file, or not one with sequences in it.
    #[error("{}: {problem}", shown(path))]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
}

impl InferenceError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path: path.clone(), source }
    }
}

impl Classify for InferenceError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Model(error) => match error.exit_code() {
                ExitCode::Usage => ExitCode::Checkpoint, // a value is senseless, but not the user's: it is in a file
                code => code,
            },
            Self::Data(error) => error.exit_code(),
            Self::Tokenizer(error) => error.exit_code(),
            Self::Device(error) | Self::Run(RunError::Device(error)) => error.exit_code(),
            Self::NoTokenizer | Self::MissingHead { .. } | Self::NoMask { .. } | Self::Segments { .. } => {
                ExitCode::Usage
            }
            Self::Stopped(StopReason::Interrupt) => ExitCode::Killed,
            Self::Stopped(_) => ExitCode::Terminated,
            Self::Run(_) | Self::TooLong { .. } | Self::LeftPadding { .. } | Self::Tensors { .. } => {
                ExitCode::Data
            }
            Self::Io { source, .. } => source.exit_code(),
        }
    }
}
