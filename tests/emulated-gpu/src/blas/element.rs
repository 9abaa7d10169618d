//! The number formats of matrices, and how a product rounds its inputs.

use half::{bf16, f16};

use crate::driver::error::{CudaError, Failure, Result};
use crate::tensor_core::Input;

/// The format of a matrix's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl Element {
    /// From a `cudaDataType`.
    pub fn new(number: u32) -> Result<Self> {
        match number {
            0 => Ok(Self::F32),
            2 => Ok(Self::F16),
            14 => Ok(Self::Bf16),
            other => Err(Failure::not_emulated(format!("cudaDataType {other}"))),
        }
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Elements from memory, as `f32`.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let halves = || bytes.as_chunks().0.iter().copied();
        match self {
            Self::F32 => bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect(),
            Self::F16 => halves().map(|half| f16::from_le_bytes(half).to_f32()).collect(),
            Self::Bf16 => halves().map(|half| bf16::from_le_bytes(half).to_f32()).collect(),
        }
    }

    /// `f32` rounded to nearest, ties to even, as memory holds it.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}

/// What happens to the inputs of a product before they are multiplied; sums are always `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    /// Nothing.
    F32,
    /// `f32` is rounded to 10 bits of mantissa.
    Tf32,
    /// `f32` is rounded to `f16`.
    F16,
    /// `f32` is rounded to `bf16`.
    Bf16,
}

impl Compute {
    /// From a `cublasComputeType_t`.
    pub fn new(number: u32) -> Result<Self> {
        match number {
            68 | 69 => Ok(Self::F32),
            74 => Ok(Self::F16),
            75 => Ok(Self::Bf16),
            77 => Ok(Self::Tf32),
            other => Err(Failure::not_emulated(format!("cublasComputeType {other}"))),
        }
    }

    /// Refuses inputs and outputs that the mode is not for: those that round `f32` are for `f32` alone.
    pub fn check_formats(self, formats: [Element; 2]) -> Result {
        if self == Self::F32 || formats == [Element::F32; 2] {
            return Ok(());
        }
        let reason = format!(
            "COMPUTE_32F_FAST_{self:?} with A of {:?} and D of {:?}: it is for F32",
            formats[0], formats[1]
        );
        Err(Failure::new(CudaError::NotSupported, reason))
    }

    /// The tensor cores' name for inputs of the format `element` once they are rounded; `f32` is added up without them.
    pub fn input(self, element: Element) -> Option<Input> {
        match (element, self) {
            (Element::F16, _) | (Element::F32, Self::F16) => Some(Input::F16),
            (Element::Bf16, _) | (Element::F32, Self::Bf16) => Some(Input::Bf16),
            (Element::F32, Self::Tf32) => Some(Input::Tf32),
            (Element::F32, Self::F32) => None,
        }
    }

    /// Rounds inputs of the format `element`; the shorter formats are exact already.
    pub fn round(self, element: Element, values: &mut [f32]) {
        if element != Element::F32 {
            return;
        }
        let round: fn(f32) -> f32 = match self {
            Self::F32 => return,
            Self::Tf32 => round_to_tf32,
            Self::F16 => |value| f16::from_f32(value).to_f32(),
            Self::Bf16 => |value| bf16::from_f32(value).to_f32(),
        };
        values.iter_mut().for_each(|value| *value = round(*value));
    }
}

/// To nearest, ties away from zero, as `cvt.rna.tf32.f32` does.
fn round_to_tf32(value: f32) -> f32 {
    const DROPPED: u32 = 13;
    if !value.is_finite() {
        return value;
    }
    let rounded = value.to_bits() + (1 << (DROPPED - 1));
    f32::from_bits(rounded & !((1 << DROPPED) - 1))
}

/// Refuses combinations of formats that cuBLAS does not have: A and B are of one format, C and D of one, and the
/// latter is that of A or `f32`.
pub fn check_formats(a: Element, b: Element, c: Element, d: Element) -> Result {
    if a == b && c == d && (d == a || d == Element::F32) {
        return Ok(());
    }
    let reason = format!("no product of {a:?} (A) and {b:?} (B) with {c:?} (C) gives {d:?} (D)");
    Err(Failure::new(CudaError::NotSupported, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_keeps_ten_bits() {
        let ulp = 2f32.powi(-10);
        assert_eq!(round_to_tf32(1.0 + ulp), 1.0 + ulp);
        assert_eq!(round_to_tf32(1.0 + ulp * 0.49), 1.0);
        assert_eq!(round_to_tf32(1.0 + ulp * 0.5), 1.0 + ulp);
        assert_eq!(round_to_tf32(-1.0 - ulp * 0.5), -1.0 - ulp);
        assert!(round_to_tf32(f32::NAN).is_nan());
        assert_eq!(round_to_tf32(f32::NEG_INFINITY), f32::NEG_INFINITY);
    }

    #[test]
    fn formats_round_trip_and_round_to_nearest_even() {
        for element in [Element::F32, Element::F16, Element::Bf16] {
            let values = [0.0, -1.5, 0.25, f32::INFINITY];
            assert_eq!(element.decode(&element.encode(&values)), values);
        }
        let tie = 1.0 + 2f32.powi(-8);
        assert_eq!(Element::Bf16.decode(&Element::Bf16.encode(&[tie])), [1.0]);
        assert_eq!(Element::F16.decode(&Element::F16.encode(&[tie])), [tie]);
    }
}
