//! The inner loops of every matrix product.
//!
//! A *microkernel* keeps an `MR × NR` tile of C (with AVX-512 one of two forms) in registers while it goes through the depth; [`multiply`] walks a product
//! tile by tile over packed panels. Operands come in units of 32 bits: an f32, or two bf16 that are neighbours along the
//! depth, which one instruction multiplies and adds where the machine has AVX512-BF16 and two do elsewhere.

use std::slice;

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512, multiply_pairs};
use super::simd::{Floats, Scalar, Simd, Token, kernel};
use super::threads::Pieces;

/// What units of A and B hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// An f32.
    Single,
    /// Two bf16, of which the first in memory comes first along the depth.
    Pair,
}

/// `C (+)= A · B`, in tiles that stay in registers. Strides count units.
///
/// Element (i, p) of A is at `p · a_step + i · a_row` of a panel of MR rows; panels are `a_panel` apart. Row p of B is at
/// `p · b_step` of a panel of NR columns; panels are `b_panel` apart.
pub(crate) struct Product<'a> {
    pub rows: usize,
    pub columns: usize,
    /// Columns of A, rows of B, in units.
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
    /// Which of the two tiles panels are made for: see [`size`].
    pub tall: bool,
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

/// The size of an instruction set's tile. A number of A is loaded for `VECTORS` multiply-adds; loads, of which a core can do
/// as many as multiply-adds, must leave room for misses.
trait Microkernel: Simd {
    /// Rows of the tile, and of the tall one.
    const ROWS: [usize; 2];
    /// Vectors in each of them.
    const VECTORS: [usize; 2];

    /// [`compute`] for one of these tiles, whose constants cannot be arguments in a trait.
    ///
    /// # Safety
    /// As there.
    unsafe fn tile<D: Dot<Self>>(self, dot: D, tile: &Tile, tall: bool);
}

