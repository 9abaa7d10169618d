//! Products of cuBLAS and cuBLASLt against f64, through cudarc, on ragged shapes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, StridedBatchedConfig, sys as blas};
use cudarc::cublaslt::{CudaBlasLT, Matmul, MatmulConfig, result as lt, sys};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use half::{bf16, f16};
use support::{gpu, on_any_gpu};
use sys::cublasLtEpilogue_t as Epilogue;
use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cudaDataType_t as Type;

/// Numbers between -1 and 1 that every format here holds exactly: multiples of 1/64.
fn numbers(count: usize, seed: u32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state >> 24) - 128.0) / 128.0
    };
    (0..count).map(|_| (next() * 64.0).round() / 64.0).collect()
}

fn encode(kind: Type, values: &[f64]) -> Vec<u8> {
    match kind {
        Type::CUDA_R_32F => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
        Type::CUDA_R_16F => values.iter().flat_map(|&value| f16::from_f64(value).to_le_bytes()).collect(),
        Type::CUDA_R_16BF => values.iter().flat_map(|&value| bf16::from_f64(value).to_le_bytes()).collect(),
        other => panic!("{other:?}"),
    }
}

fn decode(kind: Type, bytes: &[u8]) -> Vec<f64> {
    let halves = || bytes.chunks_exact(2).map(|half| [half[0], half[1]]);
    match kind {
        Type::CUDA_R_32F => {
            bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
        }
        Type::CUDA_R_16F => halves().map(|half| f16::from_le_bytes(half).to_f64()).collect(),
        Type::CUDA_R_16BF => halves().map(|half| bf16::from_le_bytes(half).to_f64()).collect(),
        other => panic!("{other:?}"),
    }
}

/// Unit roundoff of a format.
fn roundoff(kind: Type) -> f64 {
    match kind {
        Type::CUDA_R_32F => 2f64.powi(-24),
        Type::CUDA_R_16F => 2f64.powi(-11),
        _ => 2f64.powi(-8),
    }
}

/// What is left of it is rounding: of the sum of `terms` products of at most 1 in f32, and of the result.
fn assert_close(what: &str, kind: Type, terms: usize, got: &[f64], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        // The constant covers the bias, C, and the steps of the activation, each of the size of a term or two.
        let sum = (terms as f64 + 8.0) * (terms as f64 + 8.0) * roundoff(Type::CUDA_R_32F);
        let tolerance = sum + roundoff(kind) * wanted.abs();
        assert!(
            (got - wanted).abs() <= tolerance,
            "{what}, element {index}: {got}, wanted {wanted} ± {tolerance}"
        );
    }
}

/// Column-major matrices at regular distances, each followed by a gap that nobody may touch.
struct Operand {
    kind: Type,
    rows: usize,
    columns: usize,
    leading_dimension: usize,
    batches: usize,
    values: Vec<f64>,
    memory: CudaSlice<u8>,
}

impl Operand {
    fn new(
        stream: &Arc<CudaStream>,
        kind: Type,
        [rows, columns]: [usize; 2],
        leading_dimension: usize,
        batches: usize,
        seed: u32,
    ) -> Self {
        let values = numbers((leading_dimension * columns + 3) * batches, seed);
        let memory = stream.clone_htod(&encode(kind, &values)).unwrap();
        Self { kind, rows, columns, leading_dimension, batches, values, memory }
    }

    fn stride(&self) -> usize {
        self.leading_dimension * self.columns + 3
    }

    fn at(&self, batch: usize, row: usize, column: usize, transposed: bool) -> f64 {
        let (row, column) = if transposed { (column, row) } else { (row, column) };
        self.values[batch * self.stride() + row + column * self.leading_dimension]
    }

    fn address(&self, stream: &CudaStream) -> u64 {
        self.memory.device_ptr(stream).0
    }

    fn layout(&self) -> sys::cublasLtMatrixLayout_t {
        use sys::cublasLtMatrixLayoutAttribute_t as Attribute;
        let (rows, columns) = (self.rows as u64, self.columns as u64);
        let layout =
            lt::create_matrix_layout(self.kind, rows, columns, self.leading_dimension as i64).unwrap();
        let (batches, stride) = (self.batches as i32, self.stride() as i64);
        // SAFETY: the layout is alive, and the values have the sizes given.
        unsafe {
            let count = Attribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
            lt::set_matrix_layout_attribute(layout, count, ptr::from_ref(&batches).cast(), 4).unwrap();
            let offset = Attribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
            lt::set_matrix_layout_attribute(layout, offset, ptr::from_ref(&stride).cast(), 8).unwrap();
        }
        layout
    }

