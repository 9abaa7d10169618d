//! See the parent module.

use super::{Backward, Forward, SequenceSoftmax};
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("sequence_softmax", include_str!("sequence_softmax.cu"));

/// Threads of a block.
const THREADS: usize = 128;

/// Columns of a block, and how many sequences there are: the blocks beyond the last have the dead rows.
fn blocks(width: usize, offsets: usize) -> (usize, usize, Blocks) {
    let (tile, sequences) = (width.next_power_of_two().min(32), offsets - 1);
    let grid = [sequences + 1, width.div_ceil(tile), 1];
    (tile, sequences, Blocks::grid(grid).with_threads(THREADS))
}

/// See [`super`].
pub fn forward<P: CudaPrecision>(
    cuda: &Cuda,
    &SequenceSoftmax { width }: &SequenceSoftmax,
    operands: Forward<'_, Global, P>,
) {
    let Forward { x, offsets, y } = operands;
    let (tile, sequences, blocks) = blocks(width, offsets.length());
    cuda.launch::<P>(
        PROGRAM.with(&[("TILE", tile)]),
        "sequence_softmax_forward",
        blocks,
        &arguments![x, offsets, y, sequences as i32, x.length() / width, width],
    );
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(
    cuda: &Cuda,
    &SequenceSoftmax { width }: &SequenceSoftmax,
    operands: Backward<'_, Global, P>,
) {
    let Backward { y, offsets, dy, dx, store } = operands;
    let (tile, sequences, blocks) = blocks(width, offsets.length());
    cuda.launch::<P>(
        PROGRAM.with(&[("TILE", tile)]),
        "sequence_softmax_backward",
        blocks,
        &arguments![y, offsets, dy, dx, sequences as i32, y.length() / width, width, store],
    );
}
