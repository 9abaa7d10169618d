//! See the parent module.

use super::{Backward, Forward, Gather};
use crate::Store;
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments, vector};
use crate::memory::Length;
use crate::precision::F32;

const PROGRAM: Program<'static> = Program::new("gather", include_str!("gather.cu"));

/// Bytes that are known of a row of x: where it was selected first and last.
const USES: usize = 8;

/// Columns of a thread: 16 bytes.
fn columns<P: CudaPrecision>(width: usize) -> usize {
    vector(16 / size_of::<P::Activation>(), &[width])
}

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, &Gather { width }: &Gather, operands: Forward<'_, Global, P>) {
    let Forward { rows, x, y } = operands;
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", columns::<P>(width))]),
        "gather_forward",
        Blocks::of_warps(rows.length()),
        &arguments![rows, x, y, rows.length(), width],
    );
}

/// Bytes of work space that backward wants on a GPU for a dx of so many rows.
pub fn scratch_bytes(rows: usize) -> usize {
    USES * rows
}

/// See [`super`]. Each row of dx is written once, by a warp that knows where the row was selected first and last.
pub fn backward<P: CudaPrecision>(
    cuda: &Cuda,
    &Gather { width }: &Gather,
    operands: Backward<'_, Global, P>,
) {
    let Backward { rows, dy, dx, store } = operands;
    let (selected, all) = (rows.length(), dx.length() / width);
    let uses = cuda.scratch(scratch_bytes(all));
    let lists = PROGRAM.with(&[("VECTOR", 1)]);
    cuda.launch::<F32>(lists, "gather_no_uses", Blocks::of_threads(all), &arguments![uses, all]);
    let count = i32::try_from(selected).unwrap_or(i32::MAX);
    cuda.launch::<F32>(lists, "gather_uses", Blocks::of_threads(selected), &arguments![rows, uses, count]);
    let warps = match store {
        Store::Assign => all,
        Store::Add => selected,
    };
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", columns::<P>(width))]),
        "gather_backward",
        Blocks::of_warps(warps),
        &arguments![rows, dy, uses, dx, warps, width, store],
    );
}
