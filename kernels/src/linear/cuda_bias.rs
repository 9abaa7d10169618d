//! The gradient of a bias, where no matrix product brings it along.

use crate::cuda::sums::add_column_sums as add_partials;
use crate::cuda::{Blocks, Cuda, CudaPrecision, Program, Slice, SliceMut, arguments, vector};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("column_sums", include_str!("column_sums.cu"));

/// Blocks at most, and rows of a block at least.
const BLOCKS: usize = 528;
const ROWS: usize = 64;

/// `d_bias += Σ_rows du` for `du` of as many columns as `d_bias`.
pub(crate) fn add_column_sums<P: CudaPrecision>(
    cuda: &Cuda,
    du: Slice<'_, P::Activation>,
    d_bias: SliceMut<'_, f32>,
) {
    let width = d_bias.length();
    let rows = du.length().checked_div(width).unwrap_or(0);
    if rows == 0 {
        return;
    }
    let columns = vector(16 / size_of::<P::Activation>(), &[width]);
    let tiles = width.div_ceil(32 * columns);
    let parts = rows.div_ceil(ROWS).min(BLOCKS.div_ceil(tiles));
    let partials = cuda.scratch(parts * width * size_of::<f32>());
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", columns)]),
        "column_sums",
        Blocks::grid([tiles, parts, 1]),
        &arguments![du, partials, rows, width],
    );
    add_partials(cuda, partials, parts, &d_bias, None);
}
