//! The inner loops of every matrix product.

use std::slice;

use super::simd::{Floats, Simd, kernel};
use super::threads::Pieces;

/// `C (+)= A · B`, in tiles that stay in registers: as many rows high as the instruction set says and three vectors
/// wide.
///
/// Element (i, p) of A is at `p · a_step + i · a_row` of a panel of as many rows as a tile has; panels are `a_panel`
/// apart. Row p of B is at `p · b_step` of a panel of as many columns; panels are `b_panel` apart.
pub(crate) struct Product<'a> {
    pub rows: usize,
    pub columns: usize,
    /// Columns of A, rows of B.
    pub depth: usize,
    pub a: &'a [f32],
    pub a_row: usize,
    pub a_step: usize,
    pub a_panel: usize,
    /// Whole panels: what C has no column for is read too.
    pub b: &'a [f32],
    pub b_step: usize,
    pub b_panel: usize,
    pub c: Target<'a>,
    /// Whether C is added to.
    pub add: bool,
}

/// Where C is written.
pub(crate) struct Target<'a> {
    pieces: Pieces<'a, f32>,
    start: usize,
    row: usize,
}

impl<'a> Target<'a> {
    /// A matrix whose rows are `row` apart.
    pub fn new(matrix: &'a mut [f32], row: usize) -> Self {
        Self { pieces: Pieces::new(matrix), start: 0, row }
    }

    /// The part of a matrix that starts at element `start`.
    ///
    /// # Safety
    /// While the target lives, nobody else uses the elements that a product writes there.
    pub unsafe fn part(matrix: Pieces<'a, f32>, start: usize, row: usize) -> Self {
        Self { pieces: matrix, start, row }
    }
}

/// Vectors in a row of a tile. With three, a number of A is read for every three multiply-adds: the loads, of which a
/// core can do as many as multiply-adds, leave room for misses.
const VECTORS: usize = 3;

/// How many rows early a row of B is asked for: it comes from the second-level cache.
const AHEAD: usize = 8;

/// Columns of a tile.
pub(crate) const fn width<S: Simd>() -> usize {
    VECTORS * S::LANES
}

kernel! {
    /// Rows and columns of a tile.
    pub(crate) fn size<S>(_simd) -> (usize, usize) { (S::TILE_ROWS, width::<S>()) }
}

kernel! {
    /// Computes a product, a panel of A after the other: B streams from the second-level cache.
    ///
    /// # Panics
    /// If A, B or C ends too early.
    pub(crate) fn multiply<S>(simd, product: &Product<'_>) {
        let &Product { rows, columns, depth, ref c, .. } = product;
        if rows == 0 || columns == 0 {
            return;
        }
        c.pieces.pointer(c.start + (rows - 1) * c.row + columns - 1); // the last element must exist
        let start = c.pieces.pointer(c.start);
        for row in (0..rows).step_by(S::TILE_ROWS) {
            for column in (0..columns).step_by(width::<S>()) {
                let a = &product.a[row / S::TILE_ROWS * product.a_panel..];
                let b = &product.b[column / width::<S>() * product.b_panel..];
                if depth > 0 {
                    let a_last = (depth - 1) * product.a_step + ((rows - row).min(S::TILE_ROWS) - 1) * product.a_row;
                    let b_last = (depth - 1) * product.b_step + width::<S>() - 1;
                    assert!(a_last < a.len() && b_last < b.len(), "panels must be whole");
                }
                let tile = Tile {
                    depth,
                    a: a.as_ptr(),
                    a_row: product.a_row,
                    a_step: product.a_step,
                    b: b.as_ptr(),
                    b_step: product.b_step,
                    c: start.wrapping_add(row * c.row + column),
                    c_row: c.row,
                    rows: (rows - row).min(S::TILE_ROWS),
                    columns: (columns - column).min(width::<S>()),
                    add: product.add,
                };
                // SAFETY: A, B and C reach as far as asserted, and C is nobody else's by its making.
                unsafe { simd.tile(&tile) };
            }
        }
    }
}

/// A tile of a [`Product`], whose names these are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_step: usize,
    b: *const f32,
    b_step: usize,
    c: *mut f32,
    c_row: usize,
    rows: usize,
    columns: usize,
    add: bool,
}

