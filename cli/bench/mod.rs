//! `albert-train bench`: the speed of whole training steps, of matrix products and of all other kernels, each beside what the
//! device can do at most.
//!
//! `step`: whole steps. `kernels`: the other two, by the calls in `calls`, which `timing` times and shows.

mod calls;
mod kernels;
mod step;
mod timing;

use anyhow::Result;
use clap::{Args, Subcommand};
use train::exit::ExitCode;

use self::kernels::Kind;

/// Rows of the word table: as many as ALBERT's vocabularies have.
const VOCABULARY_SIZE: usize = 30_000;

/// Measure speed on this machine.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Step(step::Arguments),
    /// Time the matrix products of a training step, beside what the device can do at most.
    ///
    /// Of each matrix the forward product, with bias and activation where they belong to it, and the gradients of its input and of
    /// the weights. Shares are of the peak that large products reach, and of the speed of copying memory, both measured now; that of the
    /// roofline is the time that the tighter of the two allows, over the time taken. Operands are random, and more than caches hold
    /// unless they are tiny.
    Gemm(kernels::Arguments),
    /// Time every other kernel of a training step, and those of other heads, in the same way.
    ///
    /// See `bench gemm` for what the columns mean.
    Kernels(kernels::Arguments),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Step(arguments) => step::run(arguments),
        What::Gemm(arguments) => kernels::run(arguments, Kind::Products),
        What::Kernels(arguments) => kernels::run(arguments, Kind::Others),
    }
}
