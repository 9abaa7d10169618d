//! D = epilogue(α · op(A) op(B) + β · C), column-major, with f32 sums: those of tensor cores, or of nearest rounding where
//! inputs are f32.

use std::fmt;
use std::time::Duration;

use super::element::{Compute, Element};
use super::epilogue::{Activation, Auxiliary, Epilogue, Sum, Vector, gelu, gelu_gradient};
use super::mode::Mode;
use crate::driver::border::HostPointer;
use crate::driver::error::{CudaError, Failure, Result};
use crate::ptx::{DeviceMemory, Seed};
use crate::tensor_core::{self, COLUMNS, Input, Terms, add_block};

/// Most bytes of a workspace that a product uses.
pub const WORKSPACE_WANTED: usize = 1 << 20;

/// A product, ready to be done.
#[derive(Clone, Debug)]
pub struct Matmul {
    /// The call that asked for it.
    pub call: &'static str,
    /// Rows of D.
    pub m: usize,
    /// Columns of D.
    pub n: usize,
    /// The inner dimension.
    pub k: usize,
    /// How many products.
    pub batches: usize,
    /// m × k, or k × m if transposed.
    pub a: Matrix,
    /// k × n, or n × k if transposed.
    pub b: Matrix,
    /// m × n; not read if β = 0.
    pub c: Matrix,
    /// m × n; may be C.
    pub d: Matrix,
    /// α
    pub alpha: Scale,
    /// β
    pub beta: Scale,
    /// How the inputs are rounded.
    pub compute: Compute,
    /// What is done to the product.
    pub epilogue: Epilogue,
    /// Scratch memory: address and bytes. A real device leaves anything there; here it counts as never written.
    pub workspace: Option<(u64, usize)>,
    /// How the inner dimension is added up.
    pub sums: Sums,
}

/// How the inner dimension is added up: results differ in their last bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// One sum.
    Whole,
    /// Two sums, put side by side in the workspace and then added.
    InTwo,
    /// Three, each added to the result when it is there: in any order, that of the seed.
    AsTheyCome,
}

impl Sums {
    /// All, the one that is thought the fastest first.
    pub const ALL: [Sums; 3] = [Sums::Whole, Sums::InTwo, Sums::AsTheyCome];

    /// Sums that the inner dimension is cut into.
    pub fn parts(self) -> usize {
        match self {
            Sums::Whole => 1,
            Sums::InTwo => 2,
            Sums::AsTheyCome => 3,
        }
    }

    /// Its `cublasLtReductionScheme_t`: none, in the type of the sums, in place.
    pub fn scheme(self) -> u32 {
        match self {
            Sums::Whole => 0,
            Sums::InTwo => 2,
            Sums::AsTheyCome => 1,
        }
    }

    /// The parts, in the order in which they are added.
    fn order(self) -> Vec<usize> {
        match self {
            Sums::Whole | Sums::InTwo => (0..self.parts()).collect(),
            Sums::AsTheyCome => {
                let order = Seed::new(Seed::from_environment()).order(self.parts() as u64);
                order.map(|part| part as usize).collect()
            }
        }
    }
}

/// A matrix in device memory.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    /// Its first element.
    pub address: u64,
    /// The format of its elements.
    pub element: Element,
    /// Elements from one column to the next.
    pub leading_dimension: usize,
    /// Elements from one batch to the next.
    pub batch_stride: i64,
    /// Whether the product wants its transpose.
    pub transposed: bool,
}

/// A factor of the product.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    /// As it was at the call.
    Value(f32),
    /// An `f32` in device memory, as it is when the product is done.
    Device(u64),
}

impl Matmul {
    /// Does all the products.
    pub fn run(&self, memory: &mut DeviceMemory) -> Result {
        if let Some((address, bytes)) = self.workspace {
            memory.forget(address, bytes).map_err(in_matrix("the workspace"))?;
        }
        let (alpha, beta) = (self.alpha.read(memory)?, self.beta.read(memory)?);
        for batch in 0..self.batches {
            self.run_one(memory, batch, alpha, beta)?;
        }
        Ok(())
    }

    /// How much longer than here it takes on the device that is emulated.
    pub fn lag(&self) -> Duration {
        if self.sums == Sums::Whole { Mode::from_environment().lag_of_first() } else { Duration::ZERO }
    }

