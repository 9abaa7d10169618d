//! The mathematics of attention, one sequence and head after the other.

use crate::memory::Host;
use crate::precision::F64;
use std::ops::Range;

use super::{Attention, Backward, Forward};
use crate::dropout::Randomness;
use crate::dropout::reference::factor;
use crate::sequences::Sequences;

/// One head of one sequence.
struct Head<'a> {
    attention: &'a Attention,
    qkv: &'a [f64],
    randomness: &'a Randomness,
    rows: Range<usize>,
    head: usize,
}

impl Head<'_> {
    /// Where q (`part` 0), k (1) or v (2) of the sequence's token `t` begins in `qkv`.
    fn start(&self, part: usize, t: usize) -> usize {
        let width = self.attention.width();
        ((self.rows.start + t) * 3 + part) * width + self.head * self.attention.head_width
    }

    /// q, k or v of the sequence's token `t`.
    fn part(&self, part: usize, t: usize) -> &[f64] {
        &self.qkv[self.start(part, t)..][..self.attention.head_width]
    }

    /// Where the head's context of the sequence's token `t` begins.
    fn context_start(&self, t: usize) -> usize {
        (self.rows.start + t) * self.attention.width() + self.head * self.attention.head_width
    }

    /// Where the head's log-sum-exp of the sequence's token `t` is.
    fn statistic(&self, t: usize) -> usize {
        (self.rows.start + t) * self.attention.heads + self.head
    }

    /// `1 / √head_width`
    fn scale(&self) -> f64 {
        1.0 / (self.attention.head_width as f64).sqrt()
    }

    /// `S[query, key] = q · k / √d`
    fn score(&self, query: usize, key: usize) -> f64 {
        self.scale() * dot(self.part(0, query), self.part(1, key))
    }

    /// What dropout multiplies `P[query, key]` with.
    fn keep(&self, query: usize, key: usize) -> f64 {
        let dropout = self.attention.dropout.as_ref();
        factor(dropout, self.randomness, self.rows.start + query, self.head << 16 | key)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(destination: &mut [f64], factor: f64, source: &[f64]) {
    for (destination, source) in destination.iter_mut().zip(source) {
        *destination += factor * source;
    }
}

/// `context = dropout(softmax(S)) · v`
pub fn forward(attention: &Attention, operands: Forward<'_, Host, F64>) {
    let Forward { qkv, offsets, randomness, context, log_sum_exp } = operands;
    context.fill(0.0);
    log_sum_exp.fill(0.0);
    for rows in Sequences::new(offsets, log_sum_exp.len() / attention.heads).iter() {
        attention.check_length(rows.len());
        for head in 0..attention.heads {
            let head = Head { attention, qkv, randomness: &randomness, rows: rows.clone(), head };
            for query in 0..rows.len() {
                let scores: Vec<f64> = (0..rows.len()).map(|key| head.score(query, key)).collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let lse = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
                log_sum_exp[head.statistic(query)] = lse;
                let context = &mut context[head.context_start(query)..][..attention.head_width];
                for (key, s) in scores.iter().enumerate() {
                    add_scaled(context, (s - lse).exp() * head.keep(query, key), head.part(2, key));
                }
            }
        }
    }
}

/// `dS = P ∘ (dP − D)`, and from it the gradients of q and k; that of v from P itself.
pub fn backward(attention: &Attention, operands: Backward<'_, Host, F64>) {
    let Backward { qkv, offsets, randomness, context, log_sum_exp, d_context, d_qkv } = operands;
    let width = attention.head_width;
    d_qkv.fill(0.0);
    for rows in Sequences::new(offsets, log_sum_exp.len() / attention.heads).iter() {
        attention.check_length(rows.len());
        for head in 0..attention.heads {
            let head = Head { attention, qkv, randomness: &randomness, rows: rows.clone(), head };
            for query in 0..rows.len() {
                let lse = log_sum_exp[head.statistic(query)];
                let context = &context[head.context_start(query)..][..width];
                let d_context = &d_context[head.context_start(query)..][..width];
                let d = dot(d_context, context);
                for key in 0..rows.len() {
                    let p = (head.score(query, key) - lse).exp();
                    let keep = head.keep(query, key);
                    let dp = keep * dot(d_context, head.part(2, key));
                    let ds = head.scale() * p * (dp - d);
                    add_scaled(&mut d_qkv[head.start(0, query)..][..width], ds, head.part(1, key));
                    add_scaled(&mut d_qkv[head.start(1, key)..][..width], ds, head.part(0, query));
                    add_scaled(&mut d_qkv[head.start(2, key)..][..width], keep * p, d_context);
                }
            }
        }
    }
}
