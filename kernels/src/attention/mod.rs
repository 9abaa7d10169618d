//! Multi-head self-attention over packed sequences, without materialising its probabilities.
//!
//! Row t of `qkv` is (q, k, v) of token t, each `heads · head_width` wide, head-major. Within one sequence and head:
//! `S = q · kᵀ / √head_width`, `P = softmax(S)` over keys, `context = dropout(P) · v` (Vaswani et al. 2017 §3.2.1).
//! Backward needs only `log_sum_exp = log Σ exp S` per query (Dao et al. 2022): with P = exp(S − lse),
//! D = rowsum(d_context ∘ context): `dP = d_context · vᵀ` (dropped and scaled as P was), `dS = P ∘ (dP − D)`,
//! `dq = dS · k / √d`, `dk = dSᵀ · q / √d`, `dv = dropout(P)ᵀ · d_context`.
//! Attention looks only inside a sequence: there is no mask, because there is no padding. Rows past the last offset
//! are dead: they are never read, and every result is 0 there.

use crate::Cost;
use crate::contract::{rows, shapes};
use crate::dropout::{Dropout, Randomness};

pub(crate) mod cpu;
pub(crate) mod reference;

/// Shape of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Width of one head.
    pub head_width: usize,
    /// Dropout of the probabilities: coin of (query's row, `head << 16 | key's index in its sequence`).
    pub dropout: Option<Dropout>,
}

impl Attention {
    /// `heads · head_width`.
    pub fn width(&self) -> usize {
        self.heads * self.head_width
    }

    /// Cost of forward over sequences of `length` tokens, `rows` tokens in all: two products.
    pub fn forward_cost(&self, rows: usize, length: usize, element_size: usize) -> Cost {
        Cost::new(4 * rows * length * self.width(), 4 * rows * self.width() + rows * self.heads, element_size)
    }

    /// Cost of backward: four products, and the scores computed again.
    pub fn backward_cost(&self, rows: usize, length: usize, element_size: usize) -> Cost {
        let elements = 8 * rows * self.width() + rows * self.heads;
        let product = 2 * rows * length * self.width();
        Cost::new(4 * product, elements, element_size).recomputing(product)
    }
}

/// Operands of the forward pass.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// `[rows, 3 · width]`
    pub qkv: &'a [R],
    /// `[sequences + 1]`, row where each sequence starts, then the number of rows.
    pub offsets: &'a [i32],
    /// Source of the dropout coins; not read without dropout.
    pub randomness: Randomness,
    /// `[rows, width]`
    pub context: &'a mut [R],
    /// `[rows, heads]`
    pub log_sum_exp: &'a mut [R],
}

/// Operands of the backward pass.
#[derive(Debug)]
pub struct Backward<'a, R> {
    /// `[rows, 3 · width]`
    pub qkv: &'a [R],
    /// `[sequences + 1]`
    pub offsets: &'a [i32],
    /// Source of the dropout coins: the same as in forward.
    pub randomness: Randomness,
    /// `[rows, width]`
    pub context: &'a [R],
    /// `[rows, heads]`
    pub log_sum_exp: &'a [R],
    /// `[rows, width]`
    pub d_context: &'a [R],
    /// `[rows, 3 · width]`, stored.
    pub d_qkv: &'a mut [R],
}

impl Attention {
    /// Panics unless every probability has a coin of its own.
    fn check(&self, offsets: &[i32]) {
        assert!(self.heads > 0 && self.head_width > 0, "an attention has heads");
        if let Some(dropout) = &self.dropout {
            let longest = offsets.windows(2).map(|pair| i64::from(pair[1]) - i64::from(pair[0])).max();
            assert!(longest <= Some(1 << 16), "a sequence of {longest:?} tokens has more than 2¹⁶ keys");
            dropout.check(self.heads << 16);
        }
    }
}

impl<R> Forward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, attention: &Attention) {
        attention.check(self.offsets);
        let (width, rows) = (attention.width(), rows(self.log_sum_exp.len(), attention.heads));
        shapes!(self; qkv: [rows, 3, width], context: [rows, width], log_sum_exp: [rows, attention.heads]);
    }
}

impl<R> Backward<'_, R> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, attention: &Attention) {
        attention.check(self.offsets);
        let (width, rows) = (attention.width(), rows(self.log_sum_exp.len(), attention.heads));
        shapes!(self; qkv: [rows, 3, width], context: [rows, width], log_sum_exp: [rows, attention.heads]);
        shapes!(self; d_context: [rows, width], d_qkv: [rows, 3, width]);
    }
}
