//! See the parent module.

use super::{Activation, Backward, Forward};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn forward<P: CudaPrecision>(_: &Cuda, _: &Activation, _: Forward<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(_: &Cuda, _: &Activation, _: Backward<'_, Global, P>) {
    todo!()
}
