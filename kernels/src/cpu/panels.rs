//! Copies of matrices in the order in which a product reads them.
//!
//! A panel of `width` columns holds row after row, `width` units each, zeros where the matrix has fewer columns. Rows are
//! packed in whole vectors: what one holds beyond the panel's width lands in the next row, which is packed after it.

use std::slice;

use half::bf16;

use super::microkernel::Unit;
use super::simd::{Floats, Simd, Stored, Token, kernel};

/// Numbers in a cache line.
pub(crate) const fn line<A>() -> usize {
    64 / size_of::<A>()
}

/// How many rows early a row is asked for: rows are far apart, so that nothing else in the machine foresees the next.
const AHEAD: usize = 8;
/// How many squares early a square of columns is asked for.
const SQUARES_AHEAD: usize = 4;

/// A number that matrices of a product may hold, and how it is packed: in units along the depth.
pub trait Packed: Stored {
    /// What a unit holds.
    const UNIT: Unit;
    /// Numbers in a unit.
    const PER_UNIT: usize;

    /// The units of rows of `columns` numbers where they lie, if rows are whole units.
    fn units(numbers: &[Self], columns: usize) -> Option<&[f32]>;

    /// Packs rows along the depth: [`pack_rows`], a unit from as many rows as it holds numbers.
    fn pack_rows(
        token: Token,
        source: &[Self],
        stride: usize,
        rows: usize,
        columns: usize,
        width: usize,
        panels: &mut [f32],
    );

    /// Packs columns whose numbers are neighbours along the depth: [`pack_columns`], `depth` numbers of each.
    fn pack_columns(
        token: Token,
        source: &[Self],
        stride: usize,
        depth: usize,
        columns: usize,
        width: usize,
        panel: &mut [f32],
    );
}

impl Packed for f32 {
    const UNIT: Unit = Unit::Single;
    const PER_UNIT: usize = 1;

    fn units(numbers: &[Self], _: usize) -> Option<&[f32]> {
        Some(numbers)
    }
    fn pack_rows(
        token: Token,
        source: &[Self],
        stride: usize,
        rows: usize,
        columns: usize,
        width: usize,
        panels: &mut [f32],
    ) {
        pack_rows(token, source, stride, rows, columns, width, panels);
    }
    fn pack_columns(
        token: Token,
        source: &[Self],
        stride: usize,
        _: usize,
        columns: usize,
        width: usize,
        panel: &mut [f32],
    ) {
        pack_columns(token, source, stride, columns, width, panel);
    }
}

impl Packed for bf16 {
    const UNIT: Unit = Unit::Pair;
    const PER_UNIT: usize = 2;

    fn units(numbers: &[Self], columns: usize) -> Option<&[f32]> {
        if columns.is_multiple_of(2) { bytemuck::try_cast_slice(numbers).ok() } else { None }
    }
    fn pack_rows(
        token: Token,
        source: &[Self],
        stride: usize,
        rows: usize,
        columns: usize,
        width: usize,
        panels: &mut [f32],
    ) {
        pack_row_pairs(token, source, stride, rows, columns, width, panels);
    }
    fn pack_columns(
        token: Token,
        source: &[Self],
        stride: usize,
        depth: usize,
        columns: usize,
        width: usize,
        panel: &mut [f32],
    ) {
        pack_column_pairs(token, source, stride, depth, columns, width, panel);
    }
}

/// How many panels are whole in a row: its vectors lie within the columns, and in the panel with what they hold beyond its width,
/// so that nobody has to look at either end. There are `rows` rows.
#[inline(always)]
fn whole_panels<S: Simd>(panels: &[f32], columns: usize, width: usize, rows: usize, row: usize) -> usize {
    let vectors = width.next_multiple_of(S::LANES);
    if vectors > columns || vectors > (rows - row) * width {
        return 0;
    }
    ((columns - vectors) / width + 1).min(panels.len() / (rows * width))
}

/// A vector of panels, from number `at` on.
///
/// # Safety
/// There are so many numbers.
#[inline(always)]
unsafe fn vector_of_panel<S: Simd>(panels: &mut [f32], at: usize) -> &mut [f32] {
    // SAFETY: within the panels by the caller's promise.
    unsafe { slice::from_raw_parts_mut(panels.as_mut_ptr().add(at), S::LANES) }
}

