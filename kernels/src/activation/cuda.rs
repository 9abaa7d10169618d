//! See the parent module.

use super::{Activation, Backward, Forward};
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;

const PROGRAM: Program<'static> =
    Program::new("activation", concat!(include_str!("functions.cuh"), include_str!("activation.cu")));

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, activation: &Activation, operands: Forward<'_, Global, P>) {
    let Forward { x, y } = operands;
    let blocks = Blocks::of_elements::<P::Activation>(x.length());
    cuda.launch::<P>(
        PROGRAM.with(&[("ACTIVATION", *activation as usize)]),
        "activation_forward",
        blocks,
        &arguments![x, y, x.length()],
    );
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(cuda: &Cuda, activation: &Activation, operands: Backward<'_, Global, P>) {
    let Backward { saved, dy, du } = operands;
    let blocks = Blocks::of_elements::<P::Activation>(saved.length());
    cuda.launch::<P>(
        PROGRAM.with(&[("ACTIVATION", *activation as usize)]),
        "activation_backward",
        blocks,
        &arguments![saved, dy, du, saved.length()],
    );
}
