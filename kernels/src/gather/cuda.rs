//! See the parent module.

use super::{Backward, Forward, Gather};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn forward<P: CudaPrecision>(_: &Cuda, _: &Gather, _: Forward<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(_: &Cuda, _: &Gather, _: Backward<'_, Global, P>) {
    todo!()
}
