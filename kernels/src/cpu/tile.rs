//! The inner loops of every matrix product.

use std::slice;

use super::simd::{Floats, Simd, kernel};
use super::threads::Pieces;

/// `C (+)= A · B`, in tiles that stay in registers.
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

/// Steps of an unrolled loop: counting its rounds takes the place of multiply-adds.
const UNROLLED: usize = 4;

/// Columns of a tile.
pub(crate) const fn width<S: Simd>() -> usize {
    S::TILE_VECTORS * S::LANES
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
    pub(crate) fn multiply<S>(simd, product: Product<'_>) {
        let Product { rows, columns, depth, ref c, .. } = product;
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

/// Computes a tile of `ROWS` rows, with as many vectors as it has columns for, at most `VECTORS`.
///
/// # Safety
/// `depth` columns of A and `depth` whole rows of B can be read, also where C has fewer columns; of C what exists can be
/// written, and read if it is added to, and nobody else uses it meanwhile.
#[inline(always)]
pub(crate) unsafe fn compute<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        match tile.columns.div_ceil(S::LANES) {
            1 => compute_vectors::<S, ROWS, 1>(simd, tile),
            2 => compute_vectors::<S, ROWS, 2>(simd, tile),
            3 if VECTORS > 3 => compute_vectors::<S, ROWS, 3>(simd, tile),
            _ => compute_vectors::<S, ROWS, VECTORS>(simd, tile),
        }
    }
}

/// # Safety
/// As [`compute`].
#[inline(always)]
unsafe fn compute_vectors<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, tile: &Tile) {
    // C is needed when the sums are there.
    for i in 0..tile.rows {
        for j in 0..VECTORS {
            simd.prefetch(tile.c.wrapping_add(i * tile.c_row + j * S::LANES));
        }
    }
    // What the compiler knows of the steps saves registers, of which unrolled loops have none to spare.
    let (rows, width) = (row_offsets(tile.rows, tile.a_row), width::<S>());
    // SAFETY: passed on.
    let sums: [[S::F32; VECTORS]; ROWS] = unsafe {
        if (tile.a_step, tile.b_step) == (1, width) {
            sums::<S, ROWS, VECTORS, UNROLLED>(simd, tile, rows, 1, width)
        } else if (tile.rows, tile.a_row, tile.a_step, tile.b_step) == (ROWS, 1, ROWS, width) {
            sums::<S, ROWS, VECTORS, UNROLLED>(simd, tile, row_offsets(ROWS, 1), ROWS, width)
        } else {
            sums::<S, ROWS, VECTORS, 1>(simd, tile, rows, tile.a_step, tile.b_step)
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

/// The sums of a tile, `STEPS` columns of A times rows of B a round.
///
/// # Safety
/// As [`compute`], of A and B.
#[inline(always)]
unsafe fn sums<S: Simd, const ROWS: usize, const VECTORS: usize, const STEPS: usize>(
    simd: S,
    tile: &Tile,
    a_rows: [usize; ROWS],
    a_step: usize,
    b_step: usize,
) -> [[S::F32; VECTORS]; ROWS] {
    let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
    let (mut a, mut b) = (tile.a, tile.b);
    for _ in 0..tile.depth / STEPS {
        for step in 0..STEPS {
            // SAFETY: column p of A and row p of B, readable by the contract.
            unsafe {
                add_product(
                    simd,
                    &mut sums,
                    a.wrapping_add(step * a_step),
                    a_rows,
                    b.wrapping_add(step * b_step),
                )
            };
        }
        a = a.wrapping_add(STEPS * a_step);
        b = b.wrapping_add(STEPS * b_step);
    }
    for step in 0..tile.depth % STEPS {
        // SAFETY: as above.
        unsafe {
            add_product(simd, &mut sums, a.wrapping_add(step * a_step), a_rows, b.wrapping_add(step * b_step))
        };
    }
    sums
}

/// Adds a column of A times a row of B.
///
/// # Safety
/// Elements `a_rows` of the column and all of the row can be read.
#[inline(always)]
unsafe fn add_product<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[S::F32; VECTORS]; ROWS],
    column: *const f32,
    a_rows: [usize; ROWS],
    row: *const f32,
) {
    let mut vectors = [simd.splat(0.0); VECTORS];
    for (j, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: readable by the contract.
        *vector = simd.load(unsafe { slice::from_raw_parts(row.add(j * S::LANES), S::LANES) });
    }
    for (sums, a_row) in sums.iter_mut().zip(a_rows) {
        // SAFETY: readable by the contract.
        let factor = simd.splat(unsafe { *column.add(a_row) });
        for (sum, vector) in sums.iter_mut().zip(vectors) {
            *sum = factor.mul_add(vector, *sum);
        }
    }
}
