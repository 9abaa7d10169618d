//! Questions about passages: SQuAD 1.1 and 2.0.
//!
//! | file | what a reader finds there |
//! |---|---|
//! | `align` | which characters of a passage each piece stands for |
//! | `passage` | a passage encoded once, and its windows |

mod align;
mod passage;

pub use passage::Passage;