/// Computes a tile of `ROWS` rows, with as many vectors as it has columns for.
///
/// # Safety
/// `depth` columns of A and `depth` whole rows of B can be read, also where C has fewer columns; of C what exists can be
/// written, and read if it is added to, and nobody else uses it meanwhile.
#[inline(always)]
pub(crate) unsafe fn compute<S: Simd, const ROWS: usize>(simd: S, tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        match tile.columns.div_ceil(S::LANES) {
            1 => compute_vectors::<S, ROWS, 1>(simd, tile),
            2 => compute_vectors::<S, ROWS, 2>(simd, tile),
            _ => compute_vectors::<S, ROWS, VECTORS>(simd, tile),
        }
    }
}

/// # Safety
/// As [`compute`].
#[inline(always)]
unsafe fn compute_vectors<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, tile: &Tile) {
    for i in 0..tile.rows {
        for j in 0..VECTORS {
            simd.prefetch(tile.c.wrapping_add(i * tile.c_row + j * S::LANES));
        }
    }
    // SAFETY: passed on. In the first case the compiler knows where the elements of a column of A are.
    let sums: [[S::F32; VECTORS]; ROWS] = unsafe {
        if tile.a_row == 1 && tile.rows == ROWS {
            sums(simd, tile, row_offsets(ROWS, 1))
        } else {
            sums(simd, tile, row_offsets(tile.rows, tile.a_row))
        }
    };
    if tile.rows == ROWS && tile.columns == VECTORS * S::LANES {
        for (i, sums) in sums.into_iter().enumerate() {
            // SAFETY: a whole row of C, writable by the contract.
            let row = unsafe { slice::from_raw_parts_mut(tile.c.add(i * tile.c_row), VECTORS * S::LANES) };
            put(simd, row, sums, tile.add);
        }
    } else {
        for (i, sums) in sums.into_iter().enumerate().take(tile.rows) {
            // SAFETY: what exists of a row of C, writable by the contract.
            let row = unsafe { slice::from_raw_parts_mut(tile.c.add(i * tile.c_row), tile.columns) };
            put(simd, row, sums, tile.add);
        }
    }
}

/// Stores vectors in a row of C, or adds them.
#[inline(always)]
fn put<S: Simd, const VECTORS: usize>(simd: S, row: &mut [f32], sums: [S::F32; VECTORS], add: bool) {
    for (sum, target) in sums.into_iter().zip(row.chunks_mut(S::LANES)) {
        let sum = if add { sum + simd.load(target) } else { sum };
        sum.store(target);
    }
}

/// Where `ROWS` rows of A start of which `rows` exist: the last one stands in for the missing ones.
#[inline(always)]
fn row_offsets<const ROWS: usize>(rows: usize, a_row: usize) -> [usize; ROWS] {
    let mut offsets = [0; ROWS];
    for (i, offset) in offsets.iter_mut().enumerate() {
        *offset = i.min(rows - 1) * a_row;
    }
    offsets
}

/// # Safety
/// As [`compute`], of A and B.
#[inline(always)]
unsafe fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    tile: &Tile,
    a_rows: [usize; ROWS],
) -> [[S::F32; VECTORS]; ROWS] {
    let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
    let (mut a, mut b) = (tile.a, tile.b);
    for _ in 0..tile.depth {
        let mut vectors = [simd.splat(0.0); VECTORS];
        for (j, vector) in vectors.iter_mut().enumerate() {
            // SAFETY: a part of row p of B, readable by the contract.
            *vector = simd.load(unsafe { slice::from_raw_parts(b.add(j * S::LANES), S::LANES) });
            simd.prefetch(b.wrapping_add(AHEAD * tile.b_step + j * S::LANES));
        }
        for (sums, a_row) in sums.iter_mut().zip(a_rows) {
            // SAFETY: element (i, p) of A, readable by the contract.
            let factor = simd.splat(unsafe { *a.add(a_row) });
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = factor.mul_add(vector, *sum);
            }
        }
        a = a.wrapping_add(tile.a_step);
        b = b.wrapping_add(tile.b_step);
    }
    sums
}
