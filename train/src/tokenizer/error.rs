use std::path::PathBuf;

use crate::exit::{Classify, ExitCode};

/// Why a tokenizer could not be loaded, trained or saved.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The operating system refused to read or write a file.
    #[error("cannot read or write {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is damaged, or is not what it was taken for.
    #[error("{path} is not a usable tokenizer: {source}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Invalid,
    },
    /// A directory without any tokenizer file in it.
    #[error(
        "{path} holds no tokenizer: expected spiece.model (or any one *.model), tokenizer.json or vocab.txt in it"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A directory with several `*.model` files, none of which has the usual name.
    #[error("{path} holds several *.model files; name the one to use")]
    Ambiguous {
        /// The directory.
        path: PathBuf,
    },
    /// Saving would leave files of two different tokenizers side by side.
    #[error("{path} is in the way: save into an empty directory, or delete the tokenizer that is there")]
    Occupied {
        /// The file in the way.
        path: PathBuf,
    },
    /// A tokenizer of another model than the one that it is to be used with.
    #[error(
        "the tokenizer has {pieces} pieces, but the model has rows for {rows}: they do not belong together; use the \
         tokenizer that the model was trained with"
    )]
    TooManyPieces {
        /// Pieces of the tokenizer.
        pieces: usize,
        /// Rows of the word table.
        rows: usize,
    },
    /// A tokenizer that is not the model's, or not any more.
    #[error(
        "the tokenizer is not the one that the model was trained with, whose fingerprint its weights hold: its files are \
         damaged or belong to another model; copy them again, or use the right ones"
    )]
    OtherModel,
    /// A vocabulary could not be trained.
    #[error("cannot train a vocabulary: {0}")]
    Training(String),
}

impl Classify for TokenizerError {
    fn exit_code(&self) -> ExitCode {
        match self {
            TokenizerError::Io { source, .. } => source.exit_code(),
            TokenizerError::Occupied { .. } | TokenizerError::TooManyPieces { .. } => ExitCode::Usage,
            TokenizerError::OtherModel => ExitCode::Checkpoint,
            _ => ExitCode::Data,
        }
    }
}

/// What is wrong with the content of a tokenizer file, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(super) String);

impl Invalid {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
