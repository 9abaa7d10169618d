//! Why a run directory cannot be used.

use std::io;
use std::path::PathBuf;

use crate::exit::{Classify, ExitCode};
use crate::hub::HubError;
use crate::run::lock::LockError;
use crate::visible::shown;

/// Why a run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There are files of somebody else.
    #[error(
        "{} is not empty and not a run of this program (it holds {example})\n  help: nothing in it was touched; \
         use another folder, for example {}",
        shown(.path), shown(.suggestion)
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// A name in it.
        example: String,
        /// A folder that would do.
        suggestion: PathBuf,
    },
    /// A file is where the run, or a folder on the way to it, would be.
    #[error("{} is no folder, and a run is one\n  help: nothing was touched; name another place with --out", shown(.path))]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// Something is where the run's own file or folder would be. Through a link, files elsewhere would change.
    #[error("{} is {found}, where a run has {expected} of its own\n  help: nothing was touched; move it elsewhere", shown(.path))]
    InTheWay {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What would be there.
        expected: &'static str,
    },
    /// Another process is at work there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file of the run is not what this program writes.
    #[error("{} is damaged: {source}\n  help: the checkpoints beside it are untouched; remove this file to go on", shown(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The run goes on with something else than it was begun with.
    #[error(
        "the run in {} was begun with other training data, held out another part of it, or has another tokenizer or \
         model{}\n  help: give what it was begun with (it is in its config.toml; earlier versions followed no links to folders \
         in a folder of text: name the files themselves), or start another run with --out",
        shown(.path), of_data(.difference)
    )]
    OtherData {
        /// The folder.
        path: PathBuf,
        /// What else its data were prepared with, and how it goes on with them; empty where that is not known.
        difference: String,
    },
    /// A run that was killed before it could leave a model.
    #[error(
        "{} is a run without a model: it is written when the run ends or is stopped (Ctrl-C, --max-time); run its command \
         again, and stop it, to look at what is there", shown(.run)
    )]
    NoModelYet {
        /// Its folder.
        run: PathBuf,
    },
    /// A model of the Hub that is not on this machine.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Nothing that is to be shown.
    #[error(
        "there is no run in {places}\n  help: name the directory that pretrain or finetune was given as --out"
    )]
    NoRun {
        /// Where one was looked for.
        places: String,
    },
    /// The file system refused something.
    #[error("{action} {}: {source}", shown(.path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn of_data(difference: &str) -> String {
    match difference {
        "" => String::new(),
        _ => format!(" (its data were prepared with another {difference})"),
    }
}

impl Classify for DirectoryError {
    fn exit_code(&self) -> ExitCode {
        match self {
            DirectoryError::Foreign { .. }
            | DirectoryError::NoFolder { .. }
            | DirectoryError::OtherData { .. }
            | DirectoryError::NoModelYet { .. }
            | DirectoryError::NoRun { .. } => ExitCode::Usage,
            DirectoryError::Hub(error) => error.exit_code(),
            DirectoryError::Lock(error) => error.exit_code(),
            DirectoryError::Damaged { .. } => ExitCode::Checkpoint,
            DirectoryError::InTheWay { .. } => ExitCode::Io,
            DirectoryError::Io { source, .. } => source.exit_code(),
        }
    }
}
