//! See the parent module. A task is one head of one sequence: it copies the head's q, k and v into panels and goes
//! through the queries in blocks, so that of the scores only those of one block exist at a time.

use std::ops::Range;

use super::{Attention, Backward, Forward};
use crate::Cpu;
use crate::cpu::CpuPrecision;
use crate::cpu::gemm::round;
use crate::cpu::microkernel::{self, Product, Target, Unit};
use crate::cpu::panels::{line, pack_columns, pack_rows};
use crate::cpu::simd::{Floats, Stored, Token, kernel};
use crate::cpu::threads::{Grid, Pieces};
use crate::cpu::{math, scratch};
use crate::dropout::cpu::row_factors;
use crate::dropout::{Dropout, Randomness};
use crate::memory::Host;
use crate::sequences::Sequences;

/// Most rows of tiles in a block of queries: enough that adding to dk and dv costs little, few enough that its scores
/// stay in the cache.
const TILES_PER_BLOCK: usize = 6;

/// See [`super`].
pub fn forward<P: CpuPrecision>(cpu: &Cpu, attention: &Attention, operands: Forward<'_, Host, P>) {
    let Forward { qkv, offsets, randomness, context, log_sum_exp } = operands;
    let (width, heads) = (attention.width(), attention.heads);
    let sequences = Sequences::new(offsets, log_sum_exp.len() / heads);
    attention.check_length(sequences.longest().len());
    context[sequences.dead().start * width..].fill(Stored::narrow(0.0));
    log_sum_exp[sequences.dead().start * heads..].fill(0.0);
    let (context, log_sum_exp) = (Pieces::new(context), Pieces::new(log_sum_exp));
    let head = |rows, head| Head::new(cpu.token(), attention, qkv, &randomness, rows, head);
    let space = head(sequences.longest(), 0).forward_space();
    let tasks = sequences.len() * heads;
    cpu.for_each_with_space(tasks, space, |task, space| {
        let head = |task: usize| head(sequences.rows(task / heads), task % heads);
        let next = (task + 1 < tasks).then(|| head(task + 1));
        head(task).forward(space, &context, &log_sum_exp, next.as_ref());
    });
}

/// See [`super`]. The dq, dk and dv of one head of one sequence are one task's, which adds them up in the queries' order.
pub fn backward<P: CpuPrecision>(cpu: &Cpu, attention: &Attention, operands: Backward<'_, Host, P>) {
    let Backward { qkv, offsets, randomness, context, log_sum_exp, d_context, d_qkv } = operands;
    let (width, heads) = (attention.width(), attention.heads);
    let sequences = Sequences::new(offsets, log_sum_exp.len() / heads);
    attention.check_length(sequences.longest().len());
    d_qkv[sequences.dead().start * 3 * width..].fill(Stored::narrow(0.0));
    let d_qkv = Pieces::new(d_qkv);
    let head = |rows, head| Head::new(cpu.token(), attention, qkv, &randomness, rows, head);
    let space = head(sequences.longest(), 0).backward_space();
    let tasks = sequences.len() * heads;
    cpu.for_each_with_space(tasks, space, |task, space| {
        let head = |task: usize| head(sequences.rows(task / heads), task % heads);
        let next = (task + 1 < tasks).then(|| head(task + 1));
        head(task).backward(space, [context, d_context], log_sum_exp, &d_qkv, next.as_ref());
    });
}

/// One head of one sequence.
struct Head<'a, A> {
    token: Token,
    attention: &'a Attention,
    qkv: &'a [A],
    randomness: &'a Randomness,
    rows: Range<usize>,
    head: usize,
    /// Rows and columns of a tile.
    tile: (usize, usize),
    /// Number of tokens.
    length: usize,
    /// The queries in blocks.
    blocks: Grid,
    /// Number of tokens and the head's width, rounded up to whole tiles.
    padded: usize,
    padded_width: usize,
}

/// Cuts buffers from work space, each on a cache line.
struct Carver<'a>(&'a mut [f32]);

impl<'a> Carver<'a> {
    fn cut(&mut self, length: usize) -> &'a mut [f32] {
        let (buffer, rest) = std::mem::take(&mut self.0).split_at_mut(scratch::padded(length));
        self.0 = rest;
        buffer
    }
}

