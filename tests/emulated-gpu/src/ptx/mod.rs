//! PTX: the text that NVRTC makes of a `.cu` file, parsed, checked and run.
//!
//! ```text
//! text ── lexer, parser ──▶ syntax ── decode, instructions ──▶ closures ── run ──▶ memory, statistics or a fault
//! ```
//!
//! A [`Module`] is parsed and decoded once. [`run()`] then executes a [`Launch`] over [`DeviceMemory`]: warps of 32
//! lanes at once, with lanes free to part and meet as on hardware since Volta. Every access to memory is checked; the
//! first thing wrong ends the launch with a [`Fault`] that names kernel, block, warp, instruction and `.cu` line.
//!
//! What this cannot see: timing, and races through global memory among the lanes of one warp.

mod decode;
mod error;
mod fault;
mod instructions;
mod lexer;
mod memory;
mod module;
mod operation;
mod parser;
mod registers;
mod run;
mod syntax;
mod types;

pub use error::PtxError;
pub use fault::{Access, Fault, Other, Place, Trouble};
pub use instructions::approximate::{APPROXIMATIONS, Approximations};
pub use memory::device::{DeviceMemory, MemoryError};
pub use module::{Global, Kernel, Module, ParameterLayout};
pub use run::{
    Class, Counters, GlobalTraffic, Launch, MOST_SHARED, Request, SEED, Seed, SharedTraffic, Statistics, run,
};
pub use syntax::{Location, Origin, Position, Space};
