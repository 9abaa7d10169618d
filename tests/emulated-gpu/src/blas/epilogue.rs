//! What cuBLASLt does to a product before it is stored.
//!
//! Matrices are column-major: the bias has one value for each row of D, and gradients of a bias are summed over the
//! columns of D, or over the inner dimension of A or B. GELU is the tanh form.

use super::element::Element;
use crate::driver::error::{CudaError, Failure, Result};

/// The last step of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// What is added to each column first.
    pub bias: Option<Vector>,
    /// What is done to each value then.
    pub activation: Activation,
    /// The gradient of a bias, stored beside D.
    pub bias_gradient: Option<(Sum, Vector)>,
}

/// A vector in device memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vector {
    /// Its first element.
    pub address: u64,
    /// The format of its elements.
    pub element: Element,
    /// Elements from that of one batch to that of the next.
    pub batch_stride: i64,
}

/// A matrix of the size of D beside it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auxiliary {
    /// Its first element.
    pub address: u64,
    /// The format of its elements.
    pub element: Element,
    /// Elements from one column to the next.
    pub leading_dimension: usize,
    /// Elements from one batch to the next.
    pub batch_stride: i64,
}

/// What is done to each value of the product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// max(x, 0)
    Relu,
    /// gelu(x), with x stored beside D if wanted.
    Gelu(Option<Auxiliary>),
    /// x · gelu'(u), with u as the forward pass stored it.
    GeluGradient(Auxiliary),
}

/// What a bias gradient is summed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// D over its columns: one value for each row of D.
    Result,
    /// A over the inner dimension: one value for each row of D.
    A,
    /// B over the inner dimension: one value for each column of D.
    B,
}

/// The attributes of a matmul description that make its epilogue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// `cublasLtEpilogue_t`, 0 for the default.
    pub epilogue: u32,
    /// Address of the bias or its gradient.
    pub bias: u64,
    /// Its format, if not that of D.
    pub bias_element: Option<Element>,
    /// Elements from one batch's bias to the next.
    pub bias_batch_stride: i64,
    /// Address of the matrix beside D.
    pub auxiliary: u64,
    /// Its format, if not that of D.
    pub auxiliary_element: Option<Element>,
    /// Its leading dimension.
    pub auxiliary_leading_dimension: i64,
    /// Elements from one batch's matrix to the next.
    pub auxiliary_batch_stride: i64,
}

impl Epilogue {
    /// What the attributes ask for in `batches` products with `rows` rows of D, of format `d`.
    pub fn new(attributes: &Attributes, rows: usize, batches: usize, d: Element) -> Result<Self> {
        let bias = || attributes.bias(d);
        let auxiliary = || attributes.auxiliary(rows, batches, d);
        let mut epilogue = Self::default();
        match attributes.epilogue {
            0 | 1 => {}
            2 => epilogue.activation = Activation::Relu,
            4 => epilogue.bias = Some(bias()?),
            6 => (epilogue.bias, epilogue.activation) = (Some(bias()?), Activation::Relu),
            32 => epilogue.activation = Activation::Gelu(None),
            36 => (epilogue.bias, epilogue.activation) = (Some(bias()?), Activation::Gelu(None)),
            160 => epilogue.activation = Activation::Gelu(Some(auxiliary()?)),
            164 => {
                (epilogue.bias, epilogue.activation) = (Some(bias()?), Activation::Gelu(Some(auxiliary()?)));
            }
            192 => epilogue.activation = Activation::GeluGradient(auxiliary()?),
            208 => {
                epilogue.activation = Activation::GeluGradient(auxiliary()?);
                epilogue.bias_gradient = Some((Sum::Result, bias()?));
            }
            256 => epilogue.bias_gradient = Some((Sum::A, bias()?)),
            512 => epilogue.bias_gradient = Some((Sum::B, bias()?)),
            other => return Err(Failure::not_emulated(format!("cublasLtEpilogue {other}"))),
        }
        Ok(epilogue)
    }
}

impl Epilogue {
    /// Refuses sums of a factor that does not lie as D does, as the library says that it does: "BGRADA only works with non-transposed A",
    /// "BGRADB only works with transposed B".
    pub fn check_transposes(&self, transpose_a: bool, transpose_b: bool) -> Result {
        let reason = match self.bias_gradient {
            Some((Sum::A, _)) if transpose_a => "the bias gradient of A, with A transposed",
            Some((Sum::B, _)) if !transpose_b => "the bias gradient of B, with B not transposed",
            _ => return Ok(()),
        };
        Err(Failure::new(CudaError::NotSupported, reason))
    }

    /// What is done, whatever it is done with.
    pub fn kind(&self) -> (bool, u32, Option<Sum>) {
        let activation = match self.activation {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Gelu(None) => 2,
            Activation::Gelu(Some(_)) => 3,
            Activation::GeluGradient(_) => 4,
        };
        (self.bias.is_some(), activation, self.bias_gradient.map(|(sum, _)| sum))
    }

    /// Whether the product is all.
    pub fn is_nothing(&self) -> bool {
        self.kind() == (false, 0, None)
    }

    /// The matrix beside D, if there is one.
    pub fn auxiliary(&self) -> Option<Auxiliary> {
        match self.activation {
            Activation::Gelu(auxiliary) => auxiliary,
            Activation::GeluGradient(auxiliary) => Some(auxiliary),
            Activation::None | Activation::Relu => None,
        }
    }

