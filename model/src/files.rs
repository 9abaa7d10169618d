//! A model directory in transformers' layout: `config.json` and `model.safetensors`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::albert::{Albert, Heads};
use crate::config::{AlbertConfig, ConfigError};

/// Name of the configuration in a model directory.
pub const CONFIG_FILE: &str = "config.json";
/// Name of the weights in a model directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// A model directory that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of it.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The weights are not a safetensors file: truncated, damaged, or something else.
    #[error("{} is not a whole safetensors file ({source}): copy it again from where it came", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// Tensors that the configuration asks for are not there.
    #[error("{} lacks {} of the tensors that its configuration asks for, such as {}: \
             weights are never left at random", path.display(), missing.len(), missing[0])]
    Missing {
        /// The file.
        path: PathBuf,
        /// Names that are missing.
        missing: Vec<String>,
    },
    /// A tensor does not fit the configuration.
    #[error("{}: tensor {name} {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A model as read from a directory.
#[derive(Debug)]
pub struct LoadedModel {
    /// Configuration and parameter layout.
    pub albert: Albert,
    /// Values in the layout of [`engine::Parameters`].
    pub values: Vec<f32>,
    /// Tensors of the file that the model has no place for.
    pub ignored: Vec<String>,
}

/// Reads a model directory with the heads that its weights hold.
///
/// # Errors
/// If a file is missing, damaged or does not fit the configuration, or a weight is not finite.
pub fn load(directory: &Path) -> Result<LoadedModel, ModelError> {
    let config = AlbertConfig::load(&directory.join(CONFIG_FILE))?;
    let path = directory.join(WEIGHTS_FILE);
    let bytes = std::fs::read(&path).map_err(|source| ModelError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|source| ModelError::Damaged { path: path.clone(), source })?;
    let names: HashMap<String, &str> =
        tensors.names().into_iter().map(|name| (canonical(name), name)).collect();
    let has = |name: &str| names.contains_key(name);
    let pooler = has("albert.pooler.weight");
    let heads = Heads {
        pooler,
        masked_lm: has("predictions.dense.weight"),
        sentence_order: pooler && has("sop_classifier.classifier.weight"),
    };
    let albert = Albert::new(config, heads)?;
    let parameters = albert.parameters();
    let missing: Vec<_> =
        parameters.parts().filter(|part| !has(&part.name)).map(|part| part.name.clone()).collect();
    if !missing.is_empty() {
        return Err(ModelError::Missing { path, missing });
    }
    let mut values = vec![0.0; parameters.buffer_length()];
    for (part, range) in parameters.placed_parts() {
        let problem = |problem| ModelError::Tensor { path: path.clone(), name: part.name.clone(), problem };
        let view = tensors
            .tensor(names[&part.name])
            .map_err(|source| ModelError::Damaged { path: path.clone(), source })?;
        if view.shape() != part.shape {
            let (found, expected) = (view.shape(), &part.shape);
            return Err(problem(format!(
                "has shape {found:?} where the configuration asks for {expected:?}"
            )));
        }
        decode(&view, &mut values[range]).map_err(problem)?;
    }
    let known: std::collections::HashSet<_> = parameters.parts().map(|part| part.name.as_str()).collect();
    let mut ignored: Vec<_> = names
        .iter()
        .filter(|(name, _)| !known.contains(name.as_str()))
        .map(|(_, name)| (*name).to_owned())
        .collect();
    ignored.retain(|name| !is_redundant(name));
    ignored.sort();
    Ok(LoadedModel { albert, values, ignored })
}

/// The name with the prefix that an encoder saved alone does not have.
fn canonical(name: &str) -> String {
    let bare = ["embeddings.", "encoder.", "pooler."].iter().any(|prefix| name.starts_with(prefix));
    if bare { format!("albert.{name}") } else { name.to_owned() }
}

/// Tensors that repeat others: the tied decoder and the list of positions.
fn is_redundant(name: &str) -> bool {
    name.starts_with("predictions.decoder.") || name.ends_with("embeddings.position_ids")
}

fn decode(view: &TensorView<'_>, values: &mut [f32]) -> Result<(), String> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => fill(values, bytes, f32::from_le_bytes),
        Dtype::F16 => fill(values, bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => fill(values, bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        other => return Err(format!("is {other:?}; F32, F16 and BF16 are read")),
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(format!(
            "holds {} at element {index}: the file is damaged or the model diverged",
            values[index]
        )),
        None => Ok(()),
    }
}

fn fill<const N: usize>(values: &mut [f32], bytes: &[u8], decode: impl Fn([u8; N]) -> f32) {
    for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(N)) {
        *value = decode(bytes.try_into().expect("chunks are exact"));
    }
}

/// Writes `config.json` and `model.safetensors` into `directory`, each whole or not at all.
///
/// # Errors
/// If a file cannot be written.
pub fn save(directory: &Path, albert: &Albert, values: &[f32]) -> Result<(), ModelError> {
    std::fs::create_dir_all(directory).map_err(io_error("create", directory))?;
    let views = albert.parameters().placed_parts().map(|(part, range)| {
        let bytes = bytemuck::cast_slice(&values[range]);
        let view = TensorView::new(Dtype::F32, part.shape.clone(), bytes);
        (part.name.clone(), view.expect("a part's range has its shape's length"))
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let path = directory.join(WEIGHTS_FILE);
    let weights = safetensors::serialize(views, Some(metadata))
        .map_err(|error| io_error("write", &path)(std::io::Error::other(error)))?;
    write(&path, &weights)?;
    write(&directory.join(CONFIG_FILE), albert.config().to_json().as_bytes())
}

/// Writes a file beside its place, syncs it, and puts it there.
fn write(path: &Path, content: &[u8]) -> Result<(), ModelError> {
    let mut staged = path.as_os_str().to_owned();
    staged.push(".tmp");
    let staged = Path::new(&staged);
    let write = || {
        let mut file = File::create(staged)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(staged, path)
    };
    write().map_err(io_error("write", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::Io { action, path, source }
}