kernel! {
    /// Fills panels, as f32, from `rows` rows that start `stride` apart in `source`, all panels with one row after the other:
    /// neighbours in memory are read together.
    pub(crate) fn pack_rows<S, A>(
        simd, source: &[A], stride: usize, rows: usize, columns: usize, width: usize, panels: &mut [f32],
    ) {
        for row in 0..rows {
            if row + AHEAD < rows {
                let ahead = &source[(row + AHEAD) * stride..][..columns];
                ahead.chunks(line::<A>()).for_each(|line| simd.prefetch(line.as_ptr()));
            }
            let source = &source[row * stride..][..columns];
            let whole = whole_panels::<S>(panels, columns, width, rows, row);
            for panel in 0..whole {
                for at in (0..width).step_by(S::LANES) {
                    // SAFETY: the panel is a whole one, and `at` begins a vector of its row.
                    let (from, to) = unsafe {
                        (
                            slice::from_raw_parts(source.as_ptr().add(panel * width + at), S::LANES),
                            vector_of_panel::<S>(panels, (panel * rows + row) * width + at),
                        )
                    };
                    simd.load(from).store(to);
                }
            }
            let rest = panels.chunks_exact_mut(rows * width).skip(whole);
            for (start, panel) in (whole * width..columns).step_by(width).zip(rest) {
                let target = &mut panel[row * width..];
                for at in (0..width).step_by(S::LANES) {
                    simd.load(&source[columns.min(start + at)..]).store(&mut target[at..]);
                }
            }
        }
    }
}

kernel! {
    /// The same with two rows a pair; a missing last one is zeros.
    fn pack_row_pairs<S>(
        simd, source: &[bf16], stride: usize, rows: usize, columns: usize, width: usize, panels: &mut [f32],
    ) {
        for (unit, row) in (0..rows).step_by(2).enumerate() {
            for ahead in row + AHEAD..(row + AHEAD + 2).min(rows) {
                let ahead = &source[ahead * stride..][..columns];
                ahead.chunks(line::<bf16>()).for_each(|line| simd.prefetch(line.as_ptr()));
            }
            let first = &source[row * stride..][..columns];
            let second = if row + 1 < rows { &source[(row + 1) * stride..][..columns] } else { &[] };
            let units = rows.div_ceil(2);
            let whole =
                if second.is_empty() { 0 } else { whole_panels::<S>(panels, columns, width, units, unit) };
            for panel in 0..whole {
                for at in (0..width).step_by(S::LANES) {
                    // SAFETY: the panel is a whole one, and `at` begins a vector of its row.
                    let (first, second, to) = unsafe {
                        (
                            slice::from_raw_parts(first.as_ptr().add(panel * width + at), S::LANES),
                            slice::from_raw_parts(second.as_ptr().add(panel * width + at), S::LANES),
                            vector_of_panel::<S>(panels, (panel * units + unit) * width + at),
                        )
                    };
                    simd.load(first).pair(simd.load(second)).store(to);
                }
            }
            let rest = panels.chunks_exact_mut(units * width).skip(whole);
            for (start, panel) in (whole * width..columns).step_by(width).zip(rest) {
                let target = &mut panel[unit * width..];
                for at in (0..width).step_by(S::LANES) {
                    // Not by `array::map`, which is compiled without the instruction set: its closure would be a call.
                    let first = simd.load(&first[columns.min(start + at)..]);
                    let second = simd.load(&second[second.len().min(start + at)..]);
                    first.pair(second).store(&mut target[at..]);
                }
            }
        }
    }
}

/// Column and row of what a square needs some squares later: further down its columns, or at the top of the next ones.
#[inline(always)]
fn later<S: Simd>(column: usize, row: usize, rows: usize) -> (usize, usize) {
    let row = row + SQUARES_AHEAD * S::LANES;
    if row < rows { (column, row) } else { (column + S::LANES, row - rows) }
}

kernel! {
    /// Fills `panel`, as f32, from the columns that start `stride` apart in `source`, a square of vectors after the other.
    pub(crate) fn pack_columns<S, A>(
        simd, source: &[A], stride: usize, columns: usize, width: usize, panel: &mut [f32],
    ) {
        let rows = panel.len() / width;
        for first_column in (0..width).step_by(S::LANES) {
            let last = width.min(first_column + S::LANES);
            for first_row in (0..rows).step_by(S::LANES) {
                let mut square = [simd.splat(0.0); 16];
                let square = &mut square[..S::LANES];
                for (column, vector) in (first_column..).zip(square.iter_mut()) {
                    if column < columns {
                        let later = later::<S>(column, first_row, rows);
                        simd.prefetch(source.as_ptr().wrapping_add(later.0 * stride + later.1));
                        *vector = simd.load(&source[column * stride..][first_row..rows]);
                    }
                }
                S::F32::transpose(square);
                for (row, vector) in (first_row..rows).zip(square) {
                    vector.store(&mut panel[row * width..][first_column..last]);
                }
            }
        }
    }
}

