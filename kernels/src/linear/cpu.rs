//! See the parent module.

/// See [`super`].
pub fn forward(_cpu: &crate::Cpu, _constants: &super::Linear, _operands: super::Forward<'_, f32>) {
    unimplemented!()
}

/// See [`super`].
pub fn input_gradient(
    _cpu: &crate::Cpu,
    _constants: &super::Linear,
    _operands: super::InputGradient<'_, f32>,
) {
    unimplemented!()
}

/// See [`super`].
pub fn weight_gradient(
    _cpu: &crate::Cpu,
    _constants: &super::Linear,
    _operands: super::WeightGradient<'_, f32>,
) {
    unimplemented!()
}
