//! See the parent module.

use super::{Forward, Scale};
use crate::cuda::{Blocks, Cuda, CudaPrecision, Global, Program, arguments};
use crate::memory::Length;

const PROGRAM: Program<'static> = Program::new("scale", include_str!("scale.cu"));

/// See [`super`].
pub fn forward<P: CudaPrecision>(cuda: &Cuda, scale: &Scale, operands: Forward<'_, Global, P>) {
    let Forward { x, y, store } = operands;
    let blocks = Blocks::of_elements::<P::Activation>(x.length());
    cuda.launch::<P>(
        PROGRAM,
        "scale_forward",
        blocks,
        &arguments![x, y, x.length(), scale.factor as f32, store],
    );
}
