//! See the parent module.

use super::{Backward, Dropout, Forward};
use crate::Store;
use crate::cuda::{self, Blocks, Cuda, CudaPrecision, Global, Program, arguments, vector};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("dropout", include_str!("dropout.cu"));

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, dropout: &Dropout, operands: Forward<'_, Global, P>) {
    let Forward { width, randomness, logical_rows, x, y } = operands;
    multiply::<P>(cuda, dropout, width, (x, y, Store::Assign), randomness, logical_rows);
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(cuda: &Cuda, dropout: &Dropout, operands: Backward<'_, Global, P>) {
    let Backward { width, randomness, logical_rows, dy, dx, store } = operands;
    multiply::<P>(cuda, dropout, width, (dy, dx, store), randomness, logical_rows);
}

fn multiply<P: CudaPrecision>(
    cuda: &Cuda,
    dropout: &Dropout,
    width: usize,
    (x, y, store): (cuda::Slice<'_, P::Activation>, cuda::SliceMut<'_, P::Activation>, Store),
    randomness: cuda::Randomness,
    logical_rows: Option<cuda::Slice<'_, i32>>,
) {
    let rows = x.length() / width;
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", vector(4, &[width]))]),
        "dropout",
        Blocks::of_warps(rows),
        &arguments![x, y, rows, width, store, randomness, dropout, logical_rows],
    );
}
