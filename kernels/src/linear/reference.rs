//! See the parent module.

/// See [`super`].
pub fn forward(_constants: &super::Linear, _operands: super::Forward<'_, f64>) {
    unimplemented!()
}

/// See [`super`].
pub fn input_gradient(_constants: &super::Linear, _operands: super::InputGradient<'_, f64>) {
    unimplemented!()
}

/// See [`super`].
pub fn weight_gradient(_constants: &super::Linear, _operands: super::WeightGradient<'_, f64>) {
    unimplemented!()
}
