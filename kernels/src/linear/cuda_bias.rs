//! The gradient of a bias: the sums of the columns of du.

use crate::cuda::sums::add_column_sums as add_partials;
use crate::cuda::{Blocks, Cuda, CudaPrecision, Program, Slice, SliceMut, arguments, vector};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("column_sums", include_str!("column_sums.cu"));

/// Blocks at most, and rows of a block at least.
const BLOCKS: usize = 528;
const ROWS: usize = 64;

/// Columns of a thread, tiles of columns, and parts of the rows.
fn layout(width: usize, rows: usize, activation_size: usize) -> (usize, usize, usize) {
    let columns = vector(16 / activation_size, &[width]);
    let tiles = width.div_ceil(32 * columns);
    (columns, tiles, rows.div_ceil(ROWS).min(BLOCKS.div_ceil(tiles)))
}

/// Bytes of work space: the sums of each part.
pub(super) fn scratch_bytes(width: usize, rows: usize, activation_size: usize) -> usize {
    let (_, _, parts) = layout(width, rows, activation_size);
    parts * width * size_of::<f32>()
}

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
    let (columns, tiles, parts) = layout(width, rows, size_of::<P::Activation>());
    let partials = cuda.scratch(scratch_bytes(width, rows, size_of::<P::Activation>()));
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", columns)]),
        "column_sums",
        Blocks::grid([tiles, parts, 1]),
        &arguments![du, partials, rows, width],
    );
    add_partials(cuda, partials, parts, &d_bias, None);
}
