//! The calls of cuBLAS.

use std::sync::Arc;

use super::blas_calls;
use super::element::{Compute, Element, check_formats};
use super::epilogue::Epilogue;
use super::matmul::{Matmul, Matrix, Scale, Sums, WORKSPACE_WANTED};
use crate::driver::Driver;
use crate::driver::border::{HostPointer, Out};
use crate::driver::error::{Failure, Result};
use crate::driver::handles::Handle;
use crate::driver::operation::Operation;
use crate::driver::stream::Stream;

/// A cuBLAS handle.
pub struct Context {
    device: usize,
    stream: Handle<Stream>,
    device_factors: bool,
    workspace: Option<(u64, usize)>,
}

/// `cublasComputeType_t` of the calls that are f32 throughout.
const COMPUTE_32F: u32 = 68;
/// `cudaDataType` of f32.
const R_32F: u32 = 0;

/// An operand as `cublasGemmEx` describes it: address, `cudaDataType`, leading dimension, elements to the next batch.
struct Operand(u64, u32, i32, i64);

/// The numbers of a product: two operations, m, n, k, how many, and the `cublasComputeType_t`.
struct Shape {
    operations: [u32; 2],
    sizes: [i32; 3],
    batches: i32,
    compute: u32,
}

impl Operand {
    /// The operand, if it can be `rows` × `columns` to the product.
    fn matrix(self, transposed: bool, rows: usize, columns: usize) -> Result<Matrix> {
        let Self(address, element, leading_dimension, batch_stride) = self;
        let stored_rows = if transposed { columns } else { rows };
        let leading_dimension = size(leading_dimension)?;
        if leading_dimension < stored_rows.max(1) {
            let reason = format!("leading dimension {leading_dimension} of a matrix of {stored_rows} rows");
            return Err(Failure::invalid(reason));
        }
        Ok(Matrix { address, element: Element::new(element)?, leading_dimension, batch_stride, transposed })
    }
}

fn size(value: i32) -> Result<usize> {
    usize::try_from(value).map_err(|_| Failure::invalid(format!("a size of {value}")))
}

impl Driver {
    fn gemm(
        &mut self,
        call: &'static str,
        handle: Handle<Context>,
        shape: &Shape,
        factors: [HostPointer; 2],
        operands: [Operand; 3],
    ) -> Result {
        self.usable()?;
        let context = self.blas.cublas.get(handle)?;
        let [m, n, k] = [size(shape.sizes[0])?, size(shape.sizes[1])?, size(shape.sizes[2])?];
        let [transpose_a, transpose_b] = [transposed(shape.operations[0])?, transposed(shape.operations[1])?];
        let [a, b, c] = operands;
        let a = a.matrix(transpose_a, m, k)?;
        let b = b.matrix(transpose_b, k, n)?;
        let c = c.matrix(false, m, n)?;
        check_formats(a.element, b.element, c.element, c.element)?;
        let matmul = Matmul {
            call,
            m,
            n,
            k,
            batches: size(shape.batches)?,
            a,
            b,
            c,
            d: c,
            alpha: Scale::new(factors[0], context.device_factors)?,
            beta: Scale::new(factors[1], context.device_factors)?,
            compute: Compute::new(shape.compute)?,
            epilogue: Epilogue::default(),
            workspace: context.workspace,
            sums: Sums::Whole,
        };
        let stream = self.stream_of(context.stream, Ok(context.device))?;
        self.submit_to(stream, Operation::Matmul(Arc::new(matmul)))
    }
}

/// Refuses a handle with a stream of another device.
pub fn check_device(name: &str, of_handle: usize, of_stream: usize) -> Result {
    if of_handle == of_stream {
        return Ok(());
    }
    let reason = format!("{name} is of device {of_handle}, the stream of device {of_stream}");
    Err(Failure::invalid(reason))
}

/// From a `cublasOperation_t`; the conjugate transpose of real matrices is their transpose.
pub fn transposed(operation: u32) -> Result<bool> {
    match operation {
        0 => Ok(false),
        1 | 2 => Ok(true),
        other => Err(Failure::invalid(format!("cublasOperation {other}"))),
    }
}

