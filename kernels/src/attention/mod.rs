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
use crate::dropout::{Dropout, MOST_COLUMNS};
use crate::memory::{Length, Memory};
use crate::precision::Precision;

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod reference;

pub use cuda::scratch_bytes;

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
pub struct Forward<'a, M: Memory, P: Precision> {
    /// `[rows, 3 · width]`
    pub qkv: M::Slice<'a, P::Activation>,
    /// `[sequences + 1]`, row where each sequence starts, then the number of rows.
    pub offsets: M::Slice<'a, i32>,
    /// Source of the dropout coins; not read without dropout.
    pub randomness: M::Randomness,
    /// `[rows, width]`
    pub context: M::SliceMut<'a, P::Activation>,
    /// `[rows, heads]`
    pub log_sum_exp: M::SliceMut<'a, P::Master>,
}

/// Operands of the backward pass.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// `[rows, 3 · width]`
    pub qkv: M::Slice<'a, P::Activation>,
    /// `[sequences + 1]`
    pub offsets: M::Slice<'a, i32>,
    /// Source of the dropout coins: the same as in forward.
    pub randomness: M::Randomness,
    /// `[rows, width]`
    pub context: M::Slice<'a, P::Activation>,
    /// `[rows, heads]`
    pub log_sum_exp: M::Slice<'a, P::Master>,
    /// `[rows, width]`
    pub d_context: M::Slice<'a, P::Activation>,
    /// `[rows, 3 · width]`, stored.
    pub d_qkv: M::SliceMut<'a, P::Activation>,
}

/// Tokens of a sequence whose attention has dropout: each probability has a coin of its own, and no more are counted.
pub const MOST_KEYS_DROPPED: usize = 1 << 16;
/// Heads of such an attention.
pub const MOST_HEADS_DROPPED: usize = MOST_COLUMNS / MOST_KEYS_DROPPED;

impl Attention {
    fn check(&self) {
        assert!(self.heads > 0 && self.head_width > 0, "an attention has heads");
        if let Some(dropout) = &self.dropout {
            dropout.check(self.heads.saturating_mul(MOST_KEYS_DROPPED));
        }
    }

    /// Panics unless every probability of a sequence of `length` tokens has a coin of its own.
    pub(crate) fn check_length(&self, length: usize) {
        let coins = self.dropout.is_none() || length <= MOST_KEYS_DROPPED;
        assert!(coins, "a sequence of {length} tokens has more than 2¹⁶ keys");
    }
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, attention: &Attention) {
        attention.check();
        let (width, rows) = (attention.width(), rows(self.log_sum_exp.length(), attention.heads));
        shapes!(self; qkv: [rows, 3, width], context: [rows, width], log_sum_exp: [rows, attention.heads]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, attention: &Attention) {
        attention.check();
        let (width, rows) = (attention.width(), rows(self.log_sum_exp.length(), attention.heads));
        shapes!(self; qkv: [rows, 3, width], context: [rows, width], log_sum_exp: [rows, attention.heads]);
        shapes!(self; d_context: [rows, width], d_qkv: [rows, 3, width]);
    }
}
