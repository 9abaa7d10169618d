//! See the parent module.

use super::{Add, Forward};
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("add", include_str!("add.cu"));

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, add: &Add, operands: Forward<'_, Global, P>) {
    let Forward { a, b, y } = operands;
    let blocks = Blocks::of_elements::<P::Activation>(a.length());
    let (alpha, beta) = (add.alpha as f32, add.beta as f32);
    cuda.launch::<P>(PROGRAM, "add_forward", blocks, &arguments![a, b, y, a.length(), alpha, beta]);
}
