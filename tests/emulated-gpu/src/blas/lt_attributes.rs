//! The descriptions that cuBLASLt's callers build attribute by attribute. An attribute that is not known here is
//! refused, never ignored.

use super::blas_calls;
use super::cublas::{device_factors, transposed};
use super::element::{Compute, Element};
use super::epilogue::Attributes;
use crate::driver::border::{HostPointer, Out};
use crate::driver::error::{Failure, Result};
use crate::driver::handles::Handle;

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The format of its elements.
    pub element: Element,
    /// Rows, as stored.
    pub rows: usize,
    /// Columns, as stored.
    pub columns: usize,
    /// Elements from one column to the next.
    pub leading_dimension: usize,
    /// How many matrices.
    pub batches: usize,
    /// Elements from one to the next.
    pub batch_stride: i64,
}

/// What product is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// How the inputs are rounded.
    pub compute: Compute,
    /// Whether α and β are in device memory.
    pub device_factors: bool,
    /// Whether A is transposed.
    pub transpose_a: bool,
    /// Whether B is transposed.
    pub transpose_b: bool,
    /// What makes the epilogue.
    pub epilogue: Attributes,
}

/// What algorithms are acceptable.
#[derive(Clone, Copy, Debug)]
pub struct Preference {
    /// Most bytes of workspace.
    pub workspace_bytes: u64,
    /// What the addresses of A, B, C and D will be multiples of, in bytes.
    pub alignments: [u32; 4],
    /// In which ways parts of a sum may be added up, a bit each of `cublasLtReductionScheme_t`.
    pub reduction_schemes: u32,
}

/// The value of an attribute, as the caller passes it.
struct Value {
    what: &'static str,
    pointer: HostPointer,
    bytes: usize,
}

impl Value {
    fn bytes<const N: usize>(&self) -> Result<[u8; N]> {
        if self.bytes != N {
            let reason = format!("a value of {} bytes for a {} that takes {N}", self.bytes, self.what);
            return Err(Failure::invalid(reason));
        }
        let bytes = self.pointer.read(N)?;
        Ok(bytes.try_into().expect("as many bytes as were asked for"))
    }

    fn u32(&self) -> Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&self) -> Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn i64(&self) -> Result<i64> {
        self.bytes().map(i64::from_le_bytes)
    }

    fn size(&self) -> Result<usize> {
        size(self.u64()?)
    }

    fn element(&self) -> Result<Element> {
        Element::new(self.u32()?)
    }

    fn unknown(&self, attribute: u32) -> Failure {
        Failure::not_emulated(format!("{} {attribute}", self.what))
    }
}

fn size(value: u64) -> Result<usize> {
    // No dimension that fits memory comes near this, and products of two never overflow.
    usize::try_from(value)
        .ok()
        .filter(|&size| size <= i32::MAX as usize)
        .ok_or_else(|| Failure::invalid(format!("a dimension of {value}")))
}

impl Layout {
    fn set(&mut self, attribute: u32, value: &Value) -> Result {
        const COLUMN_MAJOR: u32 = 0;
        match attribute {
            0 => self.element = value.element()?,
            1 => match value.u32()? {
                COLUMN_MAJOR => {}
                other => return Err(Failure::not_emulated(format!("matrix order {other}"))),
            },
            2 => self.rows = value.size()?,
            3 => self.columns = value.size()?,
            4 => self.leading_dimension = value.size()?,
            5 => self.batches = size(value.u32()?.into())?,
            6 => self.batch_stride = value.i64()?,
            other => return Err(value.unknown(other)),
        }
        Ok(())
    }
}

impl Description {
    fn set(&mut self, attribute: u32, value: &Value) -> Result {
        match attribute {
            0 => self.compute = Compute::new(value.u32()?)?,
            1 => check_scale_type(value.u32()?)?,
            2 => self.device_factors = device_factors(value.u32()?)?,
            3 => self.transpose_a = transposed(value.u32()?)?,
            4 => self.transpose_b = transposed(value.u32()?)?,
            5 if transposed(value.u32()?)? => return Err(Failure::not_emulated("a transposed C")),
            5 => {}
            7 => self.epilogue.epilogue = value.u32()?,
            8 => self.epilogue.bias = value.u64()?,
            10 => self.epilogue.bias_batch_stride = value.i64()?,
            11 => self.epilogue.auxiliary = value.u64()?,
            12 => self.epilogue.auxiliary_leading_dimension = value.i64()?,
            13 => self.epilogue.auxiliary_batch_stride = value.i64()?,
            22 => self.epilogue.auxiliary_element = Some(value.element()?),
            26 => self.epilogue.bias_element = Some(value.element()?),
            other => return Err(value.unknown(other)),
        }
        Ok(())
    }
}

