//! The sum of three table look-ups.

use kernels::memory::Host;
use kernels::{Precision, embedding};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Indices, Operands, Random};
use crate::step;

const POSITIONS: usize = 17;
const SEGMENTS: usize = 2;

#[derive(Debug)]
pub struct Embedding {
    embedding: embedding::Embedding,
    vocabulary: usize,
    tokens: Indices,
    positions: Indices,
    segments: Indices,
    token_order: Indices,
}

impl Embedding {
    fn new(rows: usize, vocabulary: usize, width: usize) -> Self {
        let mut random = Random::new(4);
        let tokens = random.indices(rows, vocabulary);
        let mut token_order: Vec<i32> = (0..rows as i32).collect();
        token_order.sort_by_key(|&row| tokens[row as usize]);
        Self {
            embedding: embedding::Embedding { width },
            vocabulary,
            positions: random.indices(rows, POSITIONS),
            segments: random.indices(rows, SEGMENTS),
            tokens,
            token_order: Indices(token_order),
        }
    }

    fn indices(&self) -> embedding::Indices<'_, Host> {
        embedding::Indices { tokens: &self.tokens, positions: &self.positions, segments: &self.segments }
    }
}

impl Case for Embedding {
    fn all() -> Vec<Self> {
        // The last has a token of more chunks of the GPU's than a warp has lanes.
        let sizes = [(1, 1, 1), (7, 3, 5), (127, 40, 31), (512, 9, 128), (1000, 5000, 100), (2600, 1, 12)];
        sizes.map(|(rows, vocabulary, width)| Self::new(rows, vocabulary, width)).into()
    }

    fn small() -> Vec<Self> {
        vec![Self::new(6, 4, 3)]
    }

    fn operands(&self, operands: &mut Operands) {
        let width = self.embedding.width;
        operands
            .random("words", self.vocabulary * width)
            .random("positions", POSITIONS * width)
            .random("segments", SEGMENTS * width)
            .random("y", self.tokens.len() * width)
            .random("dy", self.tokens.len() * width)
            .random("d_words", self.vocabulary * width)
            .random("d_positions", POSITIONS * width)
            .random("d_segments", SEGMENTS * width);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        vec![
            step! { p, 3, embedding_forward(&self.embedding, embedding::Forward {
                indices: self.indices(),
                words: &p.read("words"),
                positions: &p.read("positions"),
                segments: &p.read("segments"),
                y: &mut p.assign("y"),
            }) },
            step! { p, self.tokens.len(), embedding_backward(&self.embedding, embedding::Backward {
                indices: self.indices(),
                token_order: &self.token_order,
                dy: &p.read("dy"),
                d_words: &mut p.accumulate("d_words"),
                d_positions: &mut p.accumulate("d_positions"),
                d_segments: &mut p.accumulate("d_segments"),
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        let gradients = vec![("words", "d_words"), ("positions", "d_positions"), ("segments", "d_segments")];
        Derivative { output: "y", upstream: "dy", gradients }
    }
}