impl<'a, A: Stored> Head<'a, A> {
    fn new(
        token: Token,
        attention: &'a Attention,
        qkv: &'a [A],
        randomness: &'a Randomness,
        rows: Range<usize>,
        head: usize,
    ) -> Self {
        let tile = microkernel::size(token, false);
        let length = rows.len();
        let blocks = Grid::equal(length, length.div_ceil(TILES_PER_BLOCK * tile.0), tile.0);
        let padded = length.next_multiple_of(tile.1);
        let padded_width = attention.head_width.next_multiple_of(tile.1);
        Self { token, attention, qkv, randomness, rows, head, tile, length, blocks, padded, padded_width }
    }

    /// Numbers of a matrix with a row per token.
    fn tokens_by_width(&self) -> usize {
        scratch::padded(self.padded * self.padded_width)
    }

    /// Numbers of a matrix with a row per query of a block and a column per token. Of a block as high as can be: a shorter
    /// sequence may have higher ones, and gets no more space than the longest.
    fn block_by_tokens(&self) -> usize {
        scratch::padded((TILES_PER_BLOCK * self.tile.0).min(self.length) * self.padded)
    }

    /// What [`Self::forward`] needs: q, k and v, context; scores; dropout.
    fn forward_space(&self) -> usize {
        4 * self.tokens_by_width() + self.block_by_tokens() + scratch::padded(self.length)
    }

    /// What [`Self::backward`] needs: q, k twice, v, d_context; dq, dk, dv; P, dP; dropout.
    fn backward_space(&self) -> usize {
        8 * self.tokens_by_width() + 2 * self.block_by_tokens() + scratch::padded(self.length)
    }

    /// `1 / √head_width`
    fn scale(&self) -> f32 {
        1.0 / (self.attention.head_width as f32).sqrt()
    }

    /// Where q (`part` 0), k (1) or v (2) of the first token begins in `qkv`; the next token's is `3 · width` further.
    fn start(&self, part: usize) -> usize {
        (self.rows.start * 3 + part) * self.attention.width() + self.head * self.attention.head_width
    }

    /// Where the head's context of token `t` begins.
    fn context_start(&self, t: usize) -> usize {
        (self.rows.start + t) * self.attention.width() + self.head * self.attention.head_width
    }

    /// Copies a matrix of the head, `stride` apart from row to row, into `to` with rows of `padded_width`.
    fn copy(&self, from: &[A], stride: usize, to: &mut [f32]) {
        let (width, to) = (self.attention.head_width, &mut to[..self.length * self.padded_width]);
        pack_rows(self.token, from, stride, self.length, width, self.padded_width, to);
    }

    /// Copies q, k or v into `to` with rows of `padded_width`.
    fn copy_part(&self, part: usize, to: &mut [f32]) {
        self.copy(&self.qkv[self.start(part)..], 3 * self.attention.width(), to);
    }

    /// Copies the transpose of k or v into `to`, in panels of tokens.
    fn copy_transposed(&self, part: usize, to: &mut [f32]) {
        let (stride, panel) = (3 * self.attention.width(), self.tile.1);
        for first in (0..self.length).step_by(panel) {
            let from = &self.qkv[self.start(part) + first * stride..];
            let columns = panel.min(self.length - first);
            let to = &mut to[first * self.attention.head_width..][..panel * self.attention.head_width];
            pack_columns(self.token, from, stride, columns, panel, to);
        }
    }

    /// Asks for some tokens' rows of a matrix of the head that starts at `start`, `stride` apart: they are read or stored soon.
    fn fetch(&self, matrix: *const A, start: usize, stride: usize, tokens: &Range<usize>) {
        let first = matrix.wrapping_add(start + tokens.start * stride);
        let count = tokens.end.min(self.length).saturating_sub(tokens.start);
        fetch(self.token, first, stride, count, self.attention.head_width);
    }

    /// The same of q, k or v, or of their gradients.
    fn fetch_part(&self, matrix: *const A, part: usize, tokens: &Range<usize>) {
        self.fetch(matrix, self.start(part), 3 * self.attention.width(), tokens);
    }

