//! Why a model of the Hub cannot be had.

use std::io;
use std::path::PathBuf;

use super::Reference;
use crate::exit::{Classify, ExitCode};
use crate::visible::shown;

/// A model that cannot be had from the cache.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No name of a model.
    #[error("`{0}` names no model of the Hub\n  help: write hf:owner/name, or hf:owner/name@revision")]
    Name(String),
    /// A name where a path is expected.
    #[error(
        "there is nothing at {path}\n  help: if a model of the Hugging Face Hub is meant, write {reference}"
    )]
    NoPath {
        /// What was given.
        path: String,
        /// What may be meant by it.
        reference: Reference,
    },
    /// It is not there.
    #[error(
        "{model} is not in the cache {}\n  help: fetch it with `albert-train download hf:{model}`, or name another cache by \
         HF_HUB_CACHE", shown(.cache)
    )]
    NotCached {
        /// `owner/name`
        model: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// Another revision of it is.
    #[error(
        "{model} is in the cache, but not its revision {revision}\n  help: {}; fetch it with \
         `albert-train download hf:{model}@{revision}`", known(.revisions)
    )]
    NoRevision {
        /// `owner/name`
        model: String,
        /// What was asked for.
        revision: String,
        /// What there is.
        revisions: Vec<String>,
    },
    /// Some of its files are, and its weights are not among them.
    #[error(
        "{} is in the cache, but not with its weights in safetensors\n  help: fetch what is missing with `albert-train download {reference}`{otherwise}",
        .reference.model()
    )]
    NoWeights {
        /// What was asked for.
        reference: Reference,
        /// What else can be done, where its weights are there in another form.
        otherwise: String,
    },
    /// No home directory.
    #[error("there is no cache of the Hub: neither HF_HUB_CACHE nor HF_HOME nor HOME is set")]
    NoCache,
}

fn known(revisions: &[String]) -> String {
    if revisions.is_empty() { "it has none".into() } else { format!("it has {}", revisions.join(", ")) }
}

impl Classify for HubError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// A model that cannot be fetched. No message has the token in it, nor an address to which somebody signed the way.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The program cannot do it.
    #[error(
        "this program was built without its feature `download`\n  help: build it with that feature, which needs a C compiler \
         for its TLS library, or fetch the model by `hf download {model}` of huggingface_hub: it is found where that puts it"
    )]
    NotBuilt {
        /// `owner/name`
        model: String,
    },
    /// It is no model, or there is no cache.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The network is not to be used.
    #[error(
        "{variable} is set, and {model} is not in the cache, or not whole\n  help: unset it to fetch; models that are in the cache are read \
         without a network"
    )]
    Offline {
        /// `owner/name`
        model: String,
        /// The variable that says so.
        variable: &'static str,
    },
    /// A variable of the environment, or a file that it names, is not what it should be.
    #[error("{variable} {problem}")]
    Setting {
        /// Its name.
        variable: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// It is not there, or not for everybody.
    #[error(
        "{host} has no model {model}{}\n  help: check the name{}", if *.signed { "" } else { " that everybody may read" },
        if *.signed { "; if it is private, use an access token of its owner (HF_TOKEN)" } else {
            "; for a private model, put your access token into HF_TOKEN (made at https://huggingface.co/settings/tokens)"
        }
    )]
    NoModel {
        /// `owner/name`
        model: String,
        /// Who was asked.
        host: String,
        /// Whether with a token.
        signed: bool,
    },
    /// It has no such revision.
    #[error(
        "{host} has no revision {revision} of {model}\n  help: name a branch, a tag or a commit of it, or none for main"
    )]
    NoRevision {
        /// `owner/name`
        model: String,
        /// What was asked for.
        revision: String,
        /// Who was asked.
        host: String,
    },
    /// A file that it is said to have is not there.
    #[error(
        "{host} has no file {file} of {model}, although it lists it\n  help: try again, or name another revision"
    )]
    NoFile {
        /// `owner/name`
        model: String,
        /// The file.
        file: String,
        /// Who was asked.
        host: String,
    },
    /// Not for everybody, or not with this token.
    #[error("{host} does not give {model} {}\n  help: {help}", if *.signed { "to the owner of this token" } else {
        "without an access token" })]
    Refused {
        /// `owner/name`
        model: String,
        /// Who was asked.
        host: String,
        /// Whether with a token.
        signed: bool,
        /// What to do.
        help: String,
    },
    /// Another answer than a file.
    #[error("{host} answered {status} when asked for {what}\n  help: {help}")]
    Status {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// HTTP's status.
        status: String,
        /// What to do.
        help: &'static str,
    },
    /// An answer that does not mean what it should.
    #[error(
        "{host} answered as the Hub does not, when asked for {what}: {problem}\n  help: check HF_ENDPOINT"
    )]
    Answer {
        /// Who was asked.
        host: String,
        /// For what.
        what: String,
        /// What is odd.
        problem: String,
    },
    /// No answer.
    #[error("cannot reach {host}: {problem}\n  help: {help}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Why not.
        problem: String,
        /// What to do.
        help: &'static str,
    },
    /// The rest of a file does not come.
    #[error(
        "{file} came from {host} only to byte {received}: {problem}\n  help: run the same command again: it goes on from \
         there"
    )]
    Broken {
        /// The file.
        file: String,
        /// Who sent it.
        host: String,
        /// How much of it is there.
        received: u64,
        /// What broke it off.
        problem: String,
    },
    /// What came is not what was announced.
    #[error(
        "{what} is not what {host} announced: its hash is {found} in place of {announced}; it was not kept\n  help: \
         try again; if it stays so, a proxy on the way or the copy at {host} is damaged"
    )]
    Hash {
        /// The file, and the model.
        what: String,
        /// Who announced it.
        host: String,
        /// What it should be.
        announced: String,
        /// What it is.
        found: String,
    },
    /// No weights that are read here.
    #[error("{model} has no model.safetensors, and was not fetched: {found}\n  help: {help}")]
    NoWeights {
        /// `owner/name`
        model: String,
        /// What it has in their place.
        found: String,
        /// What to do.
        help: String,
    },
    /// Another kind of model.
    #[error("{model} is no model for this program, and was not fetched: its config.json: {problem}")]
    OtherModel {
        /// `owner/name`
        model: String,
        /// Why not.
        problem: String,
    },
    /// The file system refused something.
    #[error("cannot {action} {}: {source}\n  help: HF_HUB_CACHE names another place", shown(.path))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Classify for DownloadError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Hub(error) => error.exit_code(),
            Self::NotBuilt { .. }
            | Self::Offline { .. }
            | Self::Setting { .. }
            | Self::NoModel { .. }
            | Self::NoRevision { .. }
            | Self::Refused { .. } => ExitCode::Usage,
            Self::NoFile { .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. } => ExitCode::Io,
            Self::Hash { .. } | Self::NoWeights { .. } | Self::OtherModel { .. } => ExitCode::Checkpoint,
            Self::Io { source, .. } => source.exit_code(),
        }
    }
}
