//! Whether a GPU computes at all: what only shows when it is used.

use half::bf16;

use super::{Buffer, Cuda, Global};
use crate::backend::{Backend, Kernels};
use crate::memory::{DeviceError, Memory};
use crate::precision::{Bf16, Element, F32};
use crate::{Activation, Store, linear, scale};

/// Why a GPU that is there is of no use.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// It failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// It computes something else.
    #[error(
        "{what} gives wrong numbers: element {element} is {found} and not {wanted}; the GPU or its memory may be damaged (`nvidia-smi -q` \
         counts errors)"
    )]
    Wrong {
        /// What was computed.
        what: &'static str,
        /// The first that is wrong.
        element: usize,
        /// As computed.
        found: f64,
        /// As it should be.
        wanted: f64,
    },
}

/// Small numbers, so that every sum of their products is exact in either precision.
fn digits(count: usize, step: usize) -> impl Iterator<Item = f32> {
    (0..count).map(move |index| (index * step % 3) as f32 - 1.0)
}

fn compare<T: Into<f64>>(
    what: &'static str,
    found: impl IntoIterator<Item = T>,
    wanted: impl IntoIterator<Item = f32>,
) -> Result<(), CheckError> {
    for (element, (found, wanted)) in found.into_iter().zip(wanted).enumerate() {
        let (found, wanted): (f64, f64) = (found.into(), wanted.into());
        if found != wanted {
            return Err(CheckError::Wrong { what, element, found, wanted });
        }
    }
    Ok(())
}

impl Cuda {
    /// Has a kernel of our own and a product of cuBLASLt's in bf16 computed, and looks at the numbers.
    ///
    /// # Errors
    /// What failed, or is wrong.
    pub fn check(&self) -> Result<(), CheckError> {
        self.check_kernel()?;
        self.check_product()
    }

    fn check_kernel(&self) -> Result<(), CheckError> {
        let x: Vec<f32> = digits(1000, 7).collect();
        let (on_gpu, mut y) = (self.copy(&x)?, self.allocate(size_of_val(&*x))?);
        let operands = scale::Forward::<Global, F32> {
            x: Global::slice(&on_gpu, 0..size_of_val(&*x)),
            y: Global::slice_mut(&mut y),
            store: Store::Assign,
        };
        self.scale_forward(&scale::Scale { factor: 0.5 }, operands);
        compare("a kernel", self.copy_back::<f32>(&y, x.len())?, x.iter().map(|x| 0.5 * x))
    }

    fn check_product(&self) -> Result<(), CheckError> {
        let [rows, outputs, inputs] = [64, 48, 32];
        let [x, weight] = [digits(rows * inputs, 5), digits(outputs * inputs, 7)].map(Vec::from_iter);
        let wanted = (0..rows * outputs).map(|index| {
            let [x, weight] = [&x[index / outputs * inputs..], &weight[index % outputs * inputs..]];
            x[..inputs].iter().zip(weight).map(|(x, weight)| x * weight).sum::<f32>()
        });
        let copy =
            |numbers: &[f32]| self.copy(&numbers.iter().copied().map(bf16::from_f32).collect::<Vec<_>>());
        let (x, weight) = (copy(&x)?, copy(&weight)?);
        let mut y = self.allocate(rows * outputs * size_of::<bf16>())?;
        let operands = linear::Forward::<Global, Bf16> {
            x: Global::slice(&x, 0..Global::bytes(&x)),
            weight: Global::slice(&weight, 0..Global::bytes(&weight)),
            bias: None,
            preactivation: None,
            y: Global::slice_mut(&mut y),
        };
        self.linear_forward(&linear::Linear { inputs, outputs, activation: Activation::Identity }, operands);
        compare("a matrix product in bf16", self.copy_back::<bf16>(&y, rows * outputs)?, wanted)
    }

    fn copy<T: Element>(&self, numbers: &[T]) -> Result<Buffer, DeviceError> {
        let mut buffer = self.allocate(size_of_val(numbers))?;
        self.upload(bytemuck::cast_slice(numbers), &mut buffer, 0);
        Ok(buffer)
    }

    fn copy_back<T: Element>(&self, buffer: &Buffer, count: usize) -> Result<Vec<T>, DeviceError> {
        let mut numbers = vec![T::zeroed(); count];
        self.download(buffer, 0, bytemuck::cast_slice_mut(&mut numbers));
        self.finish().map(|()| numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_number_is_told() {
        assert_eq!(compare("x", [1.0_f32, 2.0], [1.0, 2.0]), Ok(()));
        let wrong = compare("x", [1.0_f32, 2.5, f32::NAN], [1.0, 2.0, 3.0]).unwrap_err();
        assert_eq!(wrong, CheckError::Wrong { what: "x", element: 1, found: 2.5, wanted: 2.0 });
        assert!(compare("x", [f32::NAN], [1.0]).is_err());
        assert!(digits(9, 7).any(|digit| digit == 1.0) && digits(9, 5).any(|digit| digit == -1.0));
    }
}
