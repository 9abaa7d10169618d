//! Which files of a directory hold the configuration and the weights.

use std::path::{Path, PathBuf};

use super::{AlbertConfig, CONFIG_FILE, ModelError, WEIGHTS_FILE};

/// The list of files over which large weights are spread.
const INDEX_FILE: &str = "model.safetensors.index.json";
/// The configuration of TensorFlow's releases.
pub(super) const TENSORFLOW_CONFIG: &str = "albert_config.json";

/// The configuration in `directory`.
pub(super) fn config(directory: &Path) -> Result<AlbertConfig, ModelError> {
    Ok(AlbertConfig::load(&directory.join(CONFIG_FILE))?)
}

/// Whether a directory has weights in safetensors.
pub(super) fn has_safetensors(directory: &Path) -> bool {
    [WEIGHTS_FILE, INDEX_FILE].iter().any(|name| directory.join(name).exists())
}

/// The names of what a directory holds, in order, but for hidden files: where archives were made on a Mac, each file has one
/// beside it, `._` and its name, that is nothing of the model's.
pub(super) fn names(directory: &Path) -> std::io::Result<Vec<String>> {
    let entries = std::fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> =
        entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

/// The files of the weights: one, or as many as an index names.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let (weights, index) = (directory.join(WEIGHTS_FILE), directory.join(INDEX_FILE));
    if weights.exists() {
        Ok(vec![weights])
    } else if index.exists() {
        shards(directory, &index)
    } else {
        Err(other_form(directory).unwrap_or_else(|| {
            ModelError::io("read", &weights)(std::io::Error::from(std::io::ErrorKind::NotFound))
        }))
    }
}

/// The files that an index names: `weight_map` says for each tensor in which of them it is.
fn shards(directory: &Path, index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let bytes = std::fs::read(index).map_err(ModelError::io("read", index))?;
    if let Some(kind) = super::foreign::recognise(&bytes) {
        return Err(ModelError::OtherFile { path: index.to_owned(), kind });
    }
    let damaged = |problem: String| ModelError::Damaged { path: index.to_owned(), problem };
    let Index { weight_map } = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut names: Vec<_> = weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(damaged("it names no file".into()));
    }
    // An index of a stranger names files beside it, and none elsewhere.
    match names.iter().find(|name| Path::new(name).file_name().is_none_or(|plain| plain != name.as_str())) {
        Some(name) => Err(damaged(format!("it names `{name}`, which is no file beside it"))),
        None => Ok(names.iter().map(|name| directory.join(name)).collect()),
    }
}

/// What a directory without `model.safetensors` holds in its place.
fn other_form(directory: &Path) -> Option<ModelError> {
    names(directory).ok()?.iter().find_map(|name| {
        let (kind, way_out) = other_file(name)?;
        Some(ModelError::OtherForm { path: directory.join(name), kind, way_out })
    })
}

/// What a file of this name is that is no form of weights that is read, and the way out.
pub(super) fn other_file(name: &str) -> Option<(&'static str, String)> {
    let convert = |name: &str| {
        format!(
            "such a file is a program that runs when it is read; convert it once, where you trust it: python -c \"import \
             torch; from safetensors.torch import save_file; t = torch.load('{name}', map_location='cpu', \
             weights_only=True); save_file({{k: v.clone().contiguous() for k, v in t.items()}}, '{WEIGHTS_FILE}', \
             {{'format': 'pt'}})\""
        )
    };
    let through_transformers = |flag: &str| {
        format!(
            "convert it with transformers: AutoModelForPreTraining.from_pretrained(FOLDER, {flag}=True).save_pretrained(FOLDER)"
        )
    };
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if name == "pytorch_model.bin.index.json" {
        let spread = "PyTorch's pickled weights, spread over files";
        Some((
            spread,
            "convert each of them to safetensors and name them in model.safetensors.index.json".into(),
        ))
    } else if ends(&[".bin", ".pt", ".pth", ".ckpt"]) {
        Some(("PyTorch's pickled weights", convert(name)))
    } else if ends(&[".h5"]) {
        Some(("TensorFlow's weights in HDF5", through_transformers("from_tf")))
    } else if ends(&[".msgpack"]) {
        Some(("Flax's weights", through_transformers("from_flax")))
    } else if name == "adapter_model.safetensors" {
        Some((
            "an adapter to a model, not a model",
            "merge it into its model with peft (merge_and_unload)".into(),
        ))
    } else if name.contains(".ckpt") {
        let index =
            "copy the files of the checkpoint that are not there: NAME.index and NAME.data-00000-of-00001"
                .into();
        Some(("a part of a TensorFlow checkpoint", index))
    } else if ends(&[".safetensors"]) {
        Some((
            "a safetensors file under another name",
            format!("if it is the model's, name it {WEIGHTS_FILE}"),
        ))
    } else {
        None
    }
}
