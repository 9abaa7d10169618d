//! ALBERT's parameters: which there are, what they are called in files, how they start, what the optimizer may do.

use std::sync::Arc;

use engine::{Activation, ParameterId, Parameters};

use crate::config::{AlbertConfig, ConfigError};
use crate::declare::{Declarer, Dense, NormParameters};
use crate::heads::{Head, HeadParameters};
use crate::names::MAPPING_IN;

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

/// An ALBERT: its configuration and its parameters. [`Albert::plan`] records the computation of one of its heads;
/// the values live in an [`engine::Runtime`].
#[derive(Clone, Debug)]
pub struct Albert {
    config: AlbertConfig,
    heads: Vec<Head>,
    parameters: Arc<Parameters>,
    pub(crate) activation: Activation,
    /// Words, positions, segments.
    pub(crate) tables: [ParameterId; 3],
    pub(crate) embedding_norm: NormParameters,
    /// From embedding to hidden width; absent where they are equal, unless the configuration says otherwise.
    pub(crate) mapping_in: Option<Dense>,
    /// By group, then by inner group.
    pub(crate) blocks: Vec<Vec<Block>>,
    pub(crate) on_top: HeadParameters,
    /// Whether the last block is computed for the rows alone that a head reads.
    pub(crate) gathers_last_layer: bool,
}

impl Block {
    fn declare(d: &mut Declarer, prefix: &str, hidden: usize, intermediate: usize) -> Self {
        let name = |suffix: &str| format!("{prefix}.{suffix}");
        let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.{part}")));
        Self {
            qkv: d.dense(&qkv, hidden, hidden),
            attention_output: d.dense(&[name("attention.dense")], hidden, hidden),
            attention_norm: d.norm(&name("attention.LayerNorm"), hidden),
            ffn: d.dense(&[name("ffn")], hidden, intermediate),
            ffn_output: d.dense(&[name("ffn_output")], intermediate, hidden),
            output_norm: d.norm(&name("full_layer_layer_norm"), hidden),
        }
    }
}

impl Albert {
    /// Declares the parameters of an encoder and of what stands on it.
    ///
    /// # Errors
    /// If the configuration makes no sense.
    ///
    /// # Panics
    /// If two heads have one name for their parameters, as all have that choose among classes or options.
    pub fn new(config: AlbertConfig, heads: &[Head]) -> Result<Self, ConfigError> {
        config.validate()?;
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
                    .map(|inner| Block::declare(d, &prefix(inner), hidden, intermediate))
                    .collect()
            })
            .collect();
        let on_top = HeadParameters::declare(d, &config, heads, tables[0]);
        Ok(Self {
            activation: config.activation()?,
            parameters: Arc::new(declarer.parameters),
            config,
            heads: heads.to_vec(),
            tables,
            embedding_norm,
            mapping_in,
            blocks,
            on_top,
            gathers_last_layer: true,
        })
    }

    /// The same with a last block that is computed for every token, also where a head reads few of them: losses and
    /// gradients are equal up to rounding, which runs of earlier versions must have as it was.
    #[must_use]
    pub fn with_whole_last_layer(self) -> Self {
        Self { gathers_last_layer: false, ..self }
    }

    /// Sizes and constants.
    pub fn config(&self) -> &AlbertConfig {
        &self.config
    }

    /// What stands on top of the encoder.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Whether it has the masked-word head, alone or with the other of pre-training.
    pub fn predicts_words(&self) -> bool {
        self.on_top.masked_words.is_some()
    }

    /// Whether it has the sentence-order head, alone or with the other of pre-training.
    pub fn predicts_order(&self) -> bool {
        self.on_top.sentence_order.is_some()
    }

    /// Whether it pools the first token.
    pub fn pools(&self) -> bool {
        self.on_top.pooler.is_some()
    }

    /// Names, shapes and layout of the parameters.
    pub fn parameters(&self) -> &Arc<Parameters> {
        &self.parameters
    }
}
