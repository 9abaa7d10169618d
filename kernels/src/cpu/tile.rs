//! The inner loop of every matrix product: one block of C that stays in registers.

use std::slice;

use super::simd::{Floats, Simd};

/// A block of `C (+)= A · B`, as many rows high as the instruction set's tile and two vectors wide.
///
/// Element (i, p) of A is at `a + i · a_row + p · a_step`, row p of B starts at `b + p · b_step`, row i of C at
/// `c + i · c_row`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// Columns of A, rows of B.
    pub depth: usize,
    pub a: *const f32,
    pub a_row: usize,
    pub a_step: usize,
    pub b: *const f32,
    pub b_step: usize,
    pub c: *mut f32,
    pub c_row: usize,
    /// Rows of C that exist.
    pub rows: usize,
    /// Columns of C that exist.
    pub columns: usize,
    /// Whether C is added to.
    pub add: bool,
}

/// Columns of a tile.
pub(crate) const fn width<S: Simd>() -> usize {
    2 * S::LANES
}

/// Computes a tile of `ROWS` rows.
///
/// # Safety
/// `depth` columns of all `ROWS` rows of A and `depth` whole rows of B can be read, also where C has fewer rows and
/// columns; of C what exists can be written, and read if it is added to, and nobody else uses it meanwhile.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, const ROWS: usize>(simd: S, tile: &Tile) {
    let zero = simd.splat(0.0);
    let mut sums = [[zero; 2]; ROWS];
    let (mut a, mut b) = (tile.a, tile.b);
    for _ in 0..tile.depth {
        // SAFETY: row p of B, readable by the contract.
        let row = unsafe { slice::from_raw_parts(b, width::<S>()) };
        let b0 = simd.load(&row[..S::LANES]);
        let b1 = simd.load(&row[S::LANES..]);
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: element (i, p) of A, readable by the contract.
            let factor = simd.splat(unsafe { *a.add(i * tile.a_row) });
            sums[0] = factor.mul_add(b0, sums[0]);
            sums[1] = factor.mul_add(b1, sums[1]);
        }
        a = a.wrapping_add(tile.a_step);
        b = b.wrapping_add(tile.b_step);
    }
    if tile.rows >= ROWS && tile.columns >= width::<S>() {
        for (i, sums) in sums.into_iter().enumerate() {
            // SAFETY: a whole row of C, writable by the contract.
            let row = unsafe { slice::from_raw_parts_mut(tile.c.add(i * tile.c_row), width::<S>()) };
            for (sum, target) in sums.into_iter().zip(row.chunks_exact_mut(S::LANES)) {
                let sum = if tile.add { sum + simd.load(target) } else { sum };
                sum.store(target);
            }
        }
    } else {
        for (i, sums) in sums.into_iter().enumerate().take(tile.rows) {
            // SAFETY: what exists of a row of C, writable by the contract.
            let row = unsafe {
                slice::from_raw_parts_mut(tile.c.add(i * tile.c_row), tile.columns.min(width::<S>()))
            };
            for (sum, target) in sums.into_iter().zip(row.chunks_mut(S::LANES)) {
                let sum = if tile.add { sum + simd.load(target) } else { sum };
                sum.store(target);
            }
        }
    }
}
