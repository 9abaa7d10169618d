//! cuBLAS, and the calls that cudarc's own layers over cuBLAS and cuBLASLt make.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::ffi::c_void;

use cudarc::cublas::{CudaBlas, Gemm, GemmConfig, StridedBatchedConfig, sys as blas};
use cudarc::cublaslt::sys::cudaDataType_t as Type;
use cudarc::cublaslt::{CudaBlasLT, Matmul, MatmulConfig};
use cudarc::driver::DevicePtr;
use support::operand::{Operand, assert_close, numbers};
use support::{gpu, on_any_gpu};

#[test]
fn gemm_and_matmul() {
    on_any_gpu("gemm_and_matmul", || {
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

/// f16 and bf16, results in f32, factors read from device memory when the product is done.
#[test]
fn mixed_formats_with_factors_on_the_device() {
    on_any_gpu("mixed_formats_with_factors_on_the_device", || {
        let (_context, stream) = gpu();
        let library = CudaBlas::new(stream.clone()).unwrap();
        let (m, n, k) = (17, 5, 33);
        for inputs in [Type::CUDA_R_16F, Type::CUDA_R_16BF] {
            let a = Operand::new(&stream, inputs, [k, m], k + 1, 2, 1);
            let b = Operand::new(&stream, inputs, [k, n], k, 2, 2);
            let c = Operand::new(&stream, Type::CUDA_R_32F, [m, n], m, 2, 3);
            let mut factors = stream.clone_htod(&[9f32, 9.0]).unwrap();
            let [alpha, beta] =
                [0, 4].map(|offset| (factors.device_ptr(&stream).0 + offset) as *const c_void);
            let number = |kind| {
                if kind == Type::CUDA_R_16F {
                    blas::cudaDataType::CUDA_R_16F
                } else {
                    blas::cudaDataType::CUDA_R_16BF
                }
            };
            stream.memcpy_htod(&[0.5f32, -1.0], &mut factors).unwrap();
            // SAFETY: the handle is alive, and the memory is as described.
            unsafe {
                let handle = *library.handle();
                blas::cublasSetPointerMode_v2(handle, blas::cublasPointerMode_t::CUBLAS_POINTER_MODE_DEVICE)
                    .result()
                    .unwrap();
                blas::cublasGemmStridedBatchedEx(
                    handle,
                    blas::cublasOperation_t::CUBLAS_OP_T,
                    blas::cublasOperation_t::CUBLAS_OP_N,
                    m as i32,
                    n as i32,
                    k as i32,
                    alpha,
                    a.address(&stream) as *const c_void,
                    number(inputs),
                    a.leading_dimension as i32,
                    a.stride() as i64,
                    b.address(&stream) as *const c_void,
                    number(inputs),
                    b.leading_dimension as i32,
                    b.stride() as i64,
                    beta,
                    c.address(&stream) as *mut c_void,
                    blas::cudaDataType::CUDA_R_32F,
                    c.leading_dimension as i32,
                    c.stride() as i64,
                    2,
                    blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                    blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
                )
                .result()
                .unwrap();
            }
            let wanted = c.with(|z, i, j| {
                let sum: f64 = (0..k).map(|x| a.at(z, i, x, true) * b.at(z, x, j, false)).sum();
                0.5 * sum - c.at(z, i, j, false)
            });
            c.assert_is("mixed product", &stream, k, &wanted);
        }
    });
}
