//! See the parent module.

use super::{Backward, Forward, LayerNorm};
use crate::cuda::sums::add_column_sums;
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("layer_norm", include_str!("layer_norm.cu"));

/// Columns that a thread holds, where a row needs no more than [`MOST_WARPS`] for that.
const COLUMNS: usize = 16;
/// Warps of the widest rows.
const MOST_WARPS: usize = 16;
/// Warps of a block, where a row needs no more.
const BLOCK_WARPS: usize = 8;
/// Blocks of the backward pass, each of which leaves a row of sums: two for every multiprocessor of an H100.
const BLOCKS: usize = 264;
/// Rows that the threads of one row have in the forward pass, one after the other, with γ and β in registers.
const TURNS: usize = 4;

/// How rows of some width are laid out.
struct Layout {
    row_warps: usize,
    threads: usize,
    /// Rows of a block at a time.
    together: usize,
}

impl Layout {
    fn new(width: usize) -> Self {
        let row_warps = width.div_ceil(32 * COLUMNS).next_power_of_two().min(MOST_WARPS);
        let warps = row_warps.max(BLOCK_WARPS);
        Self { row_warps, threads: 32 * warps, together: warps / row_warps }
    }

    fn backward_blocks(&self, rows: usize) -> usize {
        rows.div_ceil(self.together).min(BLOCKS)
    }
}

/// Bytes of work space that backward wants on a GPU: the sums of each block.
pub fn scratch_bytes(layer_norm: &LayerNorm, rows: usize) -> usize {
    Layout::new(layer_norm.width).backward_blocks(rows) * 2 * layer_norm.width * size_of::<f32>()
}

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, layer_norm: &LayerNorm, operands: Forward<'_, Global, P>) {
    let Forward { x, residual, gamma, beta, randomness, logical_rows, sum, mean, rstd, y } = operands;
    let (rows, layout) = (mean.length(), Layout::new(layer_norm.width));
    let blocks = Blocks::grid([rows.div_ceil(TURNS * layout.together), 1, 1]).with_threads(layout.threads);
    let defines = [("WIDTH", layer_norm.width), ("ROW_WARPS", layout.row_warps)];
    let (turns, epsilon) = (TURNS as i32, layer_norm.epsilon as f32);
    match &layer_norm.dropout {
        None => cuda.launch::<P>(
            PROGRAM.with(&defines),
            "layer_norm_forward",
            blocks,
            &arguments![x, residual, gamma, beta, sum, mean, rstd, y, rows, turns, epsilon],
        ),
        Some(dropout) => cuda.launch::<P>(
            PROGRAM.with(&defines),
            "layer_norm_dropout_forward",
            blocks,
            &arguments![
                x,
                residual,
                gamma,
                beta,
                sum,
                mean,
                rstd,
                y,
                rows,
                turns,
                epsilon,
                randomness,
                dropout,
                logical_rows
            ],
        ),
    }
}

/// See [`super`]. Each block sums dγ and dβ over its own rows; the sums are added up in the order of the blocks.
pub fn backward<P: CudaPrecision>(cuda: &Cuda, layer_norm: &LayerNorm, operands: Backward<'_, Global, P>) {
    let Backward { sum, mean, rstd, gamma, dy, randomness, logical_rows, .. } = operands;
    let Backward { d_sum, store, d_x, d_gamma, d_beta, .. } = operands;
    let (rows, width, layout) = (mean.length(), layer_norm.width, Layout::new(layer_norm.width));
    if rows == 0 {
        return;
    }
    let count = layout.backward_blocks(rows);
    let blocks = Blocks::grid([count, 1, 1]).with_threads(layout.threads);
    let partials = cuda.scratch(scratch_bytes(layer_norm, rows));
    let defines = [("WIDTH", width), ("ROW_WARPS", layout.row_warps)];
    match &layer_norm.dropout {
        None => cuda.launch::<P>(
            PROGRAM.with(&defines),
            "layer_norm_backward",
            blocks,
            &arguments![sum, mean, rstd, gamma, dy, d_sum, store, partials, rows],
        ),
        Some(dropout) => cuda.launch::<P>(
            PROGRAM.with(&defines),
            "layer_norm_dropout_backward",
            blocks,
            &arguments![
                sum,
                mean,
                rstd,
                gamma,
                dy,
                d_sum,
                store,
                partials,
                rows,
                randomness,
                dropout,
                logical_rows,
                d_x
            ],
        ),
    }
    add_column_sums(cuda, partials, count, &d_gamma, Some(&d_beta));
}
