//! Copies of matrices in the order in which a product reads them.
//!
//! A panel of `width` columns holds row after row, `width` numbers each, zeros where the matrix has fewer columns.

use super::simd::{Floats, kernel};

/// Numbers in a cache line.
const LINE: usize = 16;
/// How many rows early a row is asked for: rows are far apart, so that nothing else in the machine foresees the next.
const AHEAD: usize = 8;

kernel! {
    /// Fills panels from `rows` rows that start `stride` apart in `source`, all panels with one row after the other:
    /// neighbours in memory are read together.
    pub(crate) fn copy_rows<S>(
        simd, source: &[f32], stride: usize, rows: usize, columns: usize, width: usize, panels: &mut [f32],
    ) {
        for row in 0..rows {
            if row + AHEAD < rows {
                let ahead = &source[(row + AHEAD) * stride..][..columns];
                ahead.chunks(LINE).for_each(|line| simd.prefetch(line.as_ptr()));
            }
            let source = &source[row * stride..][..columns];
            for (source, panel) in source.chunks(width).zip(panels.chunks_exact_mut(rows * width)) {
                let target = &mut panel[row * width..][..width];
                for at in (0..width).step_by(S::LANES) {
                    simd.load(&source[at.min(source.len())..]).store(&mut target[at..]);
                }
            }
        }
    }
}

kernel! {
    /// Fills `panel` from the columns that start `stride` apart in `source`, a square of vectors after the other.
    pub(crate) fn copy_columns<S>(
        simd, source: &[f32], stride: usize, columns: usize, width: usize, panel: &mut [f32],
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::cpu::simd::Token;

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
                    copy_rows(token, &source, stride, rows, columns, width, &mut panel);
                    assert_eq!(panel, filled(&|row, column| source[row * stride + column]), "{token:?}");
                    panel.fill(f32::NAN);
                    copy_columns(token, &source, stride, columns, width, &mut panel);
                    assert_eq!(panel, filled(&|row, column| source[column * stride + row]), "{token:?}");
                }
            }
        }
    }
}