    /// The bias that is read, or its gradient that is written.
    pub fn vector(&self) -> Option<Vector> {
        self.bias.or(self.bias_gradient.map(|(_, vector)| vector))
    }

    /// The addresses of bias and matrix beside D; 0 for what is not there.
    pub fn addresses(&self) -> [u64; 2] {
        [self.vector().map_or(0, |vector| vector.address), self.auxiliary().map_or(0, |it| it.address)]
    }

    /// Their formats and the matrix's leading dimension.
    pub fn formats(&self) -> (Option<Element>, Option<(Element, usize)>) {
        let matrix = self.auxiliary().map(|it| (it.element, it.leading_dimension));
        (self.vector().map(|vector| vector.element), matrix)
    }
}

/// Bits of `cublasLtEpilogue_t`: the functions, a bias, the gradients of biases, and a matrix beside D.
const FUNCTIONS: u32 = 2 | 32;
const BIAS: u32 = 4;
const BIAS_GRADIENTS: u32 = 16 | 256 | 512;
const AUXILIARY: u32 = 128;

impl Attributes {
    /// Refuses, as a product does where a search has found an algorithm, pointers for which the epilogue has no use: in the library's own
    /// words "The Bias pointer … is NOT allowed for …", "Outputting GELU input is not supported for …" (both seen on an H200), "Outputting ReLu mask …".
    pub fn check_pointers(&self) -> Result {
        let has = |bits| self.epilogue & bits != 0;
        if self.bias != 0 && !has(BIAS | BIAS_GRADIENTS) {
            let reason = format!("epilogue {} with CUBLASLT_MATMUL_DESC_BIAS_POINTER", self.epilogue);
            return Err(Failure::invalid(reason));
        }
        if self.auxiliary != 0 && has(FUNCTIONS) && !has(AUXILIARY) {
            let reason = format!("epilogue {} with CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER", self.epilogue);
            return Err(Failure::new(CudaError::NotSupported, reason));
        }
        Ok(())
    }

    fn bias(&self, d: Element) -> Result<Vector> {
        let element = self.bias_element.unwrap_or(d);
        if element != d {
            let reason =
                format!("a bias, or its gradient, of {element:?} with D of {d:?}: it has D's format");
            return Err(Failure::new(CudaError::NotSupported, reason));
        }
        if self.bias == 0 {
            let reason = format!("epilogue {} without CUBLASLT_MATMUL_DESC_BIAS_POINTER", self.epilogue);
            return Err(Failure::invalid(reason));
        }
        Ok(Vector { address: self.bias, element, batch_stride: self.bias_batch_stride })
    }

    fn auxiliary(&self, rows: usize, batches: usize, d: Element) -> Result<Auxiliary> {
        let refuse = |what: String| {
            let reason = format!("epilogue {}: {what}", self.epilogue);
            Err(Failure::invalid(reason))
        };
        let element = self.auxiliary_element.unwrap_or(d);
        if element != d {
            let reason = format!("an auxiliary matrix of {element:?} beside D of {d:?}");
            return Err(Failure::new(CudaError::NotSupported, reason));
        }
        if self.auxiliary == 0 {
            return refuse("no CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER".into());
        }
        if !self.auxiliary.is_multiple_of(16) {
            return refuse(format!(
                "the auxiliary matrix at {:#x} is not aligned to 16 bytes",
                self.auxiliary
            ));
        }
        if batches > 1 && self.auxiliary_batch_stride % 8 != 0 {
            return refuse(format!(
                "auxiliary batch stride {}; wanted a multiple of 8",
                self.auxiliary_batch_stride
            ));
        }
        match usize::try_from(self.auxiliary_leading_dimension) {
            Ok(leading_dimension) if leading_dimension >= rows && leading_dimension.is_multiple_of(8) => {
                let batch_stride = self.auxiliary_batch_stride;
                Ok(Auxiliary { address: self.auxiliary, element, leading_dimension, batch_stride })
            }
            _ => refuse(format!(
                "auxiliary leading dimension {}; wanted a multiple of 8, at least the {rows} rows of D",
                self.auxiliary_leading_dimension
            )),
        }
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))
pub fn gelu(x: f32) -> f32 {
    let inner = SQRT_2_OVER_PI * (x + CUBIC * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// The derivative of [`gelu`].
pub fn gelu_gradient(x: f32) -> f32 {
    let tanh = (SQRT_2_OVER_PI * (x + CUBIC * x * x * x)).tanh();
    let inner_gradient = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
    0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner_gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_matches_its_gradient() {
        // Φ(1) to the accuracy of the tanh form.
        assert!((gelu(1.0) - 0.841_192).abs() < 1e-6);
        assert_eq!((gelu(0.0), gelu_gradient(0.0)), (0.0, 0.5));
        for step in -40..=40 {
            let (x, h) = (step as f32 / 10.0, 1e-2);
            let difference = (gelu(x + h) - gelu(x - h)) / (2.0 * h);
            // Central differences err by h²/6 · |gelu'''| < 1e-4, and rounding by 2⁻²² · |x| / h < 1e-4.
            assert!((gelu_gradient(x) - difference).abs() < 2e-4, "at {x}");
        }
    }
}
