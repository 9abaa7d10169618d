//! See the parent module.

/// See [`super`].
pub fn copy(_cpu: &crate::Cpu, _constants: &super::Columns, _operands: super::Copy<'_, f32>) {
    unimplemented!()
}
