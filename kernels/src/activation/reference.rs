//! See the parent module.

/// See [`super`].
pub fn forward(_constants: &super::Activation, _operands: super::Forward<'_, f64>) {
    unimplemented!()
}

/// See [`super`].
pub fn backward(_constants: &super::Activation, _operands: super::Backward<'_, f64>) {
    unimplemented!()
}