macro_rules! microkernels {
    ($($(#[$attribute:meta])* $simd:ty: [$rows:literal, $vectors:literal], [$tall_rows:literal, $tall_vectors:literal];)*) => {$(
        $(#[$attribute])*
        impl Microkernel for $simd {
            const ROWS: [usize; 2] = [$rows, $tall_rows];
            const VECTORS: [usize; 2] = [$vectors, $tall_vectors];

            #[inline(always)]
            unsafe fn tile<D: Dot<Self>>(self, dot: D, tile: &Tile, tall: bool) {
                // SAFETY: passed on.
                unsafe {
                    // Where both are one tile, it is compiled once.
                    if tall && [$tall_rows, $tall_vectors] != [$rows, $vectors] {
                        compute::<Self, D, $tall_rows, $tall_vectors>(self, dot, tile);
                    } else {
                        compute::<Self, D, $rows, $vectors>(self, dot, tile);
                    }
                }
            }
        }
    )*};
}

microkernels! {
    Scalar: [4, 3], [4, 3];
    // Sums, a row of B and a number of A: 15 of 16 registers.
    #[cfg(target_arch = "x86_64")]
    Avx2: [6, 2], [6, 2];
    // The same: 29 and 31 of 32 registers. A head 64 wide is one tile; of a tall one, more of whose operands are A's, less than
    // half as much of B comes from the second-level cache for a multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx512: [6, 4], [14, 2];
}

/// How a unit of A is multiplied with units of B.
trait Dot<S: Simd>: Copy {
    /// `sum + a · b`
    fn multiply_add(self, a: S::F32, b: S::F32, sum: S::F32) -> S::F32;
}

/// f32
#[derive(Clone, Copy)]
struct Singles;

impl<S: Simd> Dot<S> for Singles {
    #[inline(always)]
    fn multiply_add(self, a: S::F32, b: S::F32, sum: S::F32) -> S::F32 {
        a.mul_add(b, sum)
    }
}

/// Pairs of bf16, widened.
#[derive(Clone, Copy)]
struct WidenedPairs;

impl<S: Simd> Dot<S> for WidenedPairs {
    #[inline(always)]
    fn multiply_add(self, a: S::F32, b: S::F32, sum: S::F32) -> S::F32 {
        a.upper().mul_add(b.upper(), a.lower().mul_add(b.lower(), sum))
    }
}

/// Pairs of bf16, by one instruction. Whoever has one knows that the machine has AVX512-BF16.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Pairs(());

#[cfg(target_arch = "x86_64")]
impl Dot<Avx512> for Pairs {
    #[inline(always)]
    fn multiply_add(
        self,
        a: <Avx512 as Simd>::F32,
        b: <Avx512 as Simd>::F32,
        sum: <Avx512 as Simd>::F32,
    ) -> <Avx512 as Simd>::F32 {
        // SAFETY: the machine has the instruction, as `self` proves.
        unsafe { multiply_pairs(a, b, sum) }
    }
}

/// MR and NR: rows and columns of a tile. A tall one has more rows than there are registers for their addresses: it is for an A
/// in panels, whose rows are neighbours.
pub(crate) fn size(token: Token, tall: bool) -> (usize, usize) {
    match token {
        Token::Scalar(simd) => size_of_tile(simd, tall),
        #[cfg(target_arch = "x86_64")]
        Token::Avx2(simd) => size_of_tile(simd, tall),
        #[cfg(target_arch = "x86_64")]
        Token::Avx512(simd) => size_of_tile(simd, tall),
    }
}

#[inline(always)]
fn size_of_tile<S: Microkernel>(_: S, tall: bool) -> (usize, usize) {
    let index = usize::from(tall);
    (S::ROWS[index], S::VECTORS[index] * S::LANES)
}

/// Defines a function of units: what `$generic` does by one instruction for pairs where the machine has it, and by two
/// elsewhere.
macro_rules! by_unit {
    ($(#[$attribute:meta])* $name:ident = $generic:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?) => {
        $(#[$attribute])*
        pub(crate) fn $name(token: Token, unit: Unit, $($argument: $type),*) $(-> $result)? {
            kernel! {
                fn singles<S: Microkernel>(simd, $($argument: $type),*) $(-> $result)? {
                    $generic(simd, Singles, $($argument),*)
                }
            }
            kernel! {
                fn widened_pairs<S: Microkernel>(simd, $($argument: $type),*) $(-> $result)? {
                    $generic(simd, WidenedPairs, $($argument),*)
                }
            }
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
                fn pairs(simd: Avx512, $($argument: $type),*) $(-> $result)? {
                    $generic(simd, Pairs(()), $($argument),*)
                }
                if let (Token::Avx512(simd), Unit::Pair) = (token, unit)
                    && simd.pairs()
                {
                    // SAFETY: the token says that the machine has AVX512-BF16.
                    return unsafe { pairs(simd, $($argument),*) };
                }
            }
            match unit {
                Unit::Single => singles(token, $($argument),*),
                Unit::Pair => widened_pairs(token, $($argument),*),
            }
        }
    };
}

by_unit! {
    /// Computes a product, a panel of A after the other: B streams from the second-level cache.
    ///
    /// # Panics
    /// If A, B or C ends too early.
    multiply = walk(product: Product<'_>)
}

by_unit! {
    /// Adds a product of units of `start` to each of [`CHAINS`] vectors in registers, `rounds` times: no product is faster
    /// than this. Where pairs are widened first, that is left out here.
    multiply_in_registers = chains(rounds: usize, start: f32) -> f32
}

/// Independent sums: enough to keep two units busy for the six cycles that a multiply-add of pairs takes.
pub(crate) const CHAINS: usize = 12;

#[inline(always)]
fn chains<S: Microkernel, D: Dot<S>>(simd: S, dot: D, rounds: usize, start: f32) -> f32 {
    let (a, b) = (simd.splat(start), simd.splat(start));
    let mut sums = [simd.splat(start); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = dot.multiply_add(a, b, *sum);
        }
    }
    sums.into_iter().fold(simd.splat(0.0), |total, sum| total + sum).sum()
}

#[inline(always)]
fn walk<S: Microkernel, D: Dot<S>>(simd: S, dot: D, product: Product<'_>) {
    let Product { rows, columns, depth, ref c, .. } = product;
    if rows == 0 || columns == 0 {
        return;
    }
    c.pieces.pointer(c.start + (rows - 1) * c.row + columns - 1); // the last element must exist
    let start = c.pieces.pointer(c.start);
    let (mr, nr) = size_of_tile(simd, product.tall);
    for row in (0..rows).step_by(mr) {
        for column in (0..columns).step_by(nr) {
            let a = &product.a[row / mr * product.a_panel..];
            let b = &product.b[column / nr * product.b_panel..];
            if depth > 0 {
                let a_last = (depth - 1) * product.a_step + ((rows - row).min(mr) - 1) * product.a_row;
                let b_last = (depth - 1) * product.b_step + nr - 1;
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
                rows: (rows - row).min(mr),
                columns: (columns - column).min(nr),
                add: product.add,
            };
            // SAFETY: A, B and C reach as far as asserted, and C is nobody else's by its making.
            unsafe { simd.tile(dot, &tile, product.tall) };
        }
    }
}

/// A tile of a [`Product`], whose names these are.
#[derive(Clone, Copy, Debug)]
struct Tile {
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

/// Computes a tile of `MR` rows, with as many vectors as it has columns for, at most `VECTORS`.
///
/// # Safety
/// `depth` columns of A and `depth` whole rows of B can be read, also where C has fewer columns; of C what exists can be
/// written, and read if it is added to, and nobody else uses it meanwhile.
#[inline(always)]
unsafe fn compute<S: Microkernel, D: Dot<S>, const MR: usize, const VECTORS: usize>(
    simd: S,
    dot: D,
    tile: &Tile,
) {
    // SAFETY: passed on.
    unsafe {
        match tile.columns.div_ceil(S::LANES) {
            1 => compute_vectors::<S, D, MR, 1, VECTORS>(simd, dot, tile),
            2 => compute_vectors::<S, D, MR, 2, VECTORS>(simd, dot, tile),
            3 if VECTORS > 3 => compute_vectors::<S, D, MR, 3, VECTORS>(simd, dot, tile),
            _ => compute_vectors::<S, D, MR, VECTORS, VECTORS>(simd, dot, tile),
        }
    }
}

/// # Safety
/// As [`compute`], for whose tile B is in panels of `MOST` vectors.
#[inline(always)]
unsafe fn compute_vectors<
    S: Microkernel,
    D: Dot<S>,
    const MR: usize,
    const VECTORS: usize,
    const MOST: usize,
>(
    simd: S,
    dot: D,
    tile: &Tile,
) {
    // What the compiler knows of the steps saves registers, of which unrolled loops have none to spare.
    let (rows, width) = (row_offsets(tile.rows, tile.a_row), MOST * S::LANES);
    // SAFETY: passed on.
    let sums: [[S::F32; VECTORS]; MR] = unsafe {
        if (tile.a_step, tile.b_step) == (1, width) {
            sums::<S, D, MR, VECTORS, UNROLLED>(simd, dot, tile, rows, 1, width)
        } else if (tile.rows, tile.a_row, tile.a_step, tile.b_step) == (MR, 1, MR, width) {
            sums::<S, D, MR, VECTORS, UNROLLED>(simd, dot, tile, row_offsets(MR, 1), MR, width)
        } else {
            sums::<S, D, MR, VECTORS, 1>(simd, dot, tile, rows, tile.a_step, tile.b_step)
        }
    };
    if tile.rows == MR && tile.columns == VECTORS * S::LANES {
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

/// Where `MR` rows of A start of which `rows` exist: the last one stands in for the missing ones.
#[inline(always)]
fn row_offsets<const MR: usize>(rows: usize, a_row: usize) -> [usize; MR] {
    let mut offsets = [0; MR];
    for (i, offset) in offsets.iter_mut().enumerate() {
        *offset = i.min(rows - 1) * a_row;
    }
    offsets
}

/// The sums of a tile, `STEPS` columns of A times rows of B a round.
///
/// C is needed when they are there. Its rows are asked for one after the other, in equal parts of the time: were all of them
/// missed at once, B would wait behind them.
///
/// # Safety
/// As [`compute`], of A and B.
#[inline(always)]
unsafe fn sums<S: Simd, D: Dot<S>, const MR: usize, const VECTORS: usize, const STEPS: usize>(
    simd: S,
    dot: D,
    tile: &Tile,
    a_rows: [usize; MR],
    a_step: usize,
    b_step: usize,
) -> [[S::F32; VECTORS]; MR] {
    let mut sums = [[simd.splat(0.0); VECTORS]; MR];
    let (mut a, mut b) = (tile.a, tile.b);
    let mut rounds = tile.depth / STEPS;
    let part = rounds / (MR + 2); // two parts are left for the last row to arrive
    for row in 0..=MR {
        if row < tile.rows {
            for j in 0..VECTORS {
                simd.prefetch(tile.c.wrapping_add(row * tile.c_row + j * S::LANES));
            }
        }
        let now = if row < MR { part } else { rounds };
        for _ in 0..now {
            for step in 0..STEPS {
                let (a, b) = (a.wrapping_add(step * a_step), b.wrapping_add(step * b_step));
                // SAFETY: column p of A and row p of B, readable by the contract.
                unsafe { add_product(simd, dot, &mut sums, a, a_rows, b) };
            }
            a = a.wrapping_add(STEPS * a_step);
            b = b.wrapping_add(STEPS * b_step);
        }
        rounds -= now;
    }
    for step in 0..tile.depth % STEPS {
        let (a, b) = (a.wrapping_add(step * a_step), b.wrapping_add(step * b_step));
        // SAFETY: as above.
        unsafe { add_product(simd, dot, &mut sums, a, a_rows, b) };
    }
    sums
}

/// Adds a column of A times a row of B.
///
/// # Safety
/// Elements `a_rows` of the column and all of the row can be read.
#[inline(always)]
unsafe fn add_product<S: Simd, D: Dot<S>, const MR: usize, const VECTORS: usize>(
    simd: S,
    dot: D,
    sums: &mut [[S::F32; VECTORS]; MR],
    column: *const f32,
    a_rows: [usize; MR],
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
            *sum = dot.multiply_add(factor, vector, *sum);
        }
    }
}