    fn run_one(&self, memory: &mut DeviceMemory, batch: usize, alpha: f32, beta: f32) -> Result {
        let Self { m, n, k, .. } = *self;
        // As BLAS has it: where a factor is zero, what it multiplies is not read.
        let inputs_wanted = alpha != 0.0 || self.epilogue.bias_gradient.is_some();
        let (a, b) = if inputs_wanted {
            // A with columns of m, B with columns of k.
            (self.input(memory, batch, "A", &self.a, m, k)?, self.input(memory, batch, "B", &self.b, k, n)?)
        } else {
            (vec![0.0; m * k], vec![0.0; k * n])
        };
        let mut result = self.product(&a, &b);
        for (j, column) in result.chunks_mut(m.max(1)).enumerate() {
            column.iter_mut().for_each(|value| *value *= alpha);
            if beta != 0.0 {
                let c = self.c.column(batch, j).load(memory, m).map_err(in_matrix("C"))?;
                column.iter_mut().zip(c).for_each(|(value, c)| *value += beta * c);
            }
        }
        if !self.epilogue.is_nothing() && Mode::from_environment().is_unfused() {
            result = self.d.element.decode(&self.d.element.encode(&result));
        }
        self.finish(memory, batch, &mut result)?;
        if let Some((sum, vector)) = self.epilogue.bias_gradient {
            let gradient = match sum {
                Sum::Result => row_sums(m, &result),
                Sum::A => row_sums(m, &a),
                Sum::B => b.chunks(k.max(1)).map(|column| column.iter().sum()).collect(),
            };
            vector.at(batch).store(memory, &gradient).map_err(in_matrix("the bias gradient"))?;
        }
        for (j, column) in result.chunks(m.max(1)).enumerate() {
            self.d.column(batch, j).store(memory, column).map_err(in_matrix("D"))?;
        }
        Ok(())
    }

    /// The product of the inputs, part after part of the inner dimension.
    fn product(&self, a: &[f32], b: &[f32]) -> Vec<f32> {
        let Self { m, n, k, .. } = *self;
        let input = self.compute.input(self.a.element);
        let whole = |k: usize, a: &[f32], b: &[f32]| match input {
            Some(input) => tensor_product(m, n, k, a, b, input),
            None => product(m, n, k, a, b),
        };
        if self.sums == Sums::Whole {
            return whole(k, a, b);
        }
        let parts = self.sums.parts();
        let mut result = vec![0.0; m * n];
        for part in self.sums.order() {
            let [first, end] = [part, part + 1].map(|part| k * part / parts);
            let b: Vec<f32> = b.chunks(k.max(1)).flat_map(|column| &column[first..end]).copied().collect();
            let sums = whole(end - first, &a[first * m..end * m], &b);
            result.iter_mut().zip(sums).for_each(|(sum, part)| *sum += part);
        }
        result
    }

    /// An input, not transposed any more: `rows` × `columns`, column-major without gaps.
    fn input(
        &self,
        memory: &DeviceMemory,
        batch: usize,
        name: &str,
        matrix: &Matrix,
        rows: usize,
        columns: usize,
    ) -> Result<Vec<f32>> {
        let mut values = vec![0.0; rows * columns];
        if matrix.transposed {
            for i in 0..rows {
                let row = matrix.column(batch, i).load(memory, columns).map_err(in_matrix(name))?;
                row.iter().enumerate().for_each(|(j, &value)| values[i + j * rows] = value);
            }
        } else {
            for (j, column) in values.chunks_mut(rows.max(1)).enumerate() {
                column.copy_from_slice(&matrix.column(batch, j).load(memory, rows).map_err(in_matrix(name))?);
            }
        }
        self.compute.round(matrix.element, &mut values);
        Ok(values)
    }

    /// Bias and activation.
    fn finish(&self, memory: &mut DeviceMemory, batch: usize, result: &mut [f32]) -> Result {
        let rows = self.m;
        if let Some(vector) = self.epilogue.bias {
            let bias = vector.at(batch).load(memory, rows).map_err(in_matrix("the bias"))?;
            for column in result.chunks_mut(rows.max(1)) {
                column.iter_mut().zip(&bias).for_each(|(value, bias)| *value += bias);
            }
        }
        for (j, column) in result.chunks_mut(rows.max(1)).enumerate() {
            match self.epilogue.activation {
                Activation::None => {}
                Activation::Relu => column.iter_mut().for_each(|value| *value = value.max(0.0)),
                Activation::Gelu(auxiliary) => {
                    if let Some(auxiliary) = auxiliary {
                        let place = auxiliary.column(batch, j);
                        place.store(memory, column).map_err(in_matrix("the auxiliary matrix"))?;
                    }
                    column.iter_mut().for_each(|value| *value = gelu(*value));
                }
                Activation::GeluGradient(auxiliary) => {
                    let place = auxiliary.column(batch, j);
                    let inputs = place.load(memory, rows).map_err(in_matrix("the auxiliary matrix"))?;
                    column.iter_mut().zip(inputs).for_each(|(value, input)| *value *= gelu_gradient(input));
                }
            }
        }
        Ok(())
    }
}