impl Preference {
    fn set(&mut self, attribute: u32, value: &Value) -> Result {
        match attribute {
            1 => self.workspace_bytes = value.u64()?,
            3 => self.reduction_schemes = value.u32()?,
            5..=8 => self.alignments[attribute as usize - 5] = value.u32()?,
            other => return Err(value.unknown(other)),
        }
        Ok(())
    }
}

/// α and β are f32, whatever the matrices are.
fn check_scale_type(number: u32) -> Result {
    match Element::new(number)? {
        Element::F32 => Ok(()),
        other => Err(Failure::not_emulated(format!("factors of {other:?}"))),
    }
}

blas_calls! {
    /// Describes a matrix: `cudaDataType`, rows, columns, leading dimension.
    fn cublasLtMatrixLayoutCreate(
        driver,
        layout: Out<Handle<Layout>>,
        element: u32, rows: u64, columns: u64, leading_dimension: i64,
    ) {
        let leading_dimension = size(leading_dimension as u64)?;
        let (element, rows, columns) = (Element::new(element)?, size(rows)?, size(columns)?);
        let new = Layout { element, rows, columns, leading_dimension, batches: 1, batch_stride: 0 };
        layout.set(driver.blas.layouts.insert(new))
    }

    /// Ends a description.
    fn cublasLtMatrixLayoutDestroy(driver, layout: Handle<Layout>) {
        driver.blas.layouts.remove(layout).map(drop)
    }

    /// Sets an attribute.
    fn cublasLtMatrixLayoutSetAttribute(
        driver,
        layout: Handle<Layout>,
        attribute: u32, value: HostPointer, bytes: usize,
    ) {
        let value = Value { what: "matrix layout attribute", pointer: value, bytes };
        driver.blas.layouts.get_mut(layout)?.set(attribute, &value)
    }

    /// Describes a product: `cublasComputeType_t`, and the `cudaDataType` of α and β.
    fn cublasLtMatmulDescCreate(driver, description: Out<Handle<Description>>, compute: u32, scale: u32) {
        check_scale_type(scale)?;
        let new = Description {
            compute: Compute::new(compute)?,
            device_factors: false,
            transpose_a: false,
            transpose_b: false,
            epilogue: Attributes::default(),
        };
        description.set(driver.blas.descriptions.insert(new))
    }

    /// Ends a description.
    fn cublasLtMatmulDescDestroy(driver, description: Handle<Description>) {
        driver.blas.descriptions.remove(description).map(drop)
    }

    /// Sets an attribute.
    fn cublasLtMatmulDescSetAttribute(
        driver,
        description: Handle<Description>,
        attribute: u32, value: HostPointer, bytes: usize,
    ) {
        let value = Value { what: "matmul description attribute", pointer: value, bytes };
        driver.blas.descriptions.get_mut(description)?.set(attribute, &value)
    }

    /// Describes what algorithms are acceptable. As cuBLASLt has it: no workspace, addresses that are multiples
    /// of 256 bytes, and parts of sums added up in any way, unless attributes say otherwise.
    fn cublasLtMatmulPreferenceCreate(driver, preference: Out<Handle<Preference>>) {
        let new = Preference { workspace_bytes: 0, alignments: [256; 4], reduction_schemes: 7 };
        preference.set(driver.blas.preferences.insert(new))
    }

    /// Ends a description.
    fn cublasLtMatmulPreferenceDestroy(driver, preference: Handle<Preference>) {
        driver.blas.preferences.remove(preference).map(drop)
    }

    /// Sets an attribute.
    fn cublasLtMatmulPreferenceSetAttribute(
        driver,
        preference: Handle<Preference>,
        attribute: u32, value: HostPointer, bytes: usize,
    ) {
        let value = Value { what: "matmul preference attribute", pointer: value, bytes };
        driver.blas.preferences.get_mut(preference)?.set(attribute, &value)
    }
}