    /// The values that `changed` gives for rows and columns, and between them what was there before.
    fn with(&self, changed: impl Fn(usize, usize, usize) -> f64) -> Vec<f64> {
        let mut values = self.values.clone();
        for batch in 0..self.batches {
            for (column, row) in
                (0..self.columns).flat_map(|column| (0..self.rows).map(move |row| (column, row)))
            {
                values[batch * self.stride() + row + column * self.leading_dimension] =
                    changed(batch, row, column);
            }
        }
        values
    }

    fn assert_is(&self, what: &str, stream: &Arc<CudaStream>, terms: usize, wanted: &[f64]) {
        let got = decode(self.kind, &stream.clone_dtoh(&self.memory).unwrap());
        assert_close(what, self.kind, terms, &got, wanted);
    }
}

/// One product of cuBLASLt: what is asked for, in a form that prints.
#[derive(Clone, Debug)]
struct Case {
    shape: [usize; 3],
    transposed: [bool; 2],
    inputs: Type,
    output: Type,
    batches: usize,
    alpha: f32,
    beta: f32,
    epilogue: Epilogue,
}

const PLAIN: Case = Case {
    shape: [37, 29, 41],
    transposed: [false, false],
    inputs: Type::CUDA_R_16BF,
    output: Type::CUDA_R_16BF,
    batches: 1,
    alpha: 1.0,
    beta: 0.0,
    epilogue: Epilogue::CUBLASLT_EPILOGUE_DEFAULT,
};

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + inner(x).tanh())
}

fn inner(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)
}

fn gelu_gradient(x: f64) -> f64 {
    let slope = (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044715 * x * x);
    0.5 * (1.0 + inner(x).tanh()) + 0.5 * x * (1.0 - inner(x).tanh().powi(2)) * slope
}

/// Does the product of a case with C ≠ D and compares D, the bias and the auxiliary matrix with f64.
fn check(stream: &Arc<CudaStream>, case: &Case) {
    use Epilogue as E;
    let Case { shape: [m, n, k], transposed: [transpose_a, transpose_b], batches, .. } = *case;
    let stored = |rows, columns, transposed| if transposed { [columns, rows] } else { [rows, columns] };
    let a_shape = stored(m, k, transpose_a);
    let b_shape = stored(k, n, transpose_b);
    let a = Operand::new(stream, case.inputs, a_shape, a_shape[0] + 3, batches, 1);
    let b = Operand::new(stream, case.inputs, b_shape, b_shape[0] + 1, batches, 2);
    let c = Operand::new(stream, case.output, [m, n], m + 2, batches, 3);
    let d = Operand::new(stream, case.output, [m, n], m + 5, batches, 4);
    let bias_length = if case.epilogue == E::CUBLASLT_EPILOGUE_BGRADB { n } else { m };
    let bias = Operand::new(stream, case.output, [bias_length, 1], bias_length, batches, 5);
    let auxiliary = Operand::new(stream, case.output, [m, n], m.next_multiple_of(8), batches, 6);

    let description =
        lt::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F).unwrap();
    let set = |attribute, value: &[u8]| {
        // SAFETY: the description is alive, and the value has its own length.
        unsafe { lt::set_matmul_desc_attribute(description, attribute, value.as_ptr().cast(), value.len()) }
            .unwrap();
    };
    set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &u32::from(transpose_a).to_le_bytes());
    set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &u32::from(transpose_b).to_le_bytes());
    set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(case.epilogue as u32).to_le_bytes());
    set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias.address(stream).to_le_bytes());
    set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, &(bias.stride() as i64).to_le_bytes());
    set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &auxiliary.address(stream).to_le_bytes());
    set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &(auxiliary.leading_dimension as i64).to_le_bytes());
    set(
        Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE,
        &(auxiliary.stride() as i64).to_le_bytes(),
    );
    multiply(stream, description, [&a, &b, &c, &d], case);

    let product = |z: usize, i: usize, j: usize| -> f64 {
        let sum: f64 = (0..k).map(|x| a.at(z, i, x, transpose_a) * b.at(z, x, j, transpose_b)).sum();
        let c = if case.beta == 0.0 { 0.0 } else { f64::from(case.beta) * c.at(z, i, j, false) };
        f64::from(case.alpha) * sum + c
    };
    let biased = |z, i, j| product(z, i, j) + bias.at(z, i, 0, false);
    let what = format!("{case:?}");
    let expect = |operand: &Operand, values: &dyn Fn(usize, usize, usize) -> f64| {
        operand.assert_is(&what, stream, k, &operand.with(values));
    };
    let untouched = |operand: &Operand| operand.assert_is(&what, stream, 0, &operand.values);
    let graded = |z, i, j| product(z, i, j) * gelu_gradient(auxiliary.at(z, i, j, false));
    match case.epilogue {
        E::CUBLASLT_EPILOGUE_DEFAULT => expect(&d, &product),
        E::CUBLASLT_EPILOGUE_RELU => expect(&d, &|z, i, j| product(z, i, j).max(0.0)),
        E::CUBLASLT_EPILOGUE_RELU_BIAS => expect(&d, &|z, i, j| biased(z, i, j).max(0.0)),
        E::CUBLASLT_EPILOGUE_BIAS => expect(&d, &biased),
        E::CUBLASLT_EPILOGUE_GELU => expect(&d, &|z, i, j| gelu(product(z, i, j))),
        E::CUBLASLT_EPILOGUE_GELU_BIAS => expect(&d, &|z, i, j| gelu(biased(z, i, j))),
        E::CUBLASLT_EPILOGUE_GELU_AUX => {
            expect(&d, &|z, i, j| gelu(product(z, i, j)));
            expect(&auxiliary, &product);
        }
        E::CUBLASLT_EPILOGUE_GELU_AUX_BIAS => {
            expect(&d, &|z, i, j| gelu(biased(z, i, j)));
            expect(&auxiliary, &biased);
        }
        E::CUBLASLT_EPILOGUE_DGELU => expect(&d, &graded),
        E::CUBLASLT_EPILOGUE_DGELU_BGRAD => {
            expect(&d, &graded);
            let sum = |z, i, _| (0..n).map(|j| graded(z, i, j)).sum();
            bias.assert_is(&what, stream, n * k, &bias.with(sum));
        }
        E::CUBLASLT_EPILOGUE_BGRADA => {
            expect(&d, &product);
            expect(&bias, &|z, i, _| (0..k).map(|x| a.at(z, i, x, transpose_a)).sum());
        }
        E::CUBLASLT_EPILOGUE_BGRADB => {
            expect(&d, &product);
            expect(&bias, &|z, j, _| (0..k).map(|x| b.at(z, x, j, transpose_b)).sum());
        }
        other => panic!("{other:?}"),
    }
    untouched(&a);
    untouched(&b);
    untouched(&c);
}