blas_calls! {
    /// Creates a handle.
    fn cublasCreate_v2(driver, handle: Out<Handle<Context>>) {
        let device = driver.context()?;
        let context = Context { device, stream: Handle::NULL, device_factors: false, workspace: None };
        handle.set(driver.blas.cublas.insert(context))
    }

    /// Ends a handle; its work goes on.
    fn cublasDestroy_v2(driver, handle: Handle<Context>) {
        driver.blas.cublas.remove(handle).map(drop)
    }

    /// The stream that later calls put their work on. The workspace is the library's own again.
    fn cublasSetStream_v2(driver, handle: Handle<Context>, stream: Handle<Stream>) {
        let device = driver.streams.get(driver.stream(stream)?)?.device;
        let context = driver.blas.cublas.get_mut(handle)?;
        check_device("the handle", context.device, device)?;
        (context.stream, context.workspace) = (stream, None);
        Ok(())
    }

    /// The stream of a handle.
    fn cublasGetStream_v2(driver, handle: Handle<Context>, stream: Out<Handle<Stream>>) {
        stream.set(driver.blas.cublas.get(handle)?.stream)
    }

    /// Scratch memory for later calls.
    fn cublasSetWorkspace_v2(driver, handle: Handle<Context>, address: u64, bytes: usize) {
        driver.blas.cublas.get_mut(handle)?.workspace = (bytes > 0).then_some((address, bytes.min(WORKSPACE_WANTED)));
        Ok(())
    }

    /// Which tensor cores may be used: the default mode alone is known.
    fn cublasSetMathMode(driver, handle: Handle<Context>, mode: u32) {
        driver.blas.cublas.get(handle)?;
        if mode != 0 {
            return Err(Failure::not_emulated(format!("cublasMath mode {mode}")));
        }
        Ok(())
    }

    /// Whether α and β are pointers to the host (0) or to the device (1).
    fn cublasSetPointerMode_v2(driver, handle: Handle<Context>, mode: u32) {
        driver.blas.cublas.get_mut(handle)?.device_factors = device_factors(mode)?;
        Ok(())
    }

    /// Whether α and β are pointers to the host (0) or to the device (1).
    fn cublasGetPointerMode_v2(driver, handle: Handle<Context>, mode: Out<u32>) {
        mode.set(driver.blas.cublas.get(handle)?.device_factors.into())
    }

    /// C = α · op(A) op(B) + β · C
    fn cublasGemmEx(
        driver,
        handle: Handle<Context>,
        operation_a: u32, operation_b: u32, m: i32, n: i32, k: i32,
        alpha: HostPointer,
        a: u64, a_type: u32, a_leading: i32,
        b: u64, b_type: u32, b_leading: i32,
        beta: HostPointer,
        c: u64, c_type: u32, c_leading: i32,
        compute: u32,
        _algorithm: i32,
    ) {
        let shape = Shape { operations: [operation_a, operation_b], sizes: [m, n, k], batches: 1, compute };
        let operands = [
            Operand(a, a_type, a_leading, 0),
            Operand(b, b_type, b_leading, 0),
            Operand(c, c_type, c_leading, 0),
        ];
        driver.gemm("cublasGemmEx", handle, &shape, [alpha, beta], operands)
    }

    /// As [`cublasGemmEx`], for matrices at regular distances.
    fn cublasGemmStridedBatchedEx(
        driver,
        handle: Handle<Context>,
        operation_a: u32, operation_b: u32, m: i32, n: i32, k: i32,
        alpha: HostPointer,
        a: u64, a_type: u32, a_leading: i32, a_stride: i64,
        b: u64, b_type: u32, b_leading: i32, b_stride: i64,
        beta: HostPointer,
        c: u64, c_type: u32, c_leading: i32, c_stride: i64,
        batches: i32,
        compute: u32,
        _algorithm: i32,
    ) {
        let shape = Shape { operations: [operation_a, operation_b], sizes: [m, n, k], batches, compute };
        let operands = [
            Operand(a, a_type, a_leading, a_stride),
            Operand(b, b_type, b_leading, b_stride),
            Operand(c, c_type, c_leading, c_stride),
        ];
        driver.gemm("cublasGemmStridedBatchedEx", handle, &shape, [alpha, beta], operands)
    }

    /// As [`cublasGemmEx`], in f32.
    fn cublasSgemm_v2(
        driver,
        handle: Handle<Context>,
        operation_a: u32, operation_b: u32, m: i32, n: i32, k: i32,
        alpha: HostPointer,
        a: u64, a_leading: i32,
        b: u64, b_leading: i32,
        beta: HostPointer,
        c: u64, c_leading: i32,
    ) {
        let (operations, sizes) = ([operation_a, operation_b], [m, n, k]);
        let shape = Shape { operations, sizes, batches: 1, compute: COMPUTE_32F };
        let operands = [
            Operand(a, R_32F, a_leading, 0),
            Operand(b, R_32F, b_leading, 0),
            Operand(c, R_32F, c_leading, 0),
        ];
        driver.gemm("cublasSgemm", handle, &shape, [alpha, beta], operands)
    }

    /// As [`cublasGemmStridedBatchedEx`], in f32.
    fn cublasSgemmStridedBatched(
        driver,
        handle: Handle<Context>,
        operation_a: u32, operation_b: u32, m: i32, n: i32, k: i32,
        alpha: HostPointer,
        a: u64, a_leading: i32, a_stride: i64,
        b: u64, b_leading: i32, b_stride: i64,
        beta: HostPointer,
        c: u64, c_leading: i32, c_stride: i64,
        batches: i32,
    ) {
        let (operations, sizes) = ([operation_a, operation_b], [m, n, k]);
        let shape = Shape { operations, sizes, batches, compute: COMPUTE_32F };
        let operands = [
            Operand(a, R_32F, a_leading, a_stride),
            Operand(b, R_32F, b_leading, b_stride),
            Operand(c, R_32F, c_leading, c_stride),
        ];
        driver.gemm("cublasSgemmStridedBatched", handle, &shape, [alpha, beta], operands)
    }
}

/// From a `cublasPointerMode_t` or `cublasLtPointerMode_t`.
pub fn device_factors(mode: u32) -> Result<bool> {
    match mode {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Failure::not_emulated(format!("pointer mode {other}"))),
    }
}
