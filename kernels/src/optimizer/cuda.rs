//! See the parent module.

use super::{Norm, Operands, Update, Weights};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn update<P: CudaPrecision>(_: &Cuda, _: &Update, _: Operands<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn norm<P: CudaPrecision>(_: &Cuda, _: &(), _: Norm<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn prepare<P: CudaPrecision>(_: &Cuda, _: &(), _: Weights<'_, Global, P>) {
    todo!()
}
