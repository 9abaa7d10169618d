//! The PTX interpreter: kernels against `f64` references, planted bugs, instruction by instruction, hostile text.
#![allow(clippy::unwrap_used, reason = "tests")]

mod attention;
mod instructions;
mod kernels;
mod malformed;
mod planted_bugs;
mod reports;
mod support;
