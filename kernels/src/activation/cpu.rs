//! See the parent module.

/// See [`super`].
pub fn forward(_cpu: &crate::Cpu, _constants: &super::Activation, _operands: super::Forward<'_, f32>) {
    unimplemented!()
}

/// See [`super`].
pub fn backward(_cpu: &crate::Cpu, _constants: &super::Activation, _operands: super::Backward<'_, f32>) {
    unimplemented!()
}
