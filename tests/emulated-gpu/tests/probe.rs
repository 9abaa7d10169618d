//! Questions that only hardware answers. Each answer is a line that begins with `probe:`; on the emulated GPU the lines say
//! what it takes for granted. See `benches/gpu-kit/README.md`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use cudarc::cublaslt::sys::cublasLtEpilogue_t as Epilogue;
use cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t as Attribute;
use cudarc::cublaslt::sys::{self, cudaDataType_t as Type};
use cudarc::driver::{DevicePtr, LaunchConfig, PushKernelArg};
use support::approximate::{FUNCTIONS, NAMES, errors, operands};
use support::lt::Product;
use support::operand::Operand;
use support::{compile, gpu, on_any_gpu};

#[test]
fn errors_of_approximate_functions() {
    on_any_gpu("errors_of_approximate_functions", || {
        let (context, stream) = gpu();
        let header = include_str!("../kernels/device.cuh").replace("#pragma once", "");
        let source = include_str!("../kernels/approximations.cu").replace("#include \"device.cuh\"", &header);
        let function =
            context.load_module(compile(&source)).unwrap().load_function("approximations").unwrap();
        let x = operands();
        let x_memory = stream.clone_htod(&x).unwrap();
        let mut y = stream.alloc_zeros::<f32>(FUNCTIONS * x.len()).unwrap();
        let launch = LaunchConfig { grid_dim: (16, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        let count = x.len() as i32;
        // SAFETY: the arguments are those of the kernel.
        unsafe { stream.launch_builder(&function).arg(&x_memory).arg(&mut y).arg(&count).launch(launch) }
            .unwrap();
        let y: Vec<[f32; FUNCTIONS]> = stream.clone_dtoh(&y).unwrap().as_chunks().0.to_vec();
        println!(); // the harness has begun a line
        for (index, name) in NAMES.iter().enumerate() {
            let (moved, largest) = errors(index, &x, &y);
            println!(
                "probe: {name}: {moved} of {} not the nearest, at most {largest:.3} of the bound",
                x.len()
            );
            assert!(largest <= 1.0, "{name}: {largest} of the documented bound");
        }
    });
}

/// A product of cuBLASLt of which no text says that it is there.
struct Question {
    name: &'static str,
    inputs: Type,
    output: Type,
    epilogue: Epilogue,
    batches: usize,
    /// Added to the rows of A, B, C and D from one column to the next.
    gap: usize,
    beta: f32,
    /// Added to the address of the bias.
    bias_offset: u64,
    tf32: bool,
}

const PLAIN: Question = Question {
    name: "",
    inputs: Type::CUDA_R_16BF,
    output: Type::CUDA_R_16BF,
    epilogue: Epilogue::CUBLASLT_EPILOGUE_DEFAULT,
    batches: 1,
    gap: 0,
    beta: 0.0,
    bias_offset: 0,
    tf32: false,
};

fn questions() -> Vec<Question> {
    use Epilogue as E;
    let (f32, f16) = (Type::CUDA_R_32F, Type::CUDA_R_16F);
    let of = |name, epilogue| Question { name, epilogue, ..PLAIN };
    vec![
        of("plain", E::CUBLASLT_EPILOGUE_DEFAULT),
        of("bias", E::CUBLASLT_EPILOGUE_BIAS),
        of("GELU", E::CUBLASLT_EPILOGUE_GELU),
        of("GELU and bias", E::CUBLASLT_EPILOGUE_GELU_BIAS),
        of("GELU, bias, auxiliary matrix", E::CUBLASLT_EPILOGUE_GELU_AUX_BIAS),
        of("gradient of GELU", E::CUBLASLT_EPILOGUE_DGELU),
        of("gradients of GELU and bias", E::CUBLASLT_EPILOGUE_DGELU_BGRAD),
        Question { inputs: f16, output: f16, ..of("GELU in f16", E::CUBLASLT_EPILOGUE_GELU_AUX_BIAS) },
        Question { output: f32, ..of("gradient of GELU, D in f32", E::CUBLASLT_EPILOGUE_DGELU) },
        Question {
            output: f32,
            ..of("gradients of GELU and bias, D in f32", E::CUBLASLT_EPILOGUE_DGELU_BGRAD)
        },
        Question { output: f32, ..of("bias gradient of B, D in f32", E::CUBLASLT_EPILOGUE_BGRADB) },
        Question { batches: 2, ..of("bias gradient of A in batches", E::CUBLASLT_EPILOGUE_BGRADA) },
        Question { batches: 2, ..of("bias gradient of B in batches", E::CUBLASLT_EPILOGUE_BGRADB) },
        Question {
            beta: 1.0,
            output: f32,
            ..of("bias gradient of B, beta 1, D in f32", E::CUBLASLT_EPILOGUE_BGRADB)
        },
        Question {
            inputs: f32,
            output: f32,
            tf32: true,
            ..of("GELU, auxiliary matrix, TF32", E::CUBLASLT_EPILOGUE_GELU_AUX)
        },
        Question { batches: 2, ..of("bias in batches", E::CUBLASLT_EPILOGUE_BIAS) },
        Question { beta: 1.0, ..of("bias, beta 1", E::CUBLASLT_EPILOGUE_BIAS) },
        Question {
            beta: 1.0,
            ..of("GELU, bias, auxiliary matrix, beta 1", E::CUBLASLT_EPILOGUE_GELU_AUX_BIAS)
        },
        Question { output: f32, ..of("bias, D in f32", E::CUBLASLT_EPILOGUE_BIAS) },
        Question {
            gap: 1,
            output: f32,
            ..of("odd leading dimensions and GELU, D in f32", E::CUBLASLT_EPILOGUE_GELU_AUX)
        },
        Question { bias_offset: 2, ..of("bias at 2 mod 16", E::CUBLASLT_EPILOGUE_BIAS) },
        Question { bias_offset: 8, ..of("bias at 8 mod 16", E::CUBLASLT_EPILOGUE_BIAS) },
        Question { gap: 1, ..of("odd leading dimensions", E::CUBLASLT_EPILOGUE_DEFAULT) },
        Question { gap: 1, ..of("odd leading dimensions and a bias", E::CUBLASLT_EPILOGUE_BIAS) },
        Question { gap: 1, ..of("odd leading dimensions and GELU", E::CUBLASLT_EPILOGUE_GELU_AUX_BIAS) },
    ]
}

#[test]
fn products_that_no_text_promises() {
    on_any_gpu("products_that_no_text_promises", || {
        const N: usize = 64;
        let (_context, stream) = gpu();
        println!(); // the harness has begun a line
        for question in questions() {
            let Question { name, inputs, output, epilogue, batches, gap, beta, bias_offset, tf32 } = question;
            let operand = |kind, seed| Operand::new(&stream, kind, [N, N], N + gap, batches, seed);
            let operands = [operand(inputs, 1), operand(inputs, 2), operand(output, 3), operand(output, 4)];
            let [a, b, c, d] = &operands;
            let (bias, auxiliary) =
                (operand(output, 5), Operand::new(&stream, output, [N, N], N, batches, 6));
            let product = Product::new([a, b, c, d]);
            let bias_place = (bias.address(&stream) + bias_offset, bias.stride());
            product.set_epilogue(epilogue, bias_place, (auxiliary.address(&stream), N, auxiliary.stride()));
            if epilogue == Epilogue::CUBLASLT_EPILOGUE_BGRADB {
                product.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &1_u32.to_le_bytes());
            }
            if tf32 {
                let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32 as u32;
                product.set(Attribute::CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, &compute.to_le_bytes());
            }
            let bytes = 4 << 20;
            // SAFETY: only the product writes here.
            let scratch = unsafe { stream.alloc::<u8>(bytes) }.unwrap();
            let answer = match product.find(bytes) {
                Err(error) => format!("no algorithm: {:?}", error.0),
                Ok(found) => {
                    let addresses = operands.each_ref().map(|operand| operand.address(&stream));
                    let workspace = (scratch.device_ptr(&stream).0, bytes);
                    let done = product.run(&stream, &found.algo, [1.0, beta], addresses, workspace);
                    let done = done.map_err(|error| format!("{:?}", error.0));
                    let waited = stream.synchronize().map_err(|error| format!("{:?}", error.0));
                    match done.and(waited) {
                        Ok(()) => "runs".into(),
                        Err(error) => format!("an algorithm, and {error}"),
                    }
                }
            };
            println!("probe: cublasLt: {name}: {answer}");
        }
    });
}