    /// The same of the context, or of its gradient.
    fn fetch_context(&self, matrix: *const A, tokens: &Range<usize>) {
        self.fetch(matrix, self.context_start(0), self.attention.width(), tokens);
    }

    /// Stores rows of `padded_width` as rows of a matrix of the head that start at `start`, `stride` apart.
    fn store(&self, from: &[f32], to: &Pieces<'_, A>, start: usize, stride: usize) {
        for (t, from) in from.chunks_exact(self.padded_width).take(self.length).enumerate() {
            let first = start + t * stride;
            // SAFETY: the head's columns of the sequence's rows belong to one task.
            let to = unsafe { to.piece(first..first + self.attention.head_width) };
            round(self.token, from, to);
        }
    }

    /// `C = A · Bᵀ` for rows `queries` of an A from [`Self::copy`] and a B from [`Self::copy_transposed`].
    fn by_transposed(&self, queries: &Range<usize>, a: &[f32], b: &[f32], c: &mut [f32]) {
        let a_row = self.padded_width;
        let product = Product {
            rows: queries.len(),
            columns: self.length,
            depth: self.attention.head_width,
            a: &a[queries.start * a_row..],
            a_row,
            a_step: 1,
            a_panel: self.tile.0 * a_row,
            b,
            b_step: self.tile.1,
            b_panel: self.tile.1 * self.attention.head_width,
            c: Target::new(c, self.padded),
            add: false,
            tall: false,
        };
        microkernel::multiply(self.token, Unit::Single, product);
    }

    /// `C = A · B` for an A with a row per query of a block and a column per token, and a B from [`Self::copy`].
    fn by_tokens(&self, queries: &Range<usize>, a: &[f32], b: &[f32], c: &mut [f32]) {
        let product = Product {
            rows: queries.len(),
            columns: self.attention.head_width,
            depth: self.length,
            a,
            a_row: self.padded,
            a_step: 1,
            a_panel: self.tile.0 * self.padded,
            b,
            b_step: self.padded_width,
            b_panel: self.tile.1,
            c: Target::new(c, self.padded_width),
            add: false,
            tall: false,
        };
        microkernel::multiply(self.token, Unit::Single, product);
    }

    /// `C += Aᵀ · B` for such an A and rows `queries` of a B from [`Self::copy`].
    fn by_queries(&self, queries: &Range<usize>, a: &[f32], b: &[f32], c: &mut [f32]) {
        let product = Product {
            rows: self.length,
            columns: self.attention.head_width,
            depth: queries.len(),
            a,
            a_row: 1,
            a_step: self.padded,
            a_panel: self.tile.0,
            b: &b[queries.start * self.padded_width..],
            b_step: self.padded_width,
            b_panel: self.tile.1,
            c: Target::new(c, self.padded_width),
            add: queries.start > 0,
            tall: false,
        };
        microkernel::multiply(self.token, Unit::Single, product);
    }

