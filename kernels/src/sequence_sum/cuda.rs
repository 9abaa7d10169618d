//! See the parent module.

use super::{Backward, Forward, SequenceSum};
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments, vector};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("sequence_sum", include_str!("sequence_sum.cu"));

/// See [`super`].
pub fn forward<P: CudaPrecision>(
    cuda: &Cuda,
    &SequenceSum { width }: &SequenceSum,
    operands: Forward<'_, Global, P>,
) {
    let Forward { weights, x, offsets, y } = operands;
    let columns = vector(4, &[width]);
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", columns)]),
        "sequence_sum_forward",
        Blocks::grid([y.length() / width, width.div_ceil(32 * columns), 1]),
        &arguments![weights, x, offsets, y, width],
    );
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(
    cuda: &Cuda,
    &SequenceSum { width }: &SequenceSum,
    operands: Backward<'_, Global, P>,
) {
    let Backward { weights, x, offsets, dy, d_weights, store_weights, dx, store } = operands;
    let (sequences, rows) = (dy.length() / width, weights.length());
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", vector(4, &[width]))]),
        "sequence_sum_backward",
        Blocks::of_warps(rows),
        &arguments![
            weights,
            x,
            offsets,
            dy,
            d_weights,
            store_weights,
            dx,
            store,
            sequences as i32,
            rows,
            width
        ],
    );
}