/// Finds an algorithm and does the product.
fn multiply(
    stream: &Arc<CudaStream>,
    description: sys::cublasLtMatmulDesc_t,
    operands: [&Operand; 4],
    case: &Case,
) {
    let handle = lt::create_handle().unwrap();
    let layouts = operands.map(Operand::layout);
    let addresses = operands.map(|operand| operand.address(stream));
    let preference = lt::create_matmul_pref().unwrap();
    let workspace_bytes = 2usize << 20;
    // SAFETY: only the product writes here.
    let workspace = unsafe { stream.alloc::<u8>(workspace_bytes) }.unwrap();
    // SAFETY: all handles are alive, and the addresses are those of memory of the described shapes.
    unsafe {
        let most = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        lt::set_matmul_pref_attribute(preference, most, ptr::from_ref(&workspace_bytes).cast(), 8).unwrap();
        let [a, b, c, d] = layouts;
        let found = lt::get_matmul_algo_heuristic(handle, description, a, b, c, d, preference).unwrap();
        assert!(found.workspaceSize > 0, "a workspace is offered, and taken");
        lt::matmul(
            handle,
            description,
            ptr::from_ref(&case.alpha).cast(),
            ptr::from_ref(&case.beta).cast(),
            addresses[0] as *const c_void,
            a,
            addresses[1] as *const c_void,
            b,
            addresses[2] as *const c_void,
            c,
            addresses[3] as *mut c_void,
            d,
            &found.algo,
            workspace.device_ptr(stream).0 as *mut c_void,
            workspace_bytes,
            stream.cu_stream().cast(),
        )
        .unwrap();
        for layout in layouts {
            lt::destroy_matrix_layout(layout).unwrap();
        }
        lt::destroy_matmul_pref(preference).unwrap();
        lt::destroy_matmul_desc(description).unwrap();
        lt::destroy_handle(handle).unwrap();
    }
}

#[test]
fn lt_transposes_formats_batches_and_factors() {
    on_any_gpu("lt_transposes_formats_batches_and_factors", || {
        let (_context, stream) = gpu();
        use Type::{CUDA_R_16BF as BF16, CUDA_R_16F as F16, CUDA_R_32F as F32};
        let formats = [(BF16, BF16), (BF16, F32), (F16, F16), (F16, F32), (F32, F32)];
        for transposed in [[false, false], [false, true], [true, false], [true, true]] {
            for (inputs, output) in formats {
                check(&stream, &Case { transposed, inputs, output, ..PLAIN });
                let (batches, alpha, beta) = (3, -0.5, 2.0);
                check(&stream, &Case { transposed, inputs, output, batches, alpha, beta, ..PLAIN });
            }
        }
        for shape in [[1, 1, 1], [1, 64, 7], [65, 1, 3], [128, 3, 130]] {
            check(&stream, &Case { shape, beta: 1.0, ..PLAIN });
        }
        check(&stream, &Case { alpha: 0.0, beta: 0.5, ..PLAIN });
    });
}

