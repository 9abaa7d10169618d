//! See the parent module.

use super::{Backward, Forward, SequenceSoftmax};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn forward<P: CudaPrecision>(_: &Cuda, _: &SequenceSoftmax, _: Forward<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(_: &Cuda, _: &SequenceSoftmax, _: Backward<'_, Global, P>) {
    todo!()
}
