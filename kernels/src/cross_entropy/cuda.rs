//! See the parent module.

use super::{Backward, CrossEntropy, Forward};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn forward<P: CudaPrecision>(_: &Cuda, _: &CrossEntropy, _: Forward<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(_: &Cuda, _: &CrossEntropy, _: Backward<'_, Global, P>) {
    todo!()
}
