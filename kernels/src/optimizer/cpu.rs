//! See the parent module.

/// See [`super`].
pub fn update(_cpu: &crate::Cpu, _constants: &super::Update, _operands: super::Operands<'_, f32>) {
    unimplemented!()
}

/// See [`super`].
pub fn norm(_cpu: &crate::Cpu, _constants: &(), _operands: super::Norm<'_, f32>) {
    unimplemented!()
}
