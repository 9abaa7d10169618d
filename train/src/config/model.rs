//! `[model]`: ALBERT's own configuration, and its published sizes.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::nearest::nearest;
use super::{Implied, Objections};

/// The activation of the feed-forward layers, under the names of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x·Φ(x), by the error function.
    Gelu,
    /// Its approximation by tanh: what ALBERT was trained with, there called `gelu`.
    GeluNew,
    /// max(x, 0), as in ALBERT's Chinese models.
    Relu,
    /// tanh(x)
    Tanh,
    /// x
    Linear,
}

/// ALBERT's configuration (specification §1.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// The size whose values the other keys have unless given; `None` only where all are given.
    pub preset: Option<String>,
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
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
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
}

impl Default for ModelSettings {
    /// The base size.
    fn default() -> Self {
        ModelSettings {
            preset: Some("base".into()),
            vocab_size: None,
            embedding_size: 128,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_hidden_groups: 1,
            num_attention_heads: 12,
            intermediate_size: 3072,
            inner_group_num: 1,
            hidden_act: Activation::GeluNew,
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
        }
    }
}

/// A model size: name, embedding size, hidden size, layers, heads, feed-forward width, positions, dropout.
type Preset = (&'static str, usize, usize, usize, usize, usize, usize, f64);

/// ALBERT's sizes (specification §1.2) and smaller ones. The second versions of the published models were trained without
/// dropout, the first ones (but for xxlarge) with 0.1; the first xlarge has 16 heads.
pub const PRESETS: [Preset; 11] = [
    ("micro", 64, 128, 3, 4, 512, 128, 0.0),
    ("tiny", 128, 312, 4, 12, 1248, 512, 0.0),
    ("small", 128, 384, 6, 12, 1536, 512, 0.0),
    ("base", 128, 768, 12, 12, 3072, 512, 0.0),
    ("large", 128, 1024, 24, 16, 4096, 512, 0.0),
    ("xlarge", 128, 2048, 24, 32, 8192, 512, 0.0),
    ("xxlarge", 128, 4096, 12, 64, 16_384, 512, 0.0),
    ("base-v1", 128, 768, 12, 12, 3072, 512, 0.1),
    ("large-v1", 128, 1024, 24, 16, 4096, 512, 0.1),
    ("xlarge-v1", 128, 2048, 24, 16, 8192, 512, 0.1),
    ("xxlarge-v1", 128, 4096, 12, 64, 16_384, 512, 0.0),
];

impl ModelSettings {
    pub(super) fn implied(&self) -> Vec<Implied> {
        let chosen = self.preset.as_deref();
        let Some(&(name, embedding, hidden, layers, heads, intermediate, positions, dropout)) =
            PRESETS.iter().find(|preset| Some(preset.0) == chosen)
        else {
            return Vec::new();
        };
        let values: [(&'static str, Value); 8] = [
            ("model.embedding_size", json!(embedding)),
            ("model.hidden_size", json!(hidden)),
            ("model.num_hidden_layers", json!(layers)),
            ("model.num_attention_heads", json!(heads)),
            ("model.intermediate_size", json!(intermediate)),
            ("model.max_position_embeddings", json!(positions)),
            ("model.hidden_dropout_prob", json!(dropout)),
            ("model.attention_probs_dropout_prob", json!(dropout)),
        ];
        let implied = |(key, value)| Implied { key, value, reason: format!("preset {name}") };
        values.into_iter().map(implied).collect()
    }

    pub(super) fn check(&self, objections: &mut Objections) {
        let presets = PRESETS.map(|preset| preset.0);
        if let Some(preset) = self.preset.as_deref()
            && !presets.contains(&preset)
        {
            let help = match nearest(preset, presets) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the presets are {}", presets.join(", ")),
            };
            objections.add("model.preset", format!("there is no preset `{preset}`"), help);
        }
        // The largest published model is far below these; beyond them sizes would not even multiply.
        for (key, value, most) in [
            ("model.vocab_size", self.vocab_size.unwrap_or(1), 1 << 16),
            ("model.embedding_size", self.embedding_size, 1 << 16),
            ("model.hidden_size", self.hidden_size, 1 << 16),
            ("model.num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("model.num_hidden_groups", self.num_hidden_groups, 1 << 10),
            ("model.num_attention_heads", self.num_attention_heads, 1 << 10),
            ("model.intermediate_size", self.intermediate_size, 1 << 18),
            ("model.inner_group_num", self.inner_group_num, 1 << 10),
            ("model.max_position_embeddings", self.max_position_embeddings, 1 << 16),
            ("model.type_vocab_size", self.type_vocab_size, 1 << 10),
        ] {
            objections.require((1..=most).contains(&value), key, value, format!("from 1 to {most}"));
        }
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        if heads > 0 && !hidden.is_multiple_of(heads) {
            let nearest =
                (1..=hidden).filter(|n| hidden.is_multiple_of(*n)).min_by_key(|n| n.abs_diff(heads));
            objections.add(
                "model.num_attention_heads",
                format!("{heads} heads do not divide hidden_size {hidden}"),
                format!("the nearest number that does is {}", nearest.unwrap_or(1)),
            );
        }
        let (groups, layers) = (self.num_hidden_groups, self.num_hidden_layers);
        if groups > layers {
            objections.add(
                "model.num_hidden_groups",
                format!("{groups} groups in {layers} layers"),
                format!("at most {layers}"),
            );
        }
        for (key, value) in [
            ("model.hidden_dropout_prob", self.hidden_dropout_prob),
            ("model.attention_probs_dropout_prob", self.attention_probs_dropout_prob),
        ] {
            objections.require((0.0..1.0).contains(&value), key, value, "from 0 up to, not including, 1");
        }
        let range = self.initializer_range;
        objections.require(range > 0.0 && range <= 1.0, "model.initializer_range", range, "ALBERT uses 0.02");
    }
}
