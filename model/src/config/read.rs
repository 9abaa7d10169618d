//! `config.json` as other programs write it.
//!
//! Every key is used, has no bearing on what is computed, is named by [`AlbertConfig::unused_keys`], or is refused.

use std::path::Path;

use serde_json::{Map, Value};

use super::{AlbertConfig, ConfigError};
use crate::import::foreign;

/// Sizes that must be there: implementations differ in what they take instead, and some leave no trace in the weights.
const REQUIRED: [&str; 5] =
    ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"];

/// Keys with a value at which they change nothing, and why any other is refused.
const REFUSED: [(&str, &str, &str); 4] = [
    (
        "model_type",
        "\"albert\"",
        "this is the configuration of another kind of model; only ALBERT is computed here",
    ),
    ("position_embedding_type", "\"absolute\"", "relative positions are not computed here"),
    ("ln_type", "\"postln\"", "layer norms stand after each residual connection here"),
    ("pruned_heads", "{}", "models with pruned heads are not computed here"),
];

/// Keys of the published files with the value at which they change nothing; any other is named as unused.
const NEUTRAL: [(&str, &str); 9] = [
    ("net_structure_type", "0"),
    ("gap_size", "0"),
    ("num_memory_blocks", "0"),
    ("layers_to_keep", "[]"),
    ("down_scale_factor", "1"),
    ("is_decoder", "false"),
    ("is_encoder_decoder", "false"),
    ("add_cross_attention", "false"),
    ("tie_encoder_decoder", "false"),
];

/// What transformers, from version 3 on, writes about other things than the computation: output, generation, bookkeeping,
/// heads of other tasks.
const ELSEWHERE: &str = "
    _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path _num_labels architectures attn_implementation
    bad_words_ids begin_suppress_tokens chunk_size_feed_forward cls_token_id cross_attention_hidden_size
    decoder_start_token_id diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label
    label2id language length_penalty mask_token_id max_length min_length model_card no_repeat_ngram_size num_beam_groups
    num_beams num_labels num_return_sequences output_attentions output_hidden_states output_past output_scores prefix
    problem_type remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens
    task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript
    transformers_version typical_p unk_token_id use_bfloat16 use_cache";

impl AlbertConfig {
    /// Reads `config.json`. The sizes of the model must be there; what else is missing has the value that every
    /// implementation of ALBERT takes.
    ///
    /// # Errors
    /// If the file cannot be read, is no configuration of an ALBERT, or asks for what is not computed here.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes =
            std::fs::read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        parse(&bytes).map_err(|problem| ConfigError::File { path: path.to_owned(), problem })
    }

    /// Reads the `albert_config.json` of a TensorFlow release, whose `gelu` is the tanh form.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn load_released(path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::load(path)?;
        if config.hidden_act == "gelu" && config.other.get("transformers_version").is_none() {
            config.hidden_act = "gelu_new".into();
        }
        Ok(config)
    }

    /// Keys that mean something to others and nothing here.
    pub fn unused_keys(&self) -> Vec<String> {
        let neutral = |key: &str, value: &Value| {
            let values = REFUSED.iter().map(|&(key, value, _)| (key, value)).chain(NEUTRAL);
            value.is_null()
                || values.into_iter().any(|(known, at)| known == key && is(value, at))
                || ELSEWHERE.split_whitespace().any(|known| known == key)
        };
        self.other.iter().filter(|(key, value)| !neutral(key, value)).map(|(key, _)| key.clone()).collect()
    }
}

fn parse(bytes: &[u8]) -> Result<AlbertConfig, String> {
    if let Some(kind) = foreign::recognise(&bytes[..bytes.len().min(foreign::ENOUGH as usize)]) {
        return Err(format!("it is {kind}"));
    }
    // A byte order mark, which some editors write, is no part of the text.
    let text = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
        .map_err(|error| format!("byte {} is not UTF-8: the file is damaged", error.valid_up_to() + 1))?;
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(keys) = value else { return Err("it is no JSON object".into()) };
    for key in REQUIRED {
        if keys.get(key).is_none_or(Value::is_null) {
            return Err(format!("{key} is missing: write what the model was trained with"));
        }
    }
    for (key, neutral, reason) in REFUSED {
        if let Some(value) = keys.get(key).filter(|value| !value.is_null() && !is(value, neutral)) {
            return Err(format!("{key} = {value}: {reason}"));
        }
    }
    if let Some(method) = keys.get("quantization_config").filter(|value| !value.is_null()) {
        return Err(format!(
            "quantization_config = {method}: quantised weights are not read; save them as F32"
        ));
    }
    let config = serde_json::from_value::<AlbertConfig>(keys.clone().into())
        .map_err(|error| culprit(&keys).unwrap_or_else(|| error.to_string()))?;
    config.validate().map_err(|problem| problem.to_string())?;
    Ok(config)
}

