//! See the parent module.

use super::{Backward, CrossEntropy, Forward};
use crate::cuda::sums::weighted_loss;
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("cross_entropy", include_str!("cross_entropy.cu"));

/// See [`super`].
pub fn forward<P: CudaPrecision>(
    cuda: &Cuda,
    cross_entropy: &CrossEntropy,
    operands: Forward<'_, Global, P>,
) {
    let Forward { logits, labels, weights, loss, row_loss, log_sum_exp, prediction } = operands;
    cuda.launch::<P>(
        PROGRAM,
        "cross_entropy_forward",
        Blocks::grid([labels.length(), 1, 1]),
        &arguments![logits, labels, row_loss, log_sum_exp, prediction, cross_entropy.classes as i32],
    );
    weighted_loss(cuda, weights, &row_loss, &loss);
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(
    cuda: &Cuda,
    cross_entropy: &CrossEntropy,
    operands: Backward<'_, Global, P>,
) {
    let Backward { logits, labels, weights, log_sum_exp, d_loss, d_logits } = operands;
    cuda.launch::<P>(
        PROGRAM,
        "cross_entropy_backward",
        Blocks::grid([labels.length(), 1, 1]),
        &arguments![logits, labels, weights, log_sum_exp, d_loss, d_logits, cross_entropy.classes as i32],
    );
}