/// The product of a, m × k, and b, k × n, both column-major without gaps.
fn product(m: usize, n: usize, k: usize, a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut result = vec![0.0; m * n];
    for j in 0..n {
        let column = &mut result[j * m..][..m];
        for x in 0..k {
            let factor = b[x + j * k];
            column.iter_mut().zip(&a[x * m..][..m]).for_each(|(sum, a)| *sum += a * factor);
        }
    }
    result
}

/// As [`product`], of numbers that `input` holds, added up as tensor cores do it: block after block of the inner
/// dimension.
fn tensor_product(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], input: Input) -> Vec<f32> {
    let mut result = vec![0.0; m * n];
    let b_terms: Vec<Terms<1>> = b.iter().map(|&value| Terms::new([value], input)).collect();
    for first in (0..m).step_by(COLUMNS) {
        let rows = COLUMNS.min(m - first);
        // A few rows of A, one column after the other.
        let a_terms: Vec<Terms<COLUMNS>> = (0..k)
            .map(|x| {
                let mut values = [0.0; COLUMNS];
                values[..rows].copy_from_slice(&a[first + x * m..][..rows]);
                Terms::new(values, input)
            })
            .collect();
        for j in 0..n {
            let mut sums = [0.0; COLUMNS];
            let b_blocks = b_terms[j * k..][..k].chunks(input.block());
            for (b, a) in b_blocks.zip(a_terms.chunks(input.block())) {
                add_block(b, a, &mut sums, tensor_core::Output::F32);
            }
            result[first + j * m..][..rows].copy_from_slice(&sums[..rows]);
        }
    }
    result
}

fn row_sums(rows: usize, matrix: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; rows];
    for column in matrix.chunks(rows.max(1)) {
        sums.iter_mut().zip(column).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// Consecutive elements in device memory.
struct Run {
    address: u64,
    element: Element,
}

impl Run {
    fn new(base: u64, element: Element, offset: i64) -> Self {
        Self { address: base.wrapping_add_signed(offset.wrapping_mul(element.size() as i64)), element }
    }

    fn load(&self, memory: &DeviceMemory, count: usize) -> Result<Vec<f32>> {
        self.check_alignment()?;
        Ok(self.element.decode(memory.load(self.address, count * self.element.size())?))
    }

    fn store(&self, memory: &mut DeviceMemory, values: &[f32]) -> Result {
        self.check_alignment()?;
        Ok(memory.write(self.address, &self.element.encode(values))?)
    }

    fn check_alignment(&self) -> Result {
        if self.address.is_multiple_of(self.element.size() as u64) {
            return Ok(());
        }
        let reason = format!("{:#x} is not aligned for {:?}", self.address, self.element);
        Err(Failure::new(CudaError::MisalignedAddress, reason))
    }
}

impl Matrix {
    fn column(&self, batch: usize, column: usize) -> Run {
        let offset = batch as i64 * self.batch_stride + (column * self.leading_dimension) as i64;
        Run::new(self.address, self.element, offset)
    }
}

impl Auxiliary {
    fn column(&self, batch: usize, column: usize) -> Run {
        let offset = batch as i64 * self.batch_stride + (column * self.leading_dimension) as i64;
        Run::new(self.address, self.element, offset)
    }
}

impl Vector {
    fn at(&self, batch: usize) -> Run {
        Run::new(self.address, self.element, batch as i64 * self.batch_stride)
    }
}

impl Scale {
    /// The factor a caller points at, in host or in device memory.
    pub fn new(pointer: HostPointer, on_device: bool) -> Result<Self> {
        if on_device { Ok(Self::Device(pointer.address())) } else { Ok(Self::Value(pointer.read_f32()?)) }
    }

    fn read(self, memory: &DeviceMemory) -> Result<f32> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Device(address) => {
                Ok(Run { address, element: Element::F32 }.load(memory, 1).map_err(in_matrix("a factor"))?[0])
            }
        }
    }
}

/// Says which operand a failure is about.
fn in_matrix<E: Into<Failure>>(name: &str) -> impl FnOnce(E) -> Failure + '_ {
    move |error| {
        let failure = error.into();
        Failure::new(failure.code, format!("{name}: {}", failure.reason))
    }
}

impl fmt::Display for Matmul {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, m, n, k, batches, .. } = self;
        write!(formatter, "{call} of m {m}, n {n}, k {k}")?;
        if *batches > 1 {
            write!(formatter, ", {batches} batches")?;
        }
        Ok(())
    }
}