#[test]
fn lt_epilogues() {
    on_any_gpu("lt_epilogues", || {
        let (_context, stream) = gpu();
        for epilogue in [
            Epilogue::CUBLASLT_EPILOGUE_RELU,
            Epilogue::CUBLASLT_EPILOGUE_BIAS,
            Epilogue::CUBLASLT_EPILOGUE_RELU_BIAS,
            Epilogue::CUBLASLT_EPILOGUE_GELU,
            Epilogue::CUBLASLT_EPILOGUE_GELU_BIAS,
            Epilogue::CUBLASLT_EPILOGUE_GELU_AUX,
            Epilogue::CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
            Epilogue::CUBLASLT_EPILOGUE_DGELU,
            Epilogue::CUBLASLT_EPILOGUE_DGELU_BGRAD,
            Epilogue::CUBLASLT_EPILOGUE_BGRADA,
            Epilogue::CUBLASLT_EPILOGUE_BGRADB,
        ] {
            for output in [Type::CUDA_R_16BF, Type::CUDA_R_32F] {
                check(&stream, &Case { epilogue, output, ..PLAIN });
                let (transposed, batches, beta) = ([true, true], 2, 1.0);
                check(&stream, &Case { epilogue, output, transposed, batches, beta, ..PLAIN });
            }
        }
    });
}

/// What cudarc's own layers call.
#[test]
fn safe_layers() {
    on_any_gpu("safe_layers", || {
        let (_context, stream) = gpu();
        let (m, n, k) = (19, 23, 31);
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
        let [a, b] = [numbers(2 * m * k, 1), numbers(2 * k * n, 2)];
        let device = [&a, &b].map(|values| stream.clone_htod(&single(values)).unwrap());
        let wanted = |z: usize| -> Vec<f64> {
            let at = |i: usize, j: usize| {
                (0..k).map(|x| a[z * m * k + i + x * m] * b[z * k * n + x + j * k]).sum()
            };
            (0..n).flat_map(|j| (0..m).map(move |i| (i, j))).map(|(i, j)| at(i, j)).collect()
        };
        let double = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        let library = CudaBlas::new(stream.clone()).unwrap();
        let gemm = GemmConfig {
            transa: blas::cublasOperation_t::CUBLAS_OP_N,
            transb: blas::cublasOperation_t::CUBLAS_OP_N,
            m: m as i32,
            n: n as i32,
            k: k as i32,
            alpha: 1f32,
            lda: m as i32,
            ldb: k as i32,
            beta: 0f32,
            ldc: m as i32,
        };
        let mut c = stream.alloc_zeros::<f32>(2 * m * n).unwrap();
        // SAFETY: the configuration describes the memory.
        unsafe { library.gemm(gemm, &device[0], &device[1], &mut c) }.unwrap();
        assert_close(
            "gemm",
            Type::CUDA_R_32F,
            k,
            &double(stream.clone_dtoh(&c).unwrap())[..m * n],
            &wanted(0),
        );
        let config = StridedBatchedConfig {
            gemm,
            batch_size: 2,
            stride_a: (m * k) as i64,
            stride_b: (k * n) as i64,
            stride_c: (m * n) as i64,
        };
        // SAFETY: as above.
        unsafe { library.gemm_strided_batched(config, &device[0], &device[1], &mut c) }.unwrap();
        let both = [wanted(0), wanted(1)].concat();
        assert_close("batched gemm", Type::CUDA_R_32F, k, &double(stream.clone_dtoh(&c).unwrap()), &both);

        let library = CudaBlasLT::new(stream.clone()).unwrap();
        let bias = numbers(m, 3);
        let device_bias = stream.clone_htod(&single(&bias)).unwrap();
        let config = MatmulConfig {
            transa: false,
            transb: false,
            transc: false,
            m: m as u64,
            n: n as u64,
            k: k as u64,
            alpha: 1.0,
            lda: m as i64,
            ldb: k as i64,
            beta: 0.0,
            ldc: m as i64,
            stride_a: None,
            stride_b: None,
            stride_c: None,
            stride_bias: None,
            batch_size: None,
        };
        let relu = cudarc::cublaslt::Activation::Relu;
        // SAFETY: the configuration describes the memory.
        unsafe { library.matmul(config, &device[0], &device[1], &mut c, Some(&device_bias), Some(&relu)) }
            .unwrap();
        let activated: Vec<f64> =
            wanted(0).iter().enumerate().map(|(index, value)| (value + bias[index % m]).max(0.0)).collect();
        assert_close(
            "matmul",
            Type::CUDA_R_32F,
            k,
            &double(stream.clone_dtoh(&c).unwrap())[..m * n],
            &activated,
        );
    });
}
