//! See the parent module.

/// See [`super`].
pub fn forward(_constants: &super::Embedding, _operands: super::Forward<'_, f64>) {
    unimplemented!()
}

/// See [`super`].
pub fn backward(_constants: &super::Embedding, _operands: super::Backward<'_, f64>) {
    unimplemented!()
}
