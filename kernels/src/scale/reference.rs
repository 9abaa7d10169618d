//! See the parent module.

/// See [`super`].
pub fn forward(_constants: &super::Scale, _operands: super::Forward<'_, f64>) {
    unimplemented!()
}
