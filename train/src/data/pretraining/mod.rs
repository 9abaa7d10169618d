//! ALBERT's two tasks: which samples an epoch has, which of their words are masked, and what that looks like.

mod dataset;
mod example;
mod masking;
#[cfg(test)]
mod reference_tests;
mod sampler;
mod show;
mod statistics;
#[cfg(test)]
pub(super) mod synthetic;
mod words;

pub use dataset::{Dataset, Position, Reader};
pub use example::Example;
pub use masking::{LONGEST_NGRAM, Masking, MaskingOptions, Span};
pub use sampler::{Epoch, Origin, Pair, SampleOptions, Sampler, SingleSegment};
pub use show::{Shown, write_examples};
pub use statistics::Statistics;
pub use words::WordStarts;
