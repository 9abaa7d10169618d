//! See the parent module.

use super::{Backward, Forward, SequenceCrossEntropy};
use crate::cuda::sums::weighted_loss;
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;

const PROGRAM: Program<'static> =
    Program::new("sequence_cross_entropy", include_str!("sequence_cross_entropy.cu"));

/// Threads of a block.
const THREADS: usize = 128;

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, _: &SequenceCrossEntropy, operands: Forward<'_, Global, P>) {
    let Forward { logits, offsets, labels, weights, loss, sequence_loss, log_sum_exp, prediction } = operands;
    cuda.launch::<P>(
        PROGRAM,
        "sequence_cross_entropy_forward",
        Blocks::grid([labels.length(), 1, 1]).with_threads(THREADS),
        &arguments![logits, offsets, labels, sequence_loss, log_sum_exp, prediction],
    );
    weighted_loss(cuda, weights, &sequence_loss, &loss);
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(cuda: &Cuda, _: &SequenceCrossEntropy, operands: Backward<'_, Global, P>) {
    let Backward { logits, offsets, labels, weights, log_sum_exp, d_loss, d_logits } = operands;
    let (sequences, rows) = (labels.length(), logits.length());
    cuda.launch::<P>(
        PROGRAM,
        "sequence_cross_entropy_backward",
        Blocks::grid([sequences + 1, 1, 1]).with_threads(THREADS),
        &arguments![
            logits,
            offsets,
            labels,
            weights,
            log_sum_exp,
            d_loss,
            d_logits,
            sequences as i32,
            rows as i32
        ],
    );
}
