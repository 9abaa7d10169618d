//! Sums over the rows of a matrix, always in the order of the rows.

use super::Cpu;
use super::simd::{Floats, Stored, kernel};
use super::threads::{Grid, Pieces};

/// Columns of a task.
const STRIPE: usize = 128;

/// Adds to `sums` the sum of every column of `matrix`, whose rows are `width` apart and at least as long as `sums`.
pub(crate) fn add_column_sums<A: Stored>(cpu: &Cpu, matrix: &[A], width: usize, sums: &mut [f32]) {
    let grid = Grid::new(sums.len(), STRIPE);
    let sums = Pieces::new(sums);
    cpu.for_each_range(grid, |_, stripe| {
        // SAFETY: every stripe belongs to one task.
        let sums = unsafe { sums.piece(stripe.clone()) };
        add_rows(cpu.token(), matrix.get(stripe.start..).unwrap_or_default(), width, sums);
    });
}

kernel! {
    /// Adds to `sums` the rows of `matrix`, one after the other, as far as `sums` go.
    pub(crate) fn add_rows<S, A>(simd, matrix: &[A], width: usize, sums: &mut [f32]) {
        for row in matrix.chunks(width) {
            let row = &row[..sums.len()];
            for at in (0..sums.len()).step_by(S::LANES) {
                (simd.load(&sums[at..]) + simd.load(&row[at..])).store(&mut sums[at..]);
            }
        }
    }
}
