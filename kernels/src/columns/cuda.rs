//! See the parent module.

use super::{Columns, Copy};
use crate::cuda::{Cuda, CudaPrecision, Global};

/// See [`super`].
pub fn copy<P: CudaPrecision>(_: &Cuda, _: &Columns, _: Copy<'_, Global, P>) {
    todo!()
}
