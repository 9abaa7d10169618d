//! The operations ALBERT needs, forward and backward: what a number-cruncher has to know, and nothing about graphs
//! or models.
//!
//! One folder per operation. `mod.rs` is the contract (constants, operands, shapes, cost), `reference.rs` the
//! mathematics (f64, scalar, obvious), `cpu.rs` the fast code (f32 or bf16 in memory, f32 in registers, SIMD, threads). Every matrix is row-major with
//! one row per token, and a kernel takes the number of rows from the length of its operands.
//!
//! | operation | formula |
//! |---|---|
//! | [`embedding`] | `words[t] + positions[p] + segments[s]` |
//! | [`linear`] | `f(x · Wᵀ + b)` |
//! | [`activation`] | `f`, `f'` |
//! | [`layer_norm`] | `γ · norm(dropout(x) + residual) + β` |
//! | [`attention`] | `dropout(softmax(q · kᵀ / √d)) · v` inside each sequence |
//! | [`dropout`] | `x · keep / (1 − p)` |
//! | [`gather`] | `x[rows]` |
//! | [`cross_entropy`], [`sequence_cross_entropy`], [`squared_error`] | weighted losses |
//! | [`add`], [`scale`], [`columns`], [`sequence_softmax`], [`sequence_sum`] | small pieces of heads |
//! | [`optimizer`] | LAMB, AdamW |
//!
//! [`Backend`] is a device, [`Kernels`] the list as a trait that a device implements for each [`Precision`] it computes in:
//! [`Reference`] in f64, [`Cpu`] in f32 and bf16. Operands are generic over the [`memory::Memory`] that they live in, so that
//! an executor is written once.

pub mod activation;
pub mod add;
pub mod attention;
mod backend;
pub mod columns;
mod contract;
mod cost;
pub mod cpu;
pub mod cross_entropy;
pub mod cuda;
pub mod dropout;
pub mod embedding;
pub mod gather;
pub mod layer_norm;
pub mod linear;
pub mod memory;
pub mod optimizer;
mod peak;
pub mod precision;
pub mod random;
pub mod scale;
pub mod sequence_cross_entropy;
pub mod sequence_softmax;
pub mod sequence_sum;
mod sequences;
pub mod squared_error;

pub use activation::Activation;
pub use backend::{Backend, KERNELS, Kernels, Reference, Store};
pub use cost::Cost;
pub use cpu::{Cpu, look_for_room};
pub use cuda::Cuda;
pub use memory::DeviceError;
pub use peak::Peak;
pub use precision::{Element, Precision, Real};
