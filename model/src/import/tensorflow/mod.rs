//! Checkpoints of the reference: variables in TensorFlow's format under the reference's names.

pub(super) mod bundle;
pub(super) mod names;
mod table;
