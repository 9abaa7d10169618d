//! See the parent module.

use super::{Backward, Forward, SequenceCrossEntropy};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn forward<P: CudaPrecision>(_: &Cuda, _: &SequenceCrossEntropy, _: Forward<'_, Global, P>) {
    todo!()
}

/// See [`super`].
pub fn backward<P: CudaPrecision>(_: &Cuda, _: &SequenceCrossEntropy, _: Backward<'_, Global, P>) {
    todo!()
}
