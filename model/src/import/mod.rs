//! Models from files, anybody's: `config.json` and `model.safetensors` in transformers' layout.
//!
//! Whatever a file holds is used, named in the [`Report`], or refused by name: a model that is read is the model that was
//! meant.

pub(crate) mod foreign;
mod tensors;
mod weights;

use std::path::Path;

use crate::albert::Albert;
use crate::config::AlbertConfig;
use crate::error::ModelError;
use tensors::Tensors;

/// Name of the configuration in a model directory.
pub const CONFIG_FILE: &str = "config.json";
/// Name of the weights in a model directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// A model as read from a directory.
#[derive(Debug)]
pub struct LoadedModel {
    /// Configuration and parameter layout.
    pub albert: Albert,
    /// Values in the layout of [`engine::Parameters`].
    pub values: Vec<f32>,
    /// Fingerprint of the tokenizer that the model was trained with, where the file says so.
    pub tokenizer: Option<String>,
    /// What became of everything in the files.
    pub report: Report,
}

/// What became of the tensors and keys of a model's files. What is neither here nor an error repeats something that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tensors that became parameters, under their names in the file.
    pub mapped: Vec<String>,
    /// Tensors that the model has no place for: heads of other tasks.
    pub unused: Vec<String>,
    /// Keys of the configuration that have no meaning here.
    pub unused_keys: Vec<String>,
}

/// Reads a model directory with the heads that its weights hold.
///
/// # Errors
/// If a file is missing, damaged or something else than it should be, does not fit the configuration, or asks for what is
/// not computed here; if a weight is not finite; if there is not enough memory.
pub fn load(directory: &Path) -> Result<LoadedModel, ModelError> {
    let mut config = weights::config(directory)?;
    let tensors = Tensors::open(weights::files(directory)?)?;
    config.maps_equal_widths = config.embedding_size == config.hidden_size && tensors.have_mapping_in();
    let albert = Albert::new(config, tensors.heads())?;
    // Before memory is asked for: what a configuration promises may be terabytes.
    let parts = tensors.assign(&albert)?;
    let unused = tensors.unused(&albert, &parts)?;
    let tokenizer = tensors.check_hashes()?;
    let values = tensors.read(&albert, &parts)?;
    tensors.check_repetitions(&albert, &parts, &values)?;
    let unused_keys = albert.config().unused_keys();
    let mapped = parts.iter().map(|part| part.name().to_owned()).collect();
    Ok(LoadedModel { albert, values, tokenizer, report: Report { mapped, unused, unused_keys } })
}
