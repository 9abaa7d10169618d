//! ALBERT's parameters: which there are, what they are called in files, how they start, what the optimizer may do.

use std::sync::Arc;

use engine::{Activation, Declaration, Initializer, ParameterId, Parameters, Part};

use crate::config::{AlbertConfig, ConfigError};
use crate::names::{DECODER_BIAS, DECODER_WEIGHT, MAPPING_IN};

/// What stands on top of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The dense layer over each sequence's first token.
    pub pooler: bool,
    /// The masked-word head.
    pub masked_lm: bool,
    /// The sentence-order head; it needs the pooler.
    pub sentence_order: bool,
}

impl Heads {
    /// The encoder alone.
    pub const NONE: Self = Self { pooler: false, masked_lm: false, sentence_order: false };
    /// Everything that pre-training trains.
    pub const PRETRAINING: Self = Self { pooler: true, masked_lm: true, sentence_order: true };
}

/// A dense layer: weight `[outputs, inputs]`, bias `[outputs]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dense {
    pub weight: ParameterId,
    pub bias: ParameterId,
}

/// A layer norm: γ and β.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormParameters {
    pub gamma: ParameterId,
    pub beta: ParameterId,
}

/// One block: attention and feed-forward network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Query, key and value as one matrix.
    pub qkv: Dense,
    pub attention_output: Dense,
    pub attention_norm: NormParameters,
    pub ffn: Dense,
    pub ffn_output: Dense,
    pub output_norm: NormParameters,
}

/// The masked-word head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaskedLmHead {
    pub dense: Dense,
    pub norm: NormParameters,
    /// The decoder: the word table, unless the configuration says that they are not tied.
    pub decoder: Dense,
}

/// An ALBERT: its configuration and its parameters. The computation is recorded by its methods
/// [`Albert::encode`] and those of the heads; the values live in an [`engine::Runtime`].
#[derive(Clone, Debug)]
pub struct Albert {
    config: AlbertConfig,
    heads: Heads,
    parameters: Arc<Parameters>,
    pub(crate) activation: Activation,
    /// Words, positions, segments.
    pub(crate) tables: [ParameterId; 3],
    pub(crate) embedding_norm: NormParameters,
    /// From embedding to hidden width; absent where they are equal, unless the configuration says otherwise.
    pub(crate) mapping_in: Option<Dense>,
    /// By group, then by inner group.
    pub(crate) blocks: Vec<Vec<Block>>,
    pub(crate) pooler: Option<Dense>,
    pub(crate) masked_lm: Option<MaskedLmHead>,
    pub(crate) sentence_order: Option<Dense>,
}

/// Adds parameters under their names in transformers' files.
struct Declarer {
    parameters: Parameters,
    deviation: f64,
}

impl Declarer {
    fn matrix(&mut self, names: &[String], rows: usize, columns: usize) -> ParameterId {
        let parts =
            names.iter().map(|name| Part { name: name.clone(), shape: vec![rows, columns] }).collect();
        let initializer = Initializer::TruncatedNormal { deviation: self.deviation };
        self.parameters.declare(Declaration { columns, parts, initializer, decays: true, adapts: true })
    }

    /// Biases and layer norms: neither decayed nor adapted (`ALBERT.md`, Optimizers).
    fn vector(&mut self, names: &[String], length: usize, initializer: Initializer) -> ParameterId {
        let parts = names.iter().map(|name| Part { name: name.clone(), shape: vec![length] }).collect();
        self.parameters.declare(Declaration { columns: 1, parts, initializer, decays: false, adapts: false })
    }

    /// Dense layers that read the same input, side by side.
    fn dense(&mut self, names: &[String], inputs: usize, outputs: usize) -> Dense {
        let named = |suffix: &str| names.iter().map(|name| format!("{name}.{suffix}")).collect::<Vec<_>>();
        Dense {
            weight: self.matrix(&named("weight"), outputs, inputs),
            bias: self.vector(&named("bias"), outputs, Initializer::Zeros),
        }
    }

