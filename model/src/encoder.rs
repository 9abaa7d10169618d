//! The computation below the heads (`ALBERT.md`, Forward pass): embeddings, mapping-in, and the shared block applied L times.

use engine::{Activation, Axis, Content, Graph, Indices, Norm, ParameterId, Rows, Tensor, Tokens, Union};

use crate::albert::{Albert, Block};
use crate::declare::{Dense, NormParameters};

/// The dimensions of a packed batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axes {
    /// Real tokens of all sequences.
    pub tokens: Axis,
    /// Sequences.
    pub sequences: Axis,
}

/// A packed batch as the encoder reads it. The inputs' names are those of the fields, `token_order` and `offsets` included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed<'g> {
    /// `token_ids`, `position_ids`, `segment_ids`, `token_order`
    pub tokens: Tokens<'g>,
    /// Row where each sequence starts, and the number of rows.
    pub offsets: Indices<'g>,
    /// Its dimensions.
    pub axes: Axes,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Learning: dropout as the configuration says, loss and gradients.
    Training,
    /// Measuring: no dropout; loss, and what metrics are made of.
    Evaluation,
    /// Using: no dropout, no labels.
    Prediction,
}

impl Albert {
    /// Declares the inputs of a packed batch of at most `tokens` tokens in at most `sequences` sequences.
    pub(crate) fn packed<'g>(&self, graph: &'g Graph, tokens: usize, sequences: usize) -> Packed<'g> {
        let axes =
            Axes { tokens: graph.axis("tokens", tokens), sequences: graph.axis("sequences", sequences) };
        let rows = Rows::Along(axes.tokens);
        let below = |name, limit| graph.indices(name, rows, Content::Below(limit));
        let config = self.config();
        let ids = below("token_ids", config.vocab_size);
        Packed {
            tokens: Tokens {
                ids,
                positions: below("position_ids", config.max_position_embeddings),
                segments: below("segment_ids", config.type_vocab_size),
                order: graph.order("token_order", ids),
            },
            offsets: graph.indices("offsets", Rows::Offsets(axes.sequences), Content::OffsetsOf(axes.tokens)),
            axes,
        }
    }

    /// Records the encoder; returns the hidden states, the embeddings first and the last block's output last, each
    /// `[tokens, hidden_size]`.
    pub(crate) fn encode<'g>(&self, graph: &'g Graph, batch: Packed<'g>, mode: Mode) -> Vec<Tensor<'g>> {
        self.states(graph, batch, mode, None)
    }

    /// Records the encoder for a head that reads some rows of its last state only: the state, and for each of `lists` the
    /// rows to [gather](Tensor::gather) from it; without lists every row is read.
    ///
    /// What follows the last block's attention is computed for those rows alone, the sorted union of the lists: each row of it
    /// depends on no other.
    pub(crate) fn encode_rows<'g, const N: usize>(
        &self,
        graph: &'g Graph,
        batch: Packed<'g>,
        mode: Mode,
        lists: [Indices<'g>; N],
    ) -> (Tensor<'g>, [Indices<'g>; N]) {
        let last = |states: Vec<Tensor<'g>>| states[states.len() - 1];
        if N == 0 || !self.gathers_last_layer {
            return (last(self.states(graph, batch, mode, None)), lists);
        }
        let Union { rows, places } = graph.union("read rows", lists);
        (last(self.states(graph, batch, mode, Some(rows))), places)
    }

    /// The hidden states; the last one of the rows `read` alone, if that is said.
    fn states<'g>(
        &self,
        graph: &'g Graph,
        batch: Packed<'g>,
        mode: Mode,
        read: Option<Indices<'g>>,
    ) -> Vec<Tensor<'g>> {
        let dropout = |probability: f64| if mode == Mode::Training { probability as f32 } else { 0.0 };
        let config = self.config();
        let embedded = graph.scope("embeddings", || {
            let tables = self.tables.map(|table| graph.parameter(table));
            let sum = graph.embedding(tables, batch.tokens);
            let embedded = sum
                .layer_norm(self.norm(graph, self.embedding_norm))
                .dropout(dropout(config.hidden_dropout_prob));
            match self.mapping_in {
                Some(dense) => self.dense(graph, embedded, dense, Activation::Identity),
                None => embedded,
            }
        });
        let mut states = vec![embedded];
        let blocks: Vec<_> = (0..config.num_hidden_layers)
            .flat_map(|layer| self.blocks[config.group_of(layer)].iter().map(move |block| (layer, block)))
            .collect();
        for (index, &(layer, block)) in blocks.iter().enumerate() {
            let x = states[states.len() - 1];
            let probabilities =
                [config.hidden_dropout_prob, config.attention_probs_dropout_prob].map(dropout);
            let read = read.filter(|_| index + 1 == blocks.len());
            let record = || graph.region(|| self.block(graph, x, block, batch.offsets, probabilities, read));
            states.push(graph.scope(&format!("encoder/layer.{layer}"), record));
        }
        states
    }

    /// One block, layer norm after each residual connection; of the rows `read` alone from behind its attention on, if that is
    /// said.
    fn block<'g>(
        &self,
        graph: &'g Graph,
        x: Tensor<'g>,
        block: &Block,
        offsets: Indices<'g>,
        dropout: [f32; 2],
        read: Option<Indices<'g>>,
    ) -> Tensor<'g> {
        let [hidden_dropout, attention_dropout] = dropout;
        let attended = graph.scope("attention", || {
            let qkv = self.dense(graph, x, block.qkv, Activation::Identity);
            let context = qkv.attention(offsets, self.config().num_attention_heads, attention_dropout);
            let (context, x) = match read {
                Some(rows) => (context.gather(rows), x.gather(rows)),
                None => (context, x),
            };
            let output = self.dense(graph, context, block.attention_output, Activation::Identity);
            output.residual_layer_norm(x, hidden_dropout, self.norm(graph, block.attention_norm))
        });
        graph.scope("ffn", || {
            let inner = self.dense(graph, attended, block.ffn, self.activation);
            let output = self.dense(graph, inner, block.ffn_output, Activation::Identity);
            output.residual_layer_norm(attended, hidden_dropout, self.norm(graph, block.output_norm))
        })
    }

    pub(crate) fn dense<'g>(
        &self,
        graph: &'g Graph,
        x: Tensor<'g>,
        dense: Dense,
        activation: Activation,
    ) -> Tensor<'g> {
        let parameter = |id: ParameterId| graph.parameter(id);
        x.linear(parameter(dense.weight), Some(parameter(dense.bias)), activation)
    }

    pub(crate) fn norm<'g>(&self, graph: &'g Graph, norm: NormParameters) -> Norm<'g> {
        Norm {
            gamma: graph.parameter(norm.gamma),
            beta: graph.parameter(norm.beta),
            epsilon: self.config().layer_norm_eps,
        }
    }
}
