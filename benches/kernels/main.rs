//! Every kernel, forward and backward, at the shapes of ALBERT-base: 8 sequences of 128 tokens.
//!
//! `cargo bench --bench kernels [-- FILTER]`. Criterion's elements are floating-point operations. At the end a table
//! sets each time beside the least that it could be: its operations at the machine's measured multiply-add rate (of bf16 where it computes in that) or its
//! bytes at the measured copy bandwidth, whichever takes longer. More than 100 % means that the operands stayed in the
//! cache, which is where a whole step finds some of them, too.

mod bench;
mod heads;
mod layers;

use bench::Bench;
use kernels::Cpu;
use kernels::dropout::{Dropout, Randomness};
use kernels::precision::{Bf16, F32};
use kernels::random::{Philox, unit};

const SEQUENCES: usize = 8;
const LENGTH: usize = 128;
const ROWS: usize = SEQUENCES * LENGTH;
const MASKED: usize = 20 * SEQUENCES;
const VOCABULARY: usize = 30_000;
const EMBEDDING: usize = 128;
const HIDDEN: usize = 768;
const INTERMEDIATE: usize = 3072;
const HEADS: usize = 12;
const PARAMETERS: usize = 11_700_000;
/// How the names of kernels end whose products are of bf16.
const BF16: &str = "/bf16";
const SIZE: usize = size_of::<f32>();

fn main() {
    let cpu = Cpu::new(None, None).unwrap_or_else(|error| panic!("{error}"));
    let mut bench = Bench::new(&cpu);
    layers::linear::<F32>(&mut bench, "");
    layers::linear::<Bf16>(&mut bench, BF16);
    layers::activations(&mut bench);
    layers::attention(&mut bench);
    layers::normalisation(&mut bench);
    layers::embeddings(&mut bench);
    heads::losses(&mut bench);
    heads::pieces(&mut bench);
    heads::optimizers(&mut bench);
    bench.report();
}

/// Random numbers in [−1, 1).
fn values(length: usize) -> Vec<f32> {
    let philox = Philox::new(length as u64, 0);
    (0..length as u64).map(|i| (2.0 * unit(philox.word(0, i)) - 1.0) as f32).collect()
}

/// Random integers in `0..bound`.
fn indices(length: usize, bound: usize) -> Vec<i32> {
    values(length).iter().map(|value| ((value + 1.0) / 2.0 * bound as f32) as i32).collect()
}

fn offsets() -> Vec<i32> {
    (0..=SEQUENCES).map(|s| (s * LENGTH) as i32).collect()
}

fn randomness() -> Randomness {
    Randomness { philox: Philox::new(1, 1), step: 1, first_row: 0 }
}

fn dropout() -> Dropout {
    Dropout { probability: 0.1, stream: 1 }
}
