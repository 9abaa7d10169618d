//! Copies of matrices in the order in which a product reads them.
//!
//! A panel of `width` columns holds row after row, `width` units each, zeros where the matrix has fewer columns. Rows are
//! packed in whole vectors: what one holds beyond the panel's width lands in the next row, which is packed after it.

use half::bf16;

use super::microkernel::Unit;
use super::simd::{Floats, Stored, Token, kernel};

/// Numbers in a cache line.
const LINE: usize = 16;
/// How many rows early a row is asked for: rows are far apart, so that nothing else in the machine foresees the next.
const AHEAD: usize = 8;

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

kernel! {
    /// Fills panels, as f32, from `rows` rows that start `stride` apart in `source`, all panels with one row after the other:
    /// neighbours in memory are read together.
    pub(crate) fn pack_rows<S, A>(
        simd, source: &[A], stride: usize, rows: usize, columns: usize, width: usize, panels: &mut [f32],
    ) {
        for row in 0..rows {
            if row + AHEAD < rows {
                let ahead = &source[(row + AHEAD) * stride..][..columns];
                ahead.chunks(LINE).for_each(|line| simd.prefetch(line.as_ptr()));
            }
            let source = &source[row * stride..][..columns];
            for (start, panel) in (0..columns).step_by(width).zip(panels.chunks_exact_mut(rows * width)) {
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
                ahead.chunks(2 * LINE).for_each(|line| simd.prefetch(line.as_ptr()));
            }
            let first = &source[row * stride..][..columns];
            let second = if row + 1 < rows { &source[(row + 1) * stride..][..columns] } else { &[] };
            let panels = panels.chunks_exact_mut(rows.div_ceil(2) * width);
            for (start, panel) in (0..columns).step_by(width).zip(panels) {
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
