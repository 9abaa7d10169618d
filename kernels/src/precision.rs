//! What numbers are stored in.
//!
//! | role | reference | f32 | bf16 |
//! |---|---|---|---|
//! | activations, their gradients, the weights that products read | f64 | f32 | bf16 |
//! | masters of parameters, their gradients and moments, biases, γ, β, look-up tables, statistics, losses | f64 | f32 | f32 |
//!
//! On a GPU, products in bf16 read biases rounded to it, as they do weights.
//!
//! A kernel computes in f32 (the reference in f64) whatever is stored, and rounds once, to nearest, where it stores.

use half::bf16;

/// Anything that lies in a device's memory.
pub trait Element: bytemuck::Pod + Send + Sync + std::fmt::Debug {}

impl Element for f64 {}
impl Element for f32 {}
impl Element for bf16 {}
impl Element for i32 {}
impl Element for u64 {}

/// A number as it is stored.
pub trait Real: Element + PartialOrd + std::fmt::Display {
    /// Rounds to nearest.
    fn from_f64(value: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

impl Real for bf16 {
    fn from_f64(value: f64) -> Self {
        Self::from_f32(value as f32)
    }
    fn to_f64(self) -> f64 {
        f64::from(self.to_f32())
    }
}

/// The two types of number that a device stores: the table above.
pub trait Precision: Copy + std::fmt::Debug + Send + Sync + 'static {
    /// Activations, their gradients, and the copies of weights that products read.
    type Activation: Real;
    /// Masters, gradients of parameters, moments, statistics, losses.
    type Master: Real;
}

/// f64 everywhere: the reference.
#[derive(Clone, Copy, Debug)]
pub struct F64;

/// f32 everywhere.
#[derive(Clone, Copy, Debug)]
pub struct F32;

/// bf16 activations, f32 masters.
#[derive(Clone, Copy, Debug)]
pub struct Bf16;

/// `P` with masters in the place of activations: how an operation is applied to losses and statistics.
#[derive(Clone, Copy, Debug)]
pub struct Masters<P>(std::marker::PhantomData<P>);

impl Precision for F64 {
    type Activation = f64;
    type Master = f64;
}

impl Precision for F32 {
    type Activation = f32;
    type Master = f32;
}

impl Precision for Bf16 {
    type Activation = bf16;
    type Master = f32;
}

impl<P: Precision> Precision for Masters<P> {
    type Activation = P::Master;
    type Master = P::Master;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_once() {
        for (value, expected) in [(1.0, 1.0), (1.0 + 1.0 / 256.0, 1.0), (1.0 + 3.0 / 256.0, 1.015_625)] {
            assert_eq!(bf16::from_f64(value).to_f64(), expected, "ties go to even");
        }
        assert_eq!(bf16::from_f64(1.0 + 1.0 / 256.0 + 1e-6).to_f64(), 1.007_812_5);
        assert!(bf16::from_f64(f64::NAN).to_f64().is_nan());
    }
}
