//! The operations ALBERT needs, forward and backward.

pub mod random;
