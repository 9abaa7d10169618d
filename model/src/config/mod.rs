//! `config.json`: the sizes and constants of an ALBERT, in transformers' layout (`ALBERT.md`, Configuration).

mod read;

use std::path::PathBuf;

use engine::Activation;
use kernels::attention::{MOST_HEADS_DROPPED, MOST_KEYS_DROPPED};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::visible::{shown, visible};

/// The sizes and constants of an ALBERT. Keys it does not know are kept and written back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlbertConfig {
    /// Rows of the word table.
    pub vocab_size: usize,
    /// Width of the tables (E).
    pub embedding_size: usize,
    /// Width of the encoder (H).
    pub hidden_size: usize,
    /// Applications of a layer (L).
    pub num_hidden_layers: usize,
    /// Distinct sets of layer parameters over depth (G); consecutive layers share one.
    pub num_hidden_groups: usize,
    /// Attention heads; they divide `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward network (F).
    pub intermediate_size: usize,
    /// Blocks, each with parameters of its own, that one layer applies in sequence.
    pub inner_group_num: usize,
    /// `gelu` (erf), `gelu_new` (tanh), `relu`, `tanh`, `linear`.
    pub hidden_act: String,
    /// Dropout of embeddings, attention output and feed-forward output.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Rows of the position table: the longest sequence.
    pub max_position_embeddings: usize,
    /// Rows of the segment table.
    pub type_vocab_size: usize,
    /// Deviation of the truncated normal that matrices start from.
    pub initializer_range: f64,
    /// ε of every layer norm.
    pub layer_norm_eps: f64,
    /// Dropout before a classifier, in fine-tuning; `None` for `hidden_dropout_prob`.
    pub classifier_dropout_prob: Option<f64>,
    /// Whether the decoder of the masked-word head is the word table.
    pub tie_word_embeddings: bool,
    /// Whether embeddings pass a dense layer on their way into the encoder although they are as wide as it is. transformers'
    /// always do, and its files hold the layer; the reference's do not (`ALBERT.md`, Forward pass). A file of weights tells, not a key.
    #[serde(skip)]
    pub maps_equal_widths: bool,
    /// Id of the padding piece, for other programs, as are the next two: a number, null or several numbers.
    pub pad_token_id: Value,
    /// Id of the piece that starts a sequence.
    pub bos_token_id: Value,
    /// Id of the piece that ends a sequence.
    pub eos_token_id: Value,
    /// Always `albert`.
    pub model_type: String,
    /// transformers' classes for this model.
    pub architectures: Option<Vec<String>>,
    /// Everything else that the file holds.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Value>,
}

/// ALBERT-base without dropout, the second version of the release.
impl Default for AlbertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_000,
            embedding_size: 128,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_hidden_groups: 1,
            num_attention_heads: 12,
            intermediate_size: 3072,
            inner_group_num: 1,
            hidden_act: "gelu_new".into(),
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            classifier_dropout_prob: Some(0.1),
            tie_word_embeddings: true,
            maps_equal_widths: false,
            pad_token_id: 0.into(),
            bos_token_id: 2.into(),
            eos_token_id: 3.into(),
            model_type: "albert".into(),
            architectures: Some(vec!["AlbertForPreTraining".into()]),
            other: serde_json::Map::new(),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the model configuration {}: {source}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not the configuration of a model that is computed here.
    #[error("{} is not a model configuration that can be used: {}", shown(path), visible(problem))]
    File {
        /// The file.
        path: PathBuf,
        /// Which key, what is wrong with it and what would be right.
        problem: String,
    },
    /// A value makes no sense.
    #[error("{key} = {value} in the model configuration: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// What transformers calls classes of which a sequence has any number, each with a probability of its own.
pub const MULTI_LABEL: &str = "multi_label_classification";

/// No size of a configuration exceeds this: larger ones are damaged files, not models.
pub(crate) const LARGEST: usize = 1 << 20;
/// Nor is a layer applied more often: the planner's time grows with the square of the depth.
const DEEPEST: usize = 1 << 10;

