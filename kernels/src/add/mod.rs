//! Weighted sum of two matrices: `y = alpha · a + beta · b`.

pub mod cpu;
pub mod reference;

/// The two factors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Add {
    /// Factor of `a`.
    pub alpha: f64,
    /// Factor of `b`.
    pub beta: f64,
}

/// Operands.
#[derive(Debug)]
pub struct Forward<'a, R> {
    /// Any length.
    pub a: &'a [R],
    /// Length of `a`.
    pub b: &'a [R],
    /// Length of `a`, stored.
    pub y: &'a mut [R],
}
