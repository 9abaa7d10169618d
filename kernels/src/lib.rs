//! The operations ALBERT needs, forward and backward: what a number-cruncher has to know, and nothing about graphs
//! or models.
//!
//! One folder per operation. `mod.rs` is the contract (constants, operands, shapes, cost), `reference.rs` the
//! mathematics (f64, scalar, obvious), `cpu.rs` the fast code (f32, SIMD, threads). Every matrix is row-major with
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
//! | [`cross_entropy`], [`squared_error`] | weighted losses |
//! | [`add`], [`scale`], [`columns`], [`sequence_softmax`], [`sequence_sum`] | small pieces of heads |
//! | [`optimizer`] | LAMB, AdamW |
//!
//! [`Host`] is the list as a trait: [`Reference`] and [`Cpu`] implement it, so that an executor is written once.

pub mod activation;
pub mod add;
pub mod attention;
pub mod columns;
mod contract;
mod cost;
pub mod cpu;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gather;
mod host;
pub mod layer_norm;
pub mod linear;
pub mod memory;
pub mod optimizer;
pub mod random;
pub mod scale;
pub mod sequence_softmax;
pub mod sequence_sum;
mod sequences;
pub mod squared_error;

pub use activation::Activation;
pub use cost::Cost;
pub use cpu::Cpu;
pub use host::{Host, KERNELS, Real, Reference, Store};
pub use memory::DeviceError;
