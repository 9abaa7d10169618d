//! See the parent module.

use super::{Backward, Dropout, Forward, Randomness, logical_row};
use crate::cpu::CpuPrecision;
use crate::cpu::simd::{Floats, Simd, Stored, Words, kernel};
use crate::cpu::threads::{Grid, Pieces};
use crate::memory::Host;
use crate::random::{MULTIPLIERS, Philox, ROUNDS, WEYL};
use crate::{Cpu, Store};

/// See [`super`].
pub fn forward<P: CpuPrecision>(cpu: &Cpu, dropout: &Dropout, operands: Forward<'_, Host, P>) {
    let Forward { width, randomness, logical_rows, x, y } = operands;
    drop(cpu, &Coins { dropout, randomness: &randomness, logical_rows }, width, x, y, Store::Assign);
}

/// See [`super`].
pub fn backward<P: CpuPrecision>(cpu: &Cpu, dropout: &Dropout, operands: Backward<'_, Host, P>) {
    let Backward { width, randomness, logical_rows, dy, dx, store } = operands;
    drop(cpu, &Coins { dropout, randomness: &randomness, logical_rows }, width, dy, dx, store);
}

/// The coins of a matrix.
struct Coins<'a> {
    dropout: &'a Dropout,
    randomness: &'a Randomness,
    logical_rows: Option<&'a [i32]>,
}

fn drop<A: Stored>(cpu: &Cpu, coins: &Coins<'_>, width: usize, x: &[A], y: &mut [A], store: Store) {
    let grid = Grid::of_elements(x.len() / width.max(1), width);
    let y = Pieces::new(y);
    cpu.for_each_with_space(grid.tasks(), width, |task, factors| {
        let rows = grid.range(task);
        // SAFETY: every row belongs to one task.
        let y = unsafe { y.rows(rows.clone(), width) };
        let x = &x[rows.start * width..rows.end * width];
        drop_rows(cpu.token(), coins, rows.start, factors, x, y, store);
    });
}

kernel! {
    fn drop_rows<S, A>(
        simd, coins: &Coins<'_>, first_row: usize, factors: &mut [f32], x: &[A], y: &mut [A], store: Store,
    ) {
        let width = factors.len();
        for (row, (x, y)) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate() {
            let row = logical_row(coins.logical_rows, first_row + row);
            row_factors(simd, coins.dropout, coins.randomness, row, 0, factors);
            for at in (0..width).step_by(S::LANES) {
                let dropped = simd.load(&x[at..]) * simd.load(&factors[at..]);
                match store {
                    Store::Assign => dropped.store(&mut y[at..]),
                    Store::Add => (dropped + simd.load(&y[at..])).store(&mut y[at..]),
                }
            }
        }
    }
}

/// What dropout multiplies the elements of `row` from `first_column` (a multiple of 4) with: 0 or `1 / (1 − p)`.
#[inline(always)]
pub(crate) fn row_factors<S: Simd>(
    simd: S,
    dropout: &Dropout,
    randomness: &Randomness,
    row: usize,
    first_column: usize,
    factors: &mut [f32],
) {
    debug_assert!(first_column.is_multiple_of(4), "coins come in quads");
    let (threshold, scale) = (simd.splat_u32(dropout.threshold()), simd.splat(dropout.scale()));
    let [_, high, step, stream] = dropout.counter(randomness, row, 0);
    let (high, step, stream) = (simd.splat_u32(high), simd.splat_u32(step), simd.splat_u32(stream));
    let quads = (first_column / 4..).step_by(S::LANES);
    for (quad, factors) in quads.zip(factors.chunks_mut(4 * S::LANES)) {
        let low = simd.count_from(dropout.counter(randomness, row, quad)[0]);
        let words = S::U32::interleave(philox(simd, &randomness.philox, [low, high, step, stream]));
        for (words, factors) in words.into_iter().zip(factors.chunks_mut(S::LANES)) {
            S::F32::select(words.at_least(threshold), scale, simd.splat(0.0)).store(factors);
        }
    }
}

/// [`Philox::block`] for as many counters as there are lanes.
#[inline(always)]
fn philox<S: Simd>(simd: S, philox: &Philox, counters: [S::U32; 4]) -> [S::U32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counters;
    let mut key = philox.key;
    for _ in 0..ROUNDS {
        let (low_high, low) = c0.multiply_wide(simd.splat_u32(MULTIPLIERS[0]));
        let (high_high, high) = c2.multiply_wide(simd.splat_u32(MULTIPLIERS[1]));
        (c0, c1, c2, c3) =
            (high_high ^ c1 ^ simd.splat_u32(key[0]), high, low_high ^ c3 ^ simd.splat_u32(key[1]), low);
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    [c0, c1, c2, c3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    kernel! {
        fn factors_of_row<S>(
            simd, dropout: &Dropout, randomness: &Randomness, row: usize, first_column: usize, factors: &mut [f32],
        ) {
            row_factors(simd, dropout, randomness, row, first_column, factors);
        }
    }

    #[test]
    fn coins_are_those_of_the_contract() {
        let dropout = Dropout { probability: 0.3, stream: 5 };
        let randomness = Randomness { philox: Philox::new(17, 2), step: 9, first_row: (1 << 33) + 250 };
        for token in Isa::available().filter_map(crate::cpu::simd::Token::new) {
            for (row, first_column, width) in [(0, 0, 1), (5, 4, 63), (6, 11 << 16, 200), (1000, 8, 64)] {
                let mut factors = vec![f32::NAN; width];
                factors_of_row(token, &dropout, &randomness, row, first_column, &mut factors);
                for (column, factor) in (first_column..).zip(factors) {
                    let expected =
                        if dropout.keeps(&randomness, row, column) { dropout.scale() } else { 0.0 };
                    assert_eq!(factor, expected, "{token:?}, row {row}, column {column}");
                }
            }
        }
    }
}
