//! See the parent module.

use super::{Columns, Copy};
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments, vector};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("columns", include_str!("columns.cu"));

/// See [`super`].
pub fn copy<P: CudaPrecision>(cuda: &Cuda, columns: &Columns, operands: Copy<'_, Global, P>) {
    let Copy { x, y, place } = operands;
    let Columns { width, x_width, from, y_width, to } = *columns;
    let rows = y.length() / y_width;
    cuda.launch::<P>(
        PROGRAM.with(&[("VECTOR", vector(4, &[width, x_width, from, y_width, to]))]),
        "columns_copy",
        Blocks::of_warps(rows),
        &arguments![x, y, rows, width, x_width, from, y_width, to, place as i32],
    );
}
