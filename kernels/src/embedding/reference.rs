//! The mathematics of the embedding.

use super::{Backward, Embedding, Forward, Indices};
use crate::memory::Host;
use crate::precision::F64;

/// `y[t] = words[token[t]] + positions[position[t]] + segments[segment[t]]`
pub fn forward(embedding: &Embedding, operands: Forward<'_, Host, F64>) {
    let Forward { indices, words, positions, segments, y } = operands;
    let width = embedding.width;
    for t in 0..indices.tokens.len() {
        let [word, position, segment] = table_rows(&indices, t);
        for c in 0..width {
            y[t * width + c] =
                words[word * width + c] + positions[position * width + c] + segments[segment * width + c];
        }
    }
}

/// Every row of `dy` is added to the three rows it came from.
pub fn backward(embedding: &Embedding, operands: Backward<'_, Host, F64>) {
    let Backward { indices, token_order: _, dy, d_words, d_positions, d_segments } = operands;
    let width = embedding.width;
    for t in 0..indices.tokens.len() {
        let [word, position, segment] = table_rows(&indices, t);
        for c in 0..width {
            let gradient = dy[t * width + c];
            d_words[word * width + c] += gradient;
            d_positions[position * width + c] += gradient;
            d_segments[segment * width + c] += gradient;
        }
    }
}

fn table_rows(indices: &Indices<'_, Host>, t: usize) -> [usize; 3] {
    [indices.tokens[t], indices.positions[t], indices.segments[t]].map(|index| index as usize)
}