kernel! {
    /// The same with pairs of neighbours as units; a missing last number is zero.
    fn pack_column_pairs<S>(
        simd, source: &[bf16], stride: usize, depth: usize, columns: usize, width: usize, panel: &mut [f32],
    ) {
        let rows = panel.len() / width;
        for first_column in (0..width).step_by(S::LANES) {
            let last = width.min(first_column + S::LANES);
            for first_row in (0..rows).step_by(S::LANES) {
                let mut square = [simd.splat(0.0); 16];
                let square = &mut square[..S::LANES];
                for (column, vector) in (first_column..).zip(square.iter_mut()) {
                    if column < columns {
                        let later = later::<S>(column, first_row, rows);
                        simd.prefetch(source.as_ptr().wrapping_add(later.0 * stride + 2 * later.1));
                        *vector = simd.load_pairs(&source[column * stride..][2 * first_row..depth]);
                    }
                }
                S::F32::transpose(square);
                for (row, vector) in (first_row..rows).zip(square) {
                    vector.store(&mut panel[row * width..][first_column..last]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    #[test]
    fn panels_hold_rows_or_columns_and_then_zeros() {
        for token in Isa::available().filter_map(Token::new) {
            for (columns, width) in [(1, 1), (3, 14), (14, 14), (16, 16), (17, 32), (32, 32), (5, 6)] {
                for rows in [1, 4, 15, 16, 33] {
                    let stride = rows.max(columns) + 3;
                    let source: Vec<f32> = (0..stride * rows.max(columns)).map(|i| 1.0 + i as f32).collect();
                    let filled = |value: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
                        let elements = (0..rows * width).map(|i| (i / width, i % width));
                        elements
                            .map(|(row, column)| if column < columns { value(row, column) } else { 0.0 })
                            .collect()
                    };
                    let mut panel = vec![f32::NAN; rows * width];
                    pack_rows(token, &source, stride, rows, columns, width, &mut panel);
                    assert_eq!(panel, filled(&|row, column| source[row * stride + column]), "{token:?}");
                    panel.fill(f32::NAN);
                    pack_columns(token, &source, stride, columns, width, &mut panel);
                    assert_eq!(panel, filled(&|row, column| source[column * stride + row]), "{token:?}");
                }
            }
        }
    }

    #[test]
    fn rows_go_to_panels_side_by_side() {
        for token in Isa::available().filter_map(Token::new) {
            for (columns, width) in [(70_usize, 6), (200, 64), (129, 16), (16, 4), (31, 12)] {
                for rows in [1, 3, 20] {
                    let (stride, panels) = (columns + 5, columns.div_ceil(width));
                    let source: Vec<f32> = (0..stride * rows).map(|i| 1.0 + i as f32).collect();
                    let mut found = vec![f32::NAN; panels * rows * width];
                    pack_rows(token, &source, stride, rows, columns, width, &mut found);
                    for (index, found) in found.into_iter().enumerate() {
                        let (row, column) =
                            (index / width % rows, index / (rows * width) * width + index % width);
                        let expected = if column < columns { source[row * stride + column] } else { 0.0 };
                        assert_eq!(found, expected, "{token:?}: {row}, {column} of {columns} by {width}");
                    }
                }
            }
        }
    }

    #[test]
    fn panels_hold_pairs_along_the_depth_and_then_zeros() {
        for token in Isa::available().filter_map(Token::new) {
            for (columns, width) in [(1_usize, 1), (3, 14), (16, 16), (17, 32), (5, 6), (40, 16)] {
                for depth in [1, 2, 5, 32, 67] {
                    let stride = depth.max(columns) + 3;
                    let source: Vec<bf16> = (0..stride * depth.max(columns))
                        .map(|i| bf16::from_f32((1 + i % 255) as f32))
                        .collect();
                    let panels = columns.div_ceil(width);
                    let expected = |value: &dyn Fn(usize, usize) -> bf16| -> Vec<[bf16; 2]> {
                        let half = |p, column| {
                            if p < depth && column < columns { value(p, column) } else { bf16::ZERO }
                        };
                        let units = (0..panels)
                            .flat_map(|panel| (0..depth.div_ceil(2)).map(move |unit| (panel, unit)));
                        let places = units
                            .flat_map(|(panel, unit)| (0..width).map(move |c| (unit, panel * width + c)));
                        places.map(|(unit, c)| [half(2 * unit, c), half(2 * unit + 1, c)]).collect()
                    };
                    let mut found = vec![f32::NAN; panels * depth.div_ceil(2) * width];
                    let pairs = |panel: &[f32]| -> Vec<[bf16; 2]> { bytemuck::cast_slice(panel).to_vec() };
                    pack_row_pairs(token, &source, stride, depth, columns, width, &mut found);
                    assert_eq!(
                        pairs(&found),
                        expected(&|p, column| source[p * stride + column]),
                        "{token:?}"
                    );
                    if panels == 1 {
                        found.fill(f32::NAN);
                        pack_column_pairs(token, &source, stride, depth, columns, width, &mut found);
                        assert_eq!(
                            pairs(&found),
                            expected(&|p, column| source[column * stride + p]),
                            "{token:?}"
                        );
                    }
                }
            }
        }
    }
}
