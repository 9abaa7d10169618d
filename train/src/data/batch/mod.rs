//! What the trainer is given: packed batches, in a shuffled order, made ahead of time.

mod packed;
mod permutation;
mod stream;

pub use packed::{Batch, Normalizers, Padded};
pub(super) use permutation::Permutation;
pub use stream::{BatchStream, Step, next_step};
