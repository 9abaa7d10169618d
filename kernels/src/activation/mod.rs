//! Activation functions, applied by [`crate::linear`] and differentiated here.
//!
//! | name | f(x) | derivative is computed from |
//! |---|---|---|
//! | `Identity` | x | nothing |
//! | `Gelu` | x · Φ(x), Φ the normal distribution (erf form) | x |
//! | `GeluNew` | ½x(1 + tanh(√(2/π)(x + 0.044715 x³))): ALBERT's own (spec: reference `modeling.gelu`) | x |
//! | `Relu` | max(x, 0) | f(x) |
//! | `Tanh` | tanh x | f(x) |

use crate::Cost;
use crate::contract::shapes;
use crate::memory::{Length, Memory};
use crate::precision::Precision;

pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod erf;
pub(crate) mod reference;

/// A function applied to every element of a linear map's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// f(x) = x
    Identity,
    /// The erf form of GELU (`gelu` in transformers' configurations).
    Gelu,
    /// The tanh form of GELU (`gelu_new`; what ALBERT's reference calls `gelu`).
    GeluNew,
    /// max(x, 0)
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Whether backward needs the value *before* the activation; otherwise it needs the value after it (or nothing).
    pub fn keeps_preactivation(self) -> bool {
        match self {
            Self::Gelu | Self::GeluNew => true,
            Self::Identity | Self::Relu | Self::Tanh => false,
        }
    }

    /// Cost of applying the function, or its derivative, to `elements` values (10 operations each, by convention).
    pub fn cost(self, elements: usize, operands: usize, element_size: usize) -> Cost {
        Cost::new(10 * elements, operands * elements, element_size)
    }
}

/// `y = f(x)`, elementwise: used when a forward value is computed again for backward.
pub struct Forward<'a, M: Memory, P: Precision> {
    /// Any length.
    pub x: M::Slice<'a, P::Activation>,
    /// Length of `x`.
    pub y: M::SliceMut<'a, P::Activation>,
}

/// `du = dy · f'(u)`, elementwise.
pub struct Backward<'a, M: Memory, P: Precision> {
    /// u if [`Activation::keeps_preactivation`], otherwise f(u).
    pub saved: M::Slice<'a, P::Activation>,
    /// Gradient of f(u); `None` if it lies where that of u is stored, which takes its place.
    pub dy: Option<M::Slice<'a, P::Activation>>,
    /// Gradient of u, stored.
    pub du: M::SliceMut<'a, P::Activation>,
}

impl<M: Memory, P: Precision> Forward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &Activation) {
        shapes!(self; x: [self.y.length()]);
    }
}

impl<M: Memory, P: Precision> Backward<'_, M, P> {
    /// Panics unless this is what the contract says.
    pub(crate) fn check(&self, _: &Activation) {
        let length = self.du.length();
        shapes!(self; saved: [length], dy: [length]);
    }
}
