//! The PTX interpreter: kernels against `f64` references, planted bugs, instruction by instruction, hostile text.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/approximate.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod approximate;
mod approximations;
mod attention;
mod counters;
mod exact_bits;
mod instructions;
mod kernels;
mod malformed;
mod order;
mod planted_bugs;
mod reports;
mod support;
