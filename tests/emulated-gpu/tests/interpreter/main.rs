//! The PTX interpreter: kernels against `f64` references, planted bugs, instruction by instruction, hostile text.
#![allow(clippy::unwrap_used, reason = "tests")]

mod attention;
mod kernels;
mod malformed;
mod reports;
mod support;
