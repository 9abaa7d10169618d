//! See the parent module.

/// See [`super`].
pub fn forward(_cpu: &crate::Cpu, _constants: &super::Add, _operands: super::Forward<'_, f32>) {
    unimplemented!()
}
