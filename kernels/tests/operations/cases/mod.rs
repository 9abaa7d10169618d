//! One case per operation.

pub mod activation;
pub mod add;
pub mod attention;
pub mod columns;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gather;
pub mod layer_norm;
pub mod linear;
pub mod optimizer;
pub mod sequence_cross_entropy;
pub mod sequence_softmax;
pub mod sequence_sum;
pub mod squared_error;
