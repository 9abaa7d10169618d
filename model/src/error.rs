use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::visible::{shown, visible};

/// A model directory that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of it.
    #[error("cannot {action} {}: {source}", shown(path))]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The weights are not a safetensors file: truncated, damaged, or something else.
    #[error(
        "{} is not a whole safetensors file ({}): copy it again from where it came",
        shown(path),
        visible(problem)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The index of a TensorFlow checkpoint is damaged.
    #[error(
        "{} is not the index of a whole TensorFlow checkpoint ({}): copy it again from where it came",
        shown(path),
        visible(problem)
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive that is damaged, or that no release is.
    #[error(
        "the archive {} is not read: {problem}\n  help: copy it again from where it came; or, where you trust what is in it, unpack \
         it yourself (tar -xzf) and name the folder of the model",
        shown(path)
    )]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive that cannot be unpacked for want of a place.
    #[error(
        "cannot unpack {} into {}: {source}\n  help: that is where temporary files go; TMPDIR names another folder, with \
         room for what is in the archive",
        shown(archive),
        shown(folder)
    )]
    Unpack {
        /// The archive.
        archive: PathBuf,
        /// Where it is unpacked.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A folder with more than one model.
    #[error("{} holds several models: name one of {}", shown(path), some(&found.iter().map(|path| shown(path)).collect::<Vec<_>>()))]
    Several {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        found: Vec<PathBuf>,
    },
    /// A file that is something else altogether.
    #[error("{} is {kind}", shown(path))]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// What it is, and the way out.
        kind: &'static str,
    },
    /// The weights are there in a form that is not read.
    #[error("{} is {kind}, and there is no model.safetensors beside it: {way_out}", shown(path))]
    OtherForm {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// How to get what is read.
        way_out: String,
    },
    /// The weights are not those that were written.
    #[error(
        "{} is damaged: its weights are not those whose hash it holds; copy it again from where it came, or, if they \
         were changed on purpose, write them without the metadata {key}",
        shown(path)
    )]
    Hash {
        /// The file.
        path: PathBuf,
        /// The key of the hash.
        key: &'static str,
    },
    /// Tensors that the configuration asks for are not there.
    #[error(
        "{} lacks {} of the tensors that its configuration asks for: {}{}\n  help: copy the whole model from where it came; weights \
         are never left at random unless that is allowed by name (--allow-missing NAME, of convert and finetune)",
        shown(path), missing.len(), some(missing), instead(found)
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// Names that are missing.
        missing: Vec<String>,
        /// Names that are there and unknown.
        found: Vec<String>,
    },
    /// The head is another kind's, or there is none.
    #[error(
        "{} holds an {found}, which answers something else than the {expected} that is needed here: use a model that was \
         fine-tuned for this kind of task (`albert-train finetune` makes one)",
        shown(path)
    )]
    OtherHead {
        /// The file.
        path: PathBuf,
        /// What it holds: transformers' class, and the task where that has several.
        found: &'static str,
        /// What is needed.
        expected: &'static str,
    },
    /// A tensor does not fit the configuration.
    #[error("{}: tensor {} {}", shown(path), visible(name), visible(problem))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is not enough memory for the weights.
    #[error(
        "the weights of {} take {bytes} bytes of memory, which there are not: free memory, or use a smaller model",
        shown(path)
    )]
    Memory {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        bytes: usize,
    },
}

impl ModelError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// The first of many names.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let first = names.iter().take(SHOWN).map(|name| visible(name)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{first}, …") } else { first }
}

fn instead(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!("; unknown names that it holds: {}", some(found)) }
}
