//! Which of a model's files are fetched: those that this program reads.

use std::collections::BTreeSet;

use model::{CONFIG_FILE, WEIGHTS_FILE};
use serde::Deserialize;

use crate::hub::{DownloadError, is_name};

/// The list of files over which large weights are spread.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// A tokenizer, whatever form it has, and what is said about it.
const TOKENIZER_FILES: [&str; 6] = [
    "spiece.model",
    "tokenizer.json",
    "vocab.txt",
    "added_tokens.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// Of the files that a model has, those to fetch, the configuration first and without the parts of spread weights.
///
/// # Errors
/// If it has no weights that are read here, or no configuration.
pub fn files(model: &str, listed: &[String]) -> Result<Vec<String>, DownloadError> {
    let has = |name: &str| listed.iter().any(|listed| listed == name);
    let weights = [WEIGHTS_FILE, INDEX_FILE].into_iter().find(|name| has(name));
    let Some(weights) = weights else { return Err(no_weights(model, listed)) };
    if !has(CONFIG_FILE) {
        return Err(DownloadError::OtherModel { model: model.into(), problem: "it has none".into() });
    }
    let tokenizer = TOKENIZER_FILES.into_iter().filter(|name| has(name));
    let mut files: Vec<_> = [CONFIG_FILE, weights].into_iter().chain(tokenizer).map(str::to_owned).collect();
    if !has("spiece.model") {
        files.extend(listed.iter().filter(|name| name.ends_with(".model") && is_name(name)).cloned());
    }
    Ok(files)
}

/// The files over which weights are spread, as their index says; all of them are among those `listed`.
///
/// # Errors
/// What is wrong with the index.
pub fn parts(index: &[u8], listed: &[String]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| error.to_string())?;
    let parts: BTreeSet<_> = index.weight_map.into_values().collect();
    match parts.iter().find(|part| !listed.contains(part) || !is_name(part)) {
        Some(missing) => Err(format!("{INDEX_FILE} names {missing}, which is no file beside it")),
        None => Ok(parts.into_iter().collect()),
    }
}

/// What a model has in place of weights in safetensors.
fn no_weights(model: &str, listed: &[String]) -> DownloadError {
    let with = |endings: &[&str]| {
        let ends = |name: &str| endings.iter().any(|ending| name.ends_with(ending));
        listed.iter().filter(|name| ends(name)).map(String::as_str).take(3).collect::<Vec<_>>().join(", ")
    };
    let pickles = with(&[".bin", ".pt", ".pth", ".ckpt", ".pkl", ".ot"]);
    let others = with(&[".h5", ".msgpack", ".onnx", ".gguf", ".safetensors"]);
    let (found, help) = if !pickles.is_empty() {
        let found = format!("{pickles} is a pickle, which is a program that runs when it is read");
        let copy = format!("a copy in safetensors may be proposed to it: hf:{model}@refs/pr/1 and so on");
        (found, format!("{copy}; or convert it where you trust it (README, \"Models from elsewhere\")"))
    } else if !others.is_empty() {
        (format!("{others} is not read here"), "convert it to model.safetensors with transformers".into())
    } else {
        ("it has no weights at all".into(), "check the name and the revision".into())
    };
    DownloadError::NoWeights { model: model.into(), found, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(listed: &[&str]) -> Result<Vec<String>, String> {
        let listed: Vec<_> = listed.iter().map(|name| (*name).to_owned()).collect();
        files("me/mine", &listed).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_read_is_fetched_and_nothing_else() {
        let whole = ["README.md", "pytorch_model.bin", "config.json", "spiece.model", "model.safetensors"];
        assert_eq!(chosen(&whole).unwrap(), ["config.json", "model.safetensors", "spiece.model"]);
        let spread = [
            "config.json",
            INDEX_FILE,
            "model-00001-of-00001.safetensors",
            "30k.model",
            "x/y.model",
            "a b.model",
        ];
        assert_eq!(chosen(&spread).unwrap(), ["config.json", INDEX_FILE, "30k.model"]);
        assert!(chosen(&["model.safetensors"]).unwrap_err().contains("config.json: it has none"));
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        for (name, part) in [
            ("pytorch_model.bin", "a program that runs when it is read"),
            ("tf_model.h5", "tf_model.h5 is not read here"),
            ("README.md", "no weights at all"),
        ] {
            let error = chosen(&["config.json", name]).unwrap_err();
            assert!(error.contains(part) && error.contains("help: "), "{error}");
        }
    }

    #[test]
    fn an_index_names_files_beside_it() {
        let listed = ["a.safetensors".to_owned(), "b.safetensors".to_owned(), "x/c.safetensors".to_owned()];
        let parts = |files: [&str; 3]| {
            let [a, b, c] = files;
            parts(format!(r#"{{"weight_map": {{"1": "{a}", "2": "{b}", "3": "{c}"}}}}"#).as_bytes(), &listed)
        };
        let both = parts(["b.safetensors", "a.safetensors", "b.safetensors"]).unwrap();
        assert_eq!(both, ["a.safetensors", "b.safetensors"]);
        for wrong in ["../../x", "c.safetensors", "x/c.safetensors"] {
            let error = parts(["a.safetensors", "b.safetensors", wrong]).unwrap_err();
            assert!(error.contains(wrong) && error.contains("no file beside it"), "{error}");
        }
    }
}