impl AlbertConfig {
    /// The text of `config.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a configuration is plain data") + "\n"
    }

    /// The activation that `hidden_act` names.
    ///
    /// # Errors
    /// If it names none.
    pub fn activation(&self) -> Result<Activation, ConfigError> {
        match self.hidden_act.as_str() {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => {
                Ok(Activation::GeluNew)
            }
            "relu" => Ok(Activation::Relu),
            "tanh" => Ok(Activation::Tanh),
            "linear" | "" => Ok(Activation::Identity),
            _ => Err(self.wrong(
                "hidden_act",
                &self.hidden_act,
                "one of gelu, gelu_new, relu, tanh, linear is known",
            )),
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// The first value that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// Every value that makes no sense.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_hidden_groups", self.num_hidden_groups),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("inner_group_num", self.inner_group_num),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        for (key, value) in sizes {
            if value == 0 || value > LARGEST {
                problems.push(self.wrong(key, value, &format!("it must lie in 1..={LARGEST}")));
            }
        }
        if self.num_hidden_layers.saturating_mul(self.inner_group_num) > DEEPEST {
            let problem = format!("times inner_group_num = {} it exceeds {DEEPEST}", self.inner_group_num);
            problems.push(self.wrong("num_hidden_layers", self.num_hidden_layers, &problem));
        }
        if self.num_attention_heads > 0 && !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let problem = format!("the heads must divide hidden_size = {}", self.hidden_size);
            problems.push(self.wrong("num_attention_heads", self.num_attention_heads, &problem));
        }
        if self.num_hidden_groups > self.num_hidden_layers {
            let problem = format!("there are only {} layers to share them", self.num_hidden_layers);
            problems.push(self.wrong("num_hidden_groups", self.num_hidden_groups, &problem));
        }
        for (key, value) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout_prob", self.classifier_dropout_prob.unwrap_or(0.0)),
        ] {
            // What rounds to 1 in f32 would drop everything.
            if !(0.0..1.0).contains(&f64::from(value as f32)) {
                problems.push(self.wrong(key, value, "a probability below 1 is needed"));
            }
        }
        for (key, value) in
            [("initializer_range", self.initializer_range), ("layer_norm_eps", self.layer_norm_eps)]
        {
            // In f32, which it is computed in.
            if !((value as f32).is_finite() && value >= 0.0) {
                problems.push(self.wrong(key, value, "it must be finite and not negative"));
            }
        }
        for (key, value, most) in [
            ("max_position_embeddings", self.max_position_embeddings, MOST_KEYS_DROPPED),
            ("num_attention_heads", self.num_attention_heads, MOST_HEADS_DROPPED),
        ] {
            if value > most && self.attention_probs_dropout_prob > 0.0 {
                let problem = format!("it must not exceed {most} unless attention_probs_dropout_prob is 0");
                problems.push(self.wrong(key, value, &problem));
            }
        }
        problems.extend(self.activation().err());
        problems
    }

    fn wrong(&self, key: &'static str, value: impl ToString, problem: &str) -> ConfigError {
        ConfigError::Value { key, value: value.to_string(), problem: problem.into() }
    }

    /// What a person should know about this configuration although it can be used.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.hidden_act == "gelu" {
            notes.push(
                "hidden_act is \"gelu\", the erf form. The configurations published for ALBERT v1 say so too, but those \
                 weights were trained with the tanh form: if this model is one of them, set hidden_act to \"gelu_new\"."
                    .into(),
            );
        }
        // Of the released widths, each with the numbers of heads that its releases have.
        let released = [(768, [12, 12]), (1024, [16, 16]), (2048, [32, 16]), (4096, [64, 16])];
        let released = released.into_iter().find(|(width, _)| *width == self.hidden_size);
        if let Some((width, heads)) = released.filter(|_| self.embedding_size == 128)
            && !heads.contains(&self.num_attention_heads)
        {
            notes.push(format!(
                "num_attention_heads is {}, where released models of width {width} have {}; heads change no shape, so a wrong \
                 number goes unnoticed.",
                self.num_attention_heads, heads[0]
            ));
        }
        if self.hidden_size == 2048 && self.num_attention_heads == 16 && self.hidden_dropout_prob == 0.0 {
            notes.push(
                "this looks like albert-xlarge-v2, which was trained with 32 heads although published configurations \
                 say 16; heads change no shape, so a wrong number goes unnoticed."
                    .into(),
            );
        }
        notes
    }

    /// The names of classes, as far as they are numbered from 0 on without a gap.
    pub fn labels(&self) -> Vec<String> {
        let Some(names) = self.other.get("id2label").and_then(Value::as_object) else { return Vec::new() };
        let name = |id: usize| Some(names.get(&id.to_string())?.as_str()?.to_owned());
        (0..).map_while(name).collect()
    }

    /// What a head for sequences tells, as transformers names it: `regression`, `single_label_classification`, [`MULTI_LABEL`].
    pub fn problem_type(&self) -> Option<&str> {
        self.other.get("problem_type")?.as_str()
    }

    /// Gives classes their names, for this program and others; none takes them away.
    pub fn set_labels(&mut self, labels: &[String]) {
        for key in ["id2label", "label2id", "num_labels", "_num_labels", "problem_type"] {
            self.other.remove(key);
        }
        if !labels.is_empty() {
            let ids: serde_json::Map<_, _> =
                labels.iter().enumerate().map(|(id, name)| (name.clone(), id.into())).collect();
            let names: serde_json::Map<_, _> =
                labels.iter().enumerate().map(|(id, name)| (id.to_string(), name.clone().into())).collect();
            self.other.extend([("id2label".into(), names.into()), ("label2id".into(), ids.into())]);
        }
    }

    /// Dropout of a head for fine-tuning, as transformers takes it.
    pub fn head_dropout(&self) -> f64 {
        self.classifier_dropout_prob.unwrap_or(self.hidden_dropout_prob)
    }

    /// The group whose parameters layer `layer` uses (integer arithmetic; `ALBERT.md`, Departures, D16).
    pub fn group_of(&self, layer: usize) -> usize {
        layer * self.num_hidden_groups / self.num_hidden_layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_kept_and_missing_ones_have_defaults() {
        let config: AlbertConfig =
            serde_json::from_str(r#"{"hidden_size": 96, "net_structure_type": 0, "id2label": {"0": "no"}}"#)
                .expect("valid");
        assert_eq!((config.hidden_size, config.embedding_size), (96, 128));
        let again: serde_json::Value = serde_json::from_str(&config.to_json()).expect("valid");
        assert_eq!(again["net_structure_type"], 0);
        assert_eq!(again["id2label"]["0"], "no");
    }

    #[test]
    fn values_without_sense_are_named() {
        let error = |change: fn(&mut AlbertConfig)| {
            let mut config = AlbertConfig::default();
            change(&mut config);
            config.validate().expect_err("invalid").to_string()
        };
        let heads = error(|c| c.num_attention_heads = 7);
        assert_eq!(
            heads,
            "num_attention_heads = 7 in the model configuration: the heads must divide hidden_size = 768"
        );
        assert!(error(|c| c.hidden_act = "swish".into()).contains("gelu_new"));
        assert!(error(|c| c.vocab_size = 0).contains("vocab_size"));
        assert!(error(|c| c.hidden_dropout_prob = 1.0).contains("hidden_dropout_prob"));
        assert!(error(|c| c.hidden_dropout_prob = 0.999_999_999).contains("hidden_dropout_prob"));
        assert!(error(|c| c.num_hidden_groups = 13).contains("12 layers"));
        assert!(error(|c| c.num_hidden_layers = 1025).contains("exceeds 1024"));
        assert!(error(|c| c.initializer_range = 1e39).contains("initializer_range"), "infinite in f32");
        let longer = AlbertConfig { max_position_embeddings: 65_537, ..AlbertConfig::default() };
        assert!(longer.validate().is_ok(), "without dropout");
        let dropped = error(|c| (c.max_position_embeddings, c.attention_probs_dropout_prob) = (65_537, 0.1));
        assert!(dropped.contains("exceed 65536 unless attention_probs_dropout_prob"), "{dropped}");
        let dropped = error(|c| {
            (c.hidden_size, c.num_attention_heads, c.attention_probs_dropout_prob) = (2048, 2048, 0.1);
        });
        assert!(dropped.starts_with("num_attention_heads = 2048"), "{dropped}");
    }

    #[test]
    fn what_may_be_wrong_without_a_trace_is_warned_about() {
        let notes = |hidden_size, num_attention_heads, dropout, act: &str| {
            let config = AlbertConfig {
                hidden_size,
                num_attention_heads,
                hidden_dropout_prob: dropout,
                hidden_act: act.into(),
                ..AlbertConfig::default()
            };
            config.notes().concat()
        };
        for released in [
            (768, 12, 0.1),
            (1024, 16, 0.0),
            (2048, 16, 0.1),
            (2048, 32, 0.0),
            (4096, 64, 0.0),
            (4096, 16, 0.0),
        ] {
            assert_eq!(notes(released.0, released.1, released.2, "gelu_new"), "", "{released:?}");
        }
        assert!(
            notes(768, 16, 0.0, "gelu_new")
                .contains("num_attention_heads is 16, where released models of width 768 have 12")
        );
        assert!(notes(2048, 16, 0.0, "gelu_new").contains("xlarge-v2"));
        assert!(notes(768, 12, 0.0, "gelu").contains("erf form"));
        assert_eq!(notes(96, 3, 0.0, "relu"), "", "anybody's own");
    }

    #[test]
    fn classes_have_names_or_none() {
        let mut config = AlbertConfig::default();
        assert_eq!(config.labels(), [""; 0]);
        let labels = ["no", "yes"].map(str::to_owned);
        config.set_labels(&labels);
        assert_eq!(config.labels(), labels);
        assert_eq!(config.other["label2id"]["yes"], 1);
        config.set_labels(&[]);
        assert!(!config.other.contains_key("id2label") && !config.other.contains_key("label2id"));
    }

    #[test]
    fn every_group_is_used_where_floating_point_loses_one() {
        for (layers, groups) in [(12, 1), (24, 3), (22, 22), (23, 23), (26, 26), (39, 39), (44, 22)] {
            let config =
                AlbertConfig { num_hidden_layers: layers, num_hidden_groups: groups, ..Default::default() };
            let used: std::collections::BTreeSet<_> =
                (0..layers).map(|layer| config.group_of(layer)).collect();
            assert_eq!(used.len(), groups, "{layers} layers, {groups} groups");
        }
    }
}