    /// The dropout of a query's probabilities, if there is any.
    fn coins(&self, query: usize) -> Option<Coins<'_>> {
        let dropout = self.attention.dropout.as_ref()?;
        let (row, first_column) = (self.rows.start + query, self.head << 16);
        Some(Coins { dropout, randomness: self.randomness, row, first_column })
    }

    /// What memory is slow to give is asked for while something is computed: where results go, and what the `next` head reads.
    fn forward(
        &self,
        space: &mut [f32],
        context: &Pieces<'_, A>,
        log_sum_exp: &Pieces<'_, f32>,
        next: Option<&Self>,
    ) {
        if self.length == 0 {
            return; // the last sequence, if empty, starts behind the last row
        }
        let heads = self.attention.heads;
        let mut space = Carver(space);
        let [q, k, v, out] = std::array::from_fn(|_| space.cut(self.tokens_by_width()));
        let (scores, factors) = (space.cut(self.block_by_tokens()), space.cut(self.length));
        self.copy_part(0, q);
        self.copy_transposed(1, k);
        self.copy_part(2, v);
        for queries in self.blocks.iter() {
            let fetch_next = |part| {
                if let Some(next) = next {
                    next.fetch_part(self.qkv.as_ptr(), part, &queries);
                }
            };
            fetch_next(0);
            fetch_next(1);
            self.by_transposed(&queries, q, k, scores);
            for (query, scores) in queries.clone().zip(scores.chunks_mut(self.padded)) {
                let factors = &mut factors[..self.length];
                let row = self.rows.start + query;
                // SAFETY: every head of every row belongs to one task.
                let log_sum =
                    unsafe { log_sum_exp.piece(row * heads + self.head..row * heads + self.head + 1) };
                log_sum[0] =
                    softmax(self.token, self.scale(), self.coins(query), &mut scores[..self.length], factors);
            }
            fetch_next(2);
            self.fetch_context(context.pointer(0), &queries);
            self.by_tokens(&queries, scores, v, &mut out[queries.start * self.padded_width..]);
        }
        self.store(out, context, self.context_start(0), self.attention.width());
    }

    /// Memory is asked as in the forward pass.
    fn backward(
        &self,
        space: &mut [f32],
        [context, d_context]: [&[A]; 2],
        log_sum_exp: &[f32],
        d_qkv: &Pieces<'_, A>,
        next: Option<&Self>,
    ) {
        if self.length == 0 {
            return; // as in the forward pass
        }
        let Attention { heads, head_width, .. } = *self.attention;
        let width = heads * head_width;
        let mut space = Carver(space);
        let [q, k, k_transposed, v_transposed, d_out, dq, dk, dv] =
            std::array::from_fn(|_| space.cut(self.tokens_by_width()));
        let [p, dp] = std::array::from_fn(|_| space.cut(self.block_by_tokens()));
        let factors = &mut space.cut(self.length)[..self.length];
        self.copy_part(0, q);
        self.copy_part(1, k);
        self.copy_transposed(1, k_transposed);
        self.copy_transposed(2, v_transposed);
        self.copy(&d_context[self.context_start(0)..], width, d_out);
        for queries in self.blocks.iter() {
            let fetch_next = |part| {
                if let Some(next) = next {
                    next.fetch_part(self.qkv.as_ptr(), part, &queries);
                }
            };
            let fetch_gradient = |part| self.fetch_part(d_qkv.pointer(0), part, &queries);
            self.fetch_context(context.as_ptr(), &queries);
            fetch_next(0);
            self.by_transposed(&queries, q, k_transposed, p);
            if let Some(next) = next {
                next.fetch_context(d_context.as_ptr(), &queries);
            }
            fetch_next(1);
            self.by_transposed(&queries, d_out, v_transposed, dp);
            let rows = p.chunks_mut(self.padded).zip(dp.chunks_mut(self.padded));
            for (query, (p, dp)) in queries.clone().zip(rows) {
                let (start, row) = (self.context_start(query), self.rows.start + query);
                let head = start..start + head_width;
                let scores = ScoreRow {
                    scale: self.scale(),
                    coins: self.coins(query),
                    log_sum_exp: log_sum_exp[row * heads + self.head],
                    context: &context[head.clone()],
                    d_context: &d_context[head],
                };
                softmax_backward(self.token, scores, &mut p[..self.length], &mut dp[..self.length], factors);
            }
            fetch_next(2);
            fetch_gradient(0);
            self.by_tokens(&queries, dp, k, &mut dq[queries.start * self.padded_width..]);
            fetch_gradient(1);
            self.by_queries(&queries, dp, q, dk);
            fetch_gradient(2);
            self.by_queries(&queries, p, d_out, dv);
        }
        for (part, gradient) in [dq, dk, dv].into_iter().enumerate() {
            self.store(gradient, d_qkv, self.start(part), 3 * width);
        }
    }
}

/// The dropout of one query's probabilities.
struct Coins<'a> {
    dropout: &'a Dropout,
    randomness: &'a Randomness,
    row: usize,
    first_column: usize,
}

kernel! {
    /// Asks for `count` rows of `width` numbers, `stride` apart.
    fn fetch<S, A>(simd, first: *const A, stride: usize, count: usize, width: usize) {
        for row in 0..count {
            for at in (0..width).step_by(line::<A>()) {
                simd.prefetch(first.wrapping_add(row * stride + at));
            }
        }
    }
}