/// Whether a value is what the JSON `text` says.
fn is(value: &Value, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|said| said == *value)
}

/// The key because of which a configuration cannot be read.
fn culprit(keys: &Map<String, Value>) -> Option<String> {
    keys.iter().find_map(|(key, value)| {
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        let error = serde_json::from_value::<AlbertConfig>(alone.into()).err()?;
        let plain = [("usize", "a whole number"), ("u32", "a whole number"), ("f64", "a number")];
        let error = plain.iter().fold(error.to_string(), |text, (rust, plain)| text.replace(rust, plain));
        Some(format!("{key} = {value}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: &str = r#""vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 48"#;

    fn with(more: &str) -> Result<AlbertConfig, String> {
        parse(format!("{{{SIZES}, {more}}}").as_bytes())
    }

    #[test]
    fn what_plays_no_part_may_be_anything() {
        let config = with(
            r#""pad_token_id": null, "bos_token_id": null, "eos_token_id": [3, 4], "classifier_dropout_prob": null,
               "architectures": null, "id2label": {"0": "no"}, "torch_dtype": "float16", "net_structure_type": 0,
               "layers_to_keep": [], "position_embedding_type": "absolute", "transformers_version": "4.2.0""#,
        )
        .expect("valid");
        assert_eq!(config.classifier_dropout_prob, None);
        assert_eq!(config.unused_keys(), [""; 0]);
        assert!(parse(format!("\u{feff}{{{SIZES}}}").as_bytes()).is_ok(), "a byte order mark");
    }

    #[test]
    fn what_means_something_elsewhere_is_named() {
        let config = with(r#""down_scale_factor": 2, "adapters": {"a": 1}, "is_decoder": true, "odd": null"#);
        assert_eq!(config.expect("valid").unused_keys(), ["adapters", "down_scale_factor", "is_decoder"]);
    }

    #[test]
    fn what_is_not_computed_is_refused_with_its_key() {
        let refused = |more: &str| with(more).expect_err(more);
        for (more, parts) in [
            (r#""model_type": "bert""#, ["model_type = \"bert\"", "another kind of model"]),
            (r#""position_embedding_type": "relative_key""#, ["position_embedding_type", "relative"]),
            (r#""ln_type": "preln""#, ["ln_type", "residual"]),
            (r#""pruned_heads": {"0": [1]}"#, ["pruned_heads", "pruned"]),
            (r#""quantization_config": {"bits": 8}"#, ["quantization_config", "save them as F32"]),
            (r#""hidden_act": "swish""#, ["hidden_act = swish", "gelu_new"]),
            (r#""layer_norm_eps": null"#, ["layer_norm_eps = null", "expected a number"]),
            (
                r#""max_position_embeddings": "512""#,
                ["max_position_embeddings = \"512\"", "expected a whole number"],
            ),
        ] {
            let error = refused(more);
            assert!(parts.iter().all(|part| error.contains(part)), "{more}: {error}");
        }
    }

    #[test]
    fn what_leaves_no_trace_in_the_weights_is_never_guessed() {
        for key in REQUIRED {
            let renamed = format!("{{{SIZES}}}").replace(key, "x");
            assert!(parse(renamed.as_bytes()).expect_err(key).starts_with(&format!("{key} is missing")));
        }
    }

    #[test]
    fn what_is_no_configuration_is_said_in_words() {
        let error = |bytes: &[u8]| parse(bytes).expect_err("no configuration");
        assert!(error(b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
        assert!(error(b"<!DOCTYPE html>").contains("web page"));
        assert!(error(b"[1]").contains("no JSON object"));
        assert!(error(b"{\"a\": \"\xff\"}").contains("byte 8 is not UTF-8"));
        assert!(error(b"\xff\xfe{\0}\0").contains("UTF-16"));
    }
}