    fn norm(&mut self, name: &str, width: usize) -> NormParameters {
        NormParameters {
            gamma: self.vector(&[format!("{name}.weight")], width, Initializer::Ones),
            beta: self.vector(&[format!("{name}.bias")], width, Initializer::Zeros),
        }
    }

    fn block(&mut self, prefix: &str, hidden: usize, intermediate: usize) -> Block {
        let name = |suffix: &str| format!("{prefix}.{suffix}");
        let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.{part}")));
        Block {
            qkv: self.dense(&qkv, hidden, hidden),
            attention_output: self.dense(&[name("attention.dense")], hidden, hidden),
            attention_norm: self.norm(&name("attention.LayerNorm"), hidden),
            ffn: self.dense(&[name("ffn")], hidden, intermediate),
            ffn_output: self.dense(&[name("ffn_output")], intermediate, hidden),
            output_norm: self.norm(&name("full_layer_layer_norm"), hidden),
        }
    }
}

impl Albert {
    /// Declares the parameters of an ALBERT.
    ///
    /// # Errors
    /// If the configuration makes no sense.
    ///
    /// # Panics
    /// If `heads` has a sentence-order head without a pooler.
    pub fn new(config: AlbertConfig, heads: Heads) -> Result<Self, ConfigError> {
        config.validate()?;
        assert!(heads.pooler || !heads.sentence_order, "the sentence-order head reads the pooler");
        let (width, hidden, intermediate) =
            (config.embedding_size, config.hidden_size, config.intermediate_size);
        let mut declarer =
            Declarer { parameters: Parameters::default(), deviation: config.initializer_range };
        let d = &mut declarer;
        let table = |d: &mut Declarer, kind: &str, rows| {
            d.matrix(&[format!("albert.embeddings.{kind}_embeddings.weight")], rows, width)
        };
        let tables = [
            table(d, "word", config.vocab_size),
            table(d, "position", config.max_position_embeddings),
            table(d, "token_type", config.type_vocab_size),
        ];
        let embedding_norm = d.norm("albert.embeddings.LayerNorm", width);
        let mapping_in = (width != hidden || config.maps_equal_widths)
            .then(|| d.dense(&[MAPPING_IN.into()], width, hidden));
        let blocks = (0..config.num_hidden_groups)
            .map(|group| {
                let prefix =
                    |inner| format!("albert.encoder.albert_layer_groups.{group}.albert_layers.{inner}");
                (0..config.inner_group_num)
                    .map(|inner| d.block(&prefix(inner), hidden, intermediate))
                    .collect()
            })
            .collect();
        let pooler = heads.pooler.then(|| d.dense(&["albert.pooler".into()], hidden, hidden));
        let masked_lm = heads.masked_lm.then(|| MaskedLmHead {
            dense: d.dense(&["predictions.dense".into()], hidden, width),
            norm: d.norm("predictions.LayerNorm", width),
            decoder: Dense {
                weight: if config.tie_word_embeddings {
                    tables[0]
                } else {
                    d.matrix(&[DECODER_WEIGHT.into()], config.vocab_size, width)
                },
                bias: d.vector(&[DECODER_BIAS.into()], config.vocab_size, Initializer::Zeros),
            },
        });
        let sentence_order =
            heads.sentence_order.then(|| d.dense(&["sop_classifier.classifier".into()], hidden, 2));
        Ok(Self {
            activation: config.activation()?,
            parameters: Arc::new(declarer.parameters),
            config,
            heads,
            tables,
            embedding_norm,
            mapping_in,
            blocks,
            pooler,
            masked_lm,
            sentence_order,
        })
    }

    /// Sizes and constants.
    pub fn config(&self) -> &AlbertConfig {
        &self.config
    }

    /// What stands on top of the encoder.
    pub fn heads(&self) -> Heads {
        self.heads
    }

    /// Names, shapes and layout of the parameters.
    pub fn parameters(&self) -> &Arc<Parameters> {
        &self.parameters
    }
}
