//! Which files of a directory hold the configuration and the weights.

use std::path::{Path, PathBuf};

use super::{AlbertConfig, CONFIG_FILE, ModelError, WEIGHTS_FILE};

/// The list of files over which large weights are spread.
const INDEX_FILE: &str = "model.safetensors.index.json";
/// The configuration of TensorFlow's releases.
const TENSORFLOW_CONFIG: &str = "albert_config.json";

/// The configuration in `directory`.
pub(super) fn config(directory: &Path) -> Result<AlbertConfig, ModelError> {
    let path = directory.join(CONFIG_FILE);
    let released = directory.join(TENSORFLOW_CONFIG);
    if !path.exists() && released.exists() {
        return Err(ModelError::OtherForm {
            path: released,
            kind: "the configuration of a TensorFlow release",
            way_out: "such checkpoints are not read yet; convert it with transformers' \
                      convert_albert_original_tf_checkpoint_to_pytorch.py, and save the result with save_pretrained"
                .into(),
        });
    }
    Ok(AlbertConfig::load(&path)?)
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
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
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
    names.iter().find_map(|name| {
        let (kind, way_out) = if name == "pytorch_model.bin.index.json" {
            let spread = "PyTorch's pickled weights, spread over files";
            (
                spread,
                "convert each of them to safetensors and name them in model.safetensors.index.json".into(),
            )
        } else if name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth") {
            ("PyTorch's pickled weights", convert(name))
        } else if name.ends_with(".h5") {
            ("TensorFlow's weights in HDF5", through_transformers("from_tf"))
        } else if name.ends_with(".msgpack") {
            ("Flax's weights", through_transformers("from_flax"))
        } else if name.contains(".ckpt") {
            ("a TensorFlow checkpoint", through_transformers("from_tf"))
        } else if name == "adapter_model.safetensors" {
            (
                "an adapter to a model, not a model",
                "merge it into its model with peft (merge_and_unload)".into(),
            )
        } else if name.ends_with(".safetensors") {
            ("a safetensors file under another name", format!("if it is the model's, name it {WEIGHTS_FILE}"))
        } else {
            return None;
        };
        Some(ModelError::OtherForm { path: directory.join(name), kind, way_out })
    })
}