kernel! {
    /// Turns `q · k` into dropped probabilities in place and returns their log-sum-exp.
    fn softmax<S>(simd, scale: f32, coins: Option<Coins<'_>>, scores: &mut [f32], factors: &mut [f32]) -> f32 {
        let length = scores.len();
        let mut largest = simd.splat(f32::NEG_INFINITY);
        for at in (0..length).step_by(S::LANES) {
            largest = largest.max(simd.load_or(&scores[at..], f32::NEG_INFINITY));
        }
        let (scale, largest) = (simd.splat(scale), simd.splat(largest.largest()));
        let mut sum = simd.splat(0.0);
        for at in (0..length).step_by(S::LANES) {
            let score = simd.load_or(&scores[at..], f32::NEG_INFINITY);
            let power = math::exp(simd, (score - largest) * scale);
            sum = sum + power;
            power.store(&mut scores[at..]);
        }
        let sum = sum.sum();
        let normaliser = simd.splat(1.0 / sum);
        if let Some(Coins { dropout, randomness, row, first_column }) = coins {
            row_factors(simd, dropout, randomness, row, first_column, factors);
            for at in (0..length).step_by(S::LANES) {
                let factor = simd.load(&factors[at..]) * normaliser;
                (simd.load(&scores[at..]) * factor).store(&mut scores[at..]);
            }
        } else {
            for at in (0..length).step_by(S::LANES) {
                (simd.load(&scores[at..]) * normaliser).store(&mut scores[at..]);
            }
        }
        let mut first = [0.0; 1];
        (largest * scale).store(&mut first);
        first[0] + sum.ln()
    }
}

/// What the backward pass of one query needs besides its scores.
struct ScoreRow<'a, A> {
    scale: f32,
    coins: Option<Coins<'a>>,
    log_sum_exp: f32,
    context: &'a [A],
    d_context: &'a [A],
}

kernel! {
    /// From `q · k` in `p` and `d_context · v` in `dp`: the dropped probabilities to `p`, `dS / √d` to `dp`.
    fn softmax_backward<S, A>(simd, row: ScoreRow<'_, A>, p: &mut [f32], dp: &mut [f32], factors: &mut [f32]) {
        let mut d = simd.splat(0.0);
        for at in (0..row.context.len()).step_by(S::LANES) {
            d = simd.load(&row.context[at..]).mul_add(simd.load(&row.d_context[at..]), d);
        }
        let (d, scale, log_sum) = (simd.splat(d.sum()), simd.splat(row.scale), simd.splat(row.log_sum_exp));
        let dropped = row.coins.is_some();
        if let Some(Coins { dropout, randomness, row, first_column }) = row.coins {
            row_factors(simd, dropout, randomness, row, first_column, factors);
        }
        for at in (0..p.len()).step_by(S::LANES) {
            let probability = math::exp(simd, simd.load(&p[at..]) * scale - log_sum);
            let (mut kept, mut upstream) = (probability, simd.load(&dp[at..]));
            if dropped {
                let factor = simd.load(&factors[at..]);
                (kept, upstream) = (kept * factor, upstream * factor);
            }
            kept.store(&mut p[at..]);
            (probability * scale * (upstream - d)).store(&mut dp[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    #[test]
    fn the_space_of_a_sequence_is_enough_for_every_shorter_one() {
        let attention = Attention { heads: 1, head_width: 5, dropout: None };
        let (qkv, philox) = (vec![0.0_f32; 200 * 15], crate::random::Philox::new(0, 0));
        let randomness = Randomness { philox, step: 0, first_row: 0 };
        for token in Isa::available().filter_map(Token::new) {
            let mut before = [0; 2];
            for length in 1..200 {
                let head = Head::new(token, &attention, &qkv, &randomness, 0..length, 0);
                let space = [head.forward_space(), head.backward_space()];
                let block = head.blocks.range(0).len() * head.padded;
                assert!(space[0] >= before[0] && space[1] >= before[1], "{length} tokens");
                assert!(head.block_by_tokens() >= block, "{length} tokens");
                before = space;
            }
        }
    }
}
