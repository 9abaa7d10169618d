//! Sums that finish what many blocks began.

use super::{AsArgument, Blocks, Cuda, Program, Scratch, Slice, SliceMut, arguments};
use crate::memory::Length;
use crate::precision::F32;

const PROGRAM: Program<'static> = Program::new("sums", include_str!("sums.cu"));

/// Columns of a block.
const COLUMNS: usize = 32;

/// Adds the sums of the columns of `partials`, `[rows, first + second]`, to `first` and, if there is one, `second`.
pub(crate) fn add_column_sums(
    cuda: &Cuda,
    partials: Scratch,
    rows: usize,
    first: &SliceMut<'_, f32>,
    second: Option<&SliceMut<'_, f32>>,
) {
    let columns = first.length() + second.map_or(0, |second| second.length());
    cuda.launch::<F32>(
        PROGRAM,
        "add_column_sums",
        Blocks::grid([columns.div_ceil(COLUMNS), 1, 1]),
        &arguments![
            partials,
            first,
            second.map_or(0, |second| second.address()),
            rows,
            columns,
            first.length()
        ],
    );
}

/// `loss = Σ weight · term`; what has no weight is not read.
pub(crate) fn weighted_loss(
    cuda: &Cuda,
    weights: Slice<'_, f32>,
    terms: &impl AsArgument,
    loss: &SliceMut<'_, f32>,
) {
    let blocks = Blocks::grid([1; 3]).with_threads(1024);
    cuda.launch::<F32>(PROGRAM, "weighted_loss", blocks, &arguments![weights, terms, loss, weights.length()]);
}
