//! See the parent module.

use super::{Backward, Forward, SquaredError};
use crate::cuda::sums::weighted_loss;
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("squared_error", include_str!("squared_error.cu"));

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, _: &SquaredError, operands: Forward<'_, Global, P>) {
    let Forward { x, targets, weights, loss } = operands;
    let rows = x.length();
    let terms = cuda.scratch(scratch_bytes(rows));
    cuda.launch::<P>(
        PROGRAM,
        "squared_error_terms",
        Blocks::of_threads(rows),
        &arguments![x, targets, terms, rows],
    );
    weighted_loss(cuda, weights, &terms, &loss);
}

/// Bytes of work space that forward wants on a GPU: the terms of the sum.
pub fn scratch_bytes(rows: usize) -> usize {
    rows * size_of::<f32>()
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(cuda: &Cuda, _: &SquaredError, operands: Backward<'_, Global, P>) {
    let Backward { x, targets, weights, d_loss, dx, store } = operands;
    let rows = x.length();
    cuda.launch::<P>(
        PROGRAM,
        "squared_error_backward",
        Blocks::of_threads(rows),
        &arguments![x, targets, weights, d_loss, dx, rows, store],
    );
}
