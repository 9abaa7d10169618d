//! See the parent module.

use super::{Forward, Scale};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn forward<P: CudaPrecision>(_: &Cuda, _: &Scale, _: Forward<'_, Global, P>) {
    todo!()
}
