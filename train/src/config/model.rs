//! `[model]`: ALBERT's own configuration, and the presets.

use std::path::{Path, PathBuf};

use model::{AlbertConfig, PRESETS};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::nearest::{abridged, nearest};
use super::{Implied, Objections, Pretrain, Settings};
use crate::run::directory::model_in;

/// The settings of [`AlbertConfig`] that a run chooses (`model/ALBERT.md`, Configuration).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// The size whose values the other keys have unless given; `None` only where all are given.
    pub preset: Option<String>,
    /// A model whose weights the run begins with, and whose sizes the other keys then have.
    pub init: Option<PathBuf>,
    /// Rows of the word embedding; `None` for the tokenizer's number of pieces.
    pub vocab_size: Option<usize>,
    /// Width of the embeddings.
    pub embedding_size: usize,
    /// Width of the layers.
    pub hidden_size: usize,
    /// How often a layer is applied.
    pub num_hidden_layers: usize,
    /// Sets of layer weights, each used for a part of the depth.
    pub num_hidden_groups: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers, each with weights of its own, in one application of a group.
    pub inner_group_num: usize,
    /// Activation of the feed-forward layers, under transformers' names.
    pub hidden_act: String,
    /// Dropout after the embeddings and in each layer.
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Segments told apart.
    pub type_vocab_size: usize,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// Begin the bias of the predicted pieces with the logarithm of their frequencies: it spares the first minutes of learning,
    /// and slows down what follows.
    pub frequency_bias: bool,
}

impl Default for ModelSettings {
    fn default() -> Self {
        let base = AlbertConfig::default();
        ModelSettings {
            preset: Some("base".into()),
            init: None,
            vocab_size: None,
            embedding_size: base.embedding_size,
            hidden_size: base.hidden_size,
            num_hidden_layers: base.num_hidden_layers,
            num_hidden_groups: base.num_hidden_groups,
            num_attention_heads: base.num_attention_heads,
            intermediate_size: base.intermediate_size,
            inner_group_num: base.inner_group_num,
            hidden_act: base.hidden_act,
            hidden_dropout_prob: base.hidden_dropout_prob,
            attention_probs_dropout_prob: base.attention_probs_dropout_prob,
            max_position_embeddings: base.max_position_embeddings,
            type_vocab_size: base.type_vocab_size,
            initializer_range: base.initializer_range,
            frequency_bias: false,
        }
    }
}

impl ModelSettings {
    /// The model's configuration, for a tokenizer of `vocab_size` pieces. What is not a setting is ALBERT's own.
    pub fn albert_config(&self, vocab_size: usize) -> AlbertConfig {
        AlbertConfig {
            vocab_size: self.vocab_size.unwrap_or(vocab_size),
            embedding_size: self.embedding_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_hidden_groups: self.num_hidden_groups,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            inner_group_num: self.inner_group_num,
            hidden_act: self.hidden_act.clone(),
            hidden_dropout_prob: self.hidden_dropout_prob,
            attention_probs_dropout_prob: self.attention_probs_dropout_prob,
            max_position_embeddings: self.max_position_embeddings,
            type_vocab_size: self.type_vocab_size,
            initializer_range: self.initializer_range,
            ..AlbertConfig::default()
        }
    }

    pub(super) fn implied(&self) -> Vec<Implied> {
        if let Some(config) = self.init.as_deref().and_then(|path| config_of(path).ok()) {
            return of_model(&config);
        }
        let Some((name, preset)) = self.preset.as_deref().and_then(|name| Some((name, model::preset(name)?)))
        else {
            return Vec::new();
        };
        let values: [(&'static str, Value); 8] = [
            ("model.embedding_size", json!(preset.embedding_size)),
            ("model.hidden_size", json!(preset.hidden_size)),
            ("model.num_hidden_layers", json!(preset.num_hidden_layers)),
            ("model.num_attention_heads", json!(preset.num_attention_heads)),
            ("model.intermediate_size", json!(preset.intermediate_size)),
            ("model.max_position_embeddings", json!(preset.max_position_embeddings)),
            ("model.hidden_dropout_prob", json!(preset.hidden_dropout_prob)),
            ("model.attention_probs_dropout_prob", json!(preset.attention_probs_dropout_prob)),
        ];
        let implied = |(key, value)| Implied { key, value, reason: format!("preset {name}") };
        values.into_iter().map(implied).collect()
    }

    pub(super) fn check(&self, objections: &mut Objections) {
        if let Some(Err(problem)) = self.init.as_deref().map(config_of) {
            // Some say themselves what to do.
            let any = "a model directory, a run that has a model, or hf:owner/name";
            let (problem, help) = problem.split_once("\n  help: ").unwrap_or((&problem, any));
            objections.add("model.init", problem, help);
        }
        if let Some(preset) = self.preset.as_deref()
            && !PRESETS.contains(&preset)
        {
            let help = match nearest(preset, PRESETS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the presets are {}", PRESETS.join(", ")),
            };
            objections.add("model.preset", format!("there is no preset `{}`", abridged(preset)), help);
        }
        for problem in self.albert_config(AlbertConfig::default().vocab_size).problems() {
            if let model::ConfigError::Value { key, value, problem } = problem {
                let known = Pretrain::keys().find(|(known, _)| known.strip_prefix("model.") == Some(key));
                let key = known.expect("every setting of the model is a key").0;
                objections.add(key, format!("{value} does not fit"), problem);
            }
        }
    }
}

/// The configuration of a model that a run begins with.
fn config_of(path: &Path) -> Result<AlbertConfig, String> {
    let directory = model_in(path).map_err(|error| error.to_string())?;
    model::config_in(&directory).map_err(|error| error.to_string())
}

/// All keys as a model has them.
fn of_model(config: &AlbertConfig) -> Vec<Implied> {
    let values: [(&'static str, Value); 14] = [
        ("model.vocab_size", json!(config.vocab_size)),
        ("model.embedding_size", json!(config.embedding_size)),
        ("model.hidden_size", json!(config.hidden_size)),
        ("model.num_hidden_layers", json!(config.num_hidden_layers)),
        ("model.num_hidden_groups", json!(config.num_hidden_groups)),
        ("model.num_attention_heads", json!(config.num_attention_heads)),
        ("model.intermediate_size", json!(config.intermediate_size)),
        ("model.inner_group_num", json!(config.inner_group_num)),
        ("model.hidden_act", json!(config.hidden_act)),
        ("model.hidden_dropout_prob", json!(config.hidden_dropout_prob)),
        ("model.attention_probs_dropout_prob", json!(config.attention_probs_dropout_prob)),
        ("model.max_position_embeddings", json!(config.max_position_embeddings)),
        ("model.type_vocab_size", json!(config.type_vocab_size)),
        ("model.initializer_range", json!(config.initializer_range)),
    ];
    let implied = |(key, value)| Implied { key, value, reason: "the model of --init".into() };
    values.into_iter().map(implied).collect()
}
