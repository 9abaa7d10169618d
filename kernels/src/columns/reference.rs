//! See the parent module.

/// See [`super`].
pub fn copy(_constants: &super::Columns, _operands: super::Copy<'_, f64>) {
    unimplemented!()
}
