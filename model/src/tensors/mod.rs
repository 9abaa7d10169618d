//! safetensors files, written and read a chunk at a time, so that no file is ever whole in memory.
//!
//! The format: the header's length as eight bytes, little endian; the header, a JSON object of name → type, shape, place;
//! then the values, little endian, without gaps. All that is written here is f32; f64, f32, f16 and bf16 are read.

mod layout;
mod read;
mod write;

pub use layout::Layout;
pub use read::{TensorFile, ValueError};
pub use write::{digest, write};

use std::ops::Range;

/// Gives the elements `range` of tensor `index`, row-major, by adding them to a vector.
pub type ReadValues<'a> = dyn FnMut(usize, Range<usize>, &mut Vec<f32>) + 'a;

/// Values that are read or written at once: 1 MiB of f32.
const CHUNK: usize = 1 << 18;
