//! See the parent module.

/// See [`super`].
pub fn forward(_constants: &super::Add, _operands: super::Forward<'_, f64>) {
    unimplemented!()
}
