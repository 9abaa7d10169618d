//! See the parent module.

use super::{Forward, InputGradient, Linear, WeightGradient};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn forward<P: CudaPrecision>(_: &Cuda, _: &Linear, _: Forward<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn input_gradient<P: CudaPrecision>(_: &Cuda, _: &Linear, _: InputGradient<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn weight_gradient<P: CudaPrecision>(_: &Cuda, _: &Linear, _: WeightGradient<'_, Global, P>) {
    todo!()
}
