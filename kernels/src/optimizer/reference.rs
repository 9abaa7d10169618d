//! See the parent module.

/// See [`super`].
pub fn update(_constants: &super::Update, _operands: super::Operands<'_, f64>) {
    unimplemented!()
}

/// See [`super`].
pub fn norm(_constants: &(), _operands: super::Norm<'_, f64>) {
    unimplemented!()
}
