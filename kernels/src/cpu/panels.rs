//! Copies of matrices in the order in which a product reads them.
//!
//! A panel of `width` columns holds row after row, `width` numbers each, zeros where the matrix has fewer columns.

use super::simd::kernel;

kernel! {
    /// Fills `panel` from the rows that start `stride` apart in `source`.
    pub(crate) fn copy_rows<S>(_simd, source: &[f32], stride: usize, columns: usize, width: usize, panel: &mut [f32]) {
        for (row, target) in panel.chunks_exact_mut(width).enumerate() {
            target[..columns].copy_from_slice(&source[row * stride..][..columns]);
            target[columns..].fill(0.0);
        }
    }
}

kernel! {
    /// Fills `panel` from the columns that start `stride` apart in `source`.
    pub(crate) fn copy_columns<S>(
        _simd, source: &[f32], stride: usize, columns: usize, width: usize, panel: &mut [f32],
    ) {
        let rows = panel.len() / width;
        if columns < width {
            panel.fill(0.0);
        }
        for column in 0..columns {
            let source = &source[column * stride..][..rows];
            for (row, value) in panel.chunks_exact_mut(width).zip(source) {
                row[column] = *value;
            }
        }
    }
}
