//! Products of cuBLASLt that are described wrongly: each is refused, with the reason on stderr.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod modes;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use cudarc::cublaslt::sys::cublasLtEpilogue_t as Epilogue;
use cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t as Attribute;
use cudarc::cublaslt::sys::{self, cublasStatus_t as Status, cudaDataType_t as Type};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use support::lt::Product;
use support::operand::Operand;
use support::{bug, gpu};

const N: usize = 16;
const WORKSPACE: usize = 1 << 20;

/// A good product of four 16 × 16 matrices, to be spoiled.
struct Sound {
    stream: Arc<CudaStream>,
    product: Product,
    operands: [Operand; 4],
    scratch: CudaSlice<u8>,
}

impl Sound {
    fn new() -> Self {
        Self::of(Type::CUDA_R_16BF, Type::CUDA_R_16BF, N)
    }

    fn of(inputs: Type, output: Type, rows_of_b: usize) -> Self {
        let (_context, stream) = gpu();
        let operand = |kind, rows, seed| Operand::new(&stream, kind, [rows, N], rows, 1, seed);
        let operands = [
            operand(inputs, N, 1),
            operand(inputs, rows_of_b, 2),
            operand(output, N, 3),
            operand(output, N, 4),
        ];
        let [a, b, c, d] = &operands;
        let product = Product::new([a, b, c, d]);
        // SAFETY: only products write here.
        let scratch = unsafe { stream.alloc::<u8>(WORKSPACE) }.unwrap();
        Self { stream, product, operands, scratch }
    }

    fn find(&self) -> sys::cublasLtMatmulHeuristicResult_t {
        self.product.find(WORKSPACE).unwrap()
    }

    /// Does the product with the address of one operand moved by `offset` bytes.
    fn run(&self, algorithm: &sys::cublasLtMatmulAlgo_t, moved: usize, offset: u64, workspace_bytes: usize) {
        let mut addresses = self.operands.each_ref().map(|operand| operand.address(&self.stream));
        addresses[moved] += offset;
        let workspace = (self.scratch.device_ptr(&self.stream).0, workspace_bytes);
        self.product.run(&self.stream, algorithm, [1.0, 1.0], addresses, workspace).unwrap();
        self.stream.synchronize().unwrap();
    }
}

/// Runs `program` with streams eager: refusals do not depend on it.
fn refused(test: &str, reports: &[&str], program: impl FnOnce()) {
    bug(test, "eager", reports, program);
}

#[test]
fn the_sound_product_is_sound() {
    support::eager_and_late("the_sound_product_is_sound", || {
        let sound = Sound::new();
        sound.run(&sound.find().algo, 0, 0, WORKSPACE);
    });
}

#[test]
fn shapes_that_do_not_fit() {
    let reports =
        ["cublasLtMatmulAlgoGetHeuristic", "B is 15 x 16 with leading dimension 15", "ask for 16 x 16"];
    refused("shapes_that_do_not_fit", &reports, || {
        Sound::of(Type::CUDA_R_16BF, Type::CUDA_R_16BF, N - 1).find();
    });
}

#[test]
fn formats_that_do_not_go_together() {
    let reports = ["no product of Bf16 (A) and Bf16 (B) with F16 (C) gives F16 (D)"];
    refused("formats_that_do_not_go_together", &reports, || {
        Sound::of(Type::CUDA_R_16BF, Type::CUDA_R_16F, N).find();
    });
}

#[test]
fn operand_that_is_not_aligned_as_promised() {
    let reports = ["B at 0x", "is not aligned to 16 bytes", "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES"];
    refused("operand_that_is_not_aligned_as_promised", &reports, || {
        let sound = Sound::new();
        sound.run(&sound.find().algo, 1, 2, WORKSPACE);
    });
}

#[test]
fn workspace_that_is_too_small() {
    let reports = ["a workspace of 1048575 bytes; the algorithm needs 1048576"];
    refused("workspace_that_is_too_small", &reports, || {
        let sound = Sound::new();
        sound.run(&sound.find().algo, 0, 0, WORKSPACE - 1);
    });
}

#[test]
fn workspace_that_is_not_there() {
    let reports =
        ["cublasLtMatmul of m 16, n 16, k 16 failed", "the workspace: ", "outside every allocation"];
    refused("workspace_that_is_not_there", &reports, || {
        let sound = Sound::new();
        let addresses = sound.operands.each_ref().map(|operand| operand.address(&sound.stream));
        let end = sound.scratch.device_ptr(&sound.stream).0 + 256;
        let found = sound.find();
        sound.product.run(&sound.stream, &found.algo, [1.0, 0.0], addresses, (end, WORKSPACE)).unwrap();
    });
}

#[test]
fn workspace_that_holds_an_operand() {
    let reports = ["cublasLtMatmul of m 16, n 16, k 16 failed", "A: ", "never written"];
    refused("workspace_that_holds_an_operand", &reports, || {
        let mut sound = Sound::new();
        sound.stream.memset_zeros(&mut sound.scratch).unwrap();
        let mut addresses = sound.operands.each_ref().map(|operand| operand.address(&sound.stream));
        let workspace = sound.scratch.device_ptr(&sound.stream).0;
        addresses[0] = workspace + 1024;
        let found = sound.find();
        sound.product.run(&sound.stream, &found.algo, [1.0, 0.0], addresses, (workspace, WORKSPACE)).unwrap();
    });
}

#[test]
fn algorithm_that_nobody_found() {
    refused("algorithm_that_nobody_found", &["the algorithm does not come from a heuristic search"], || {
        Sound::new().run(&sys::cublasLtMatmulAlgo_t { data: [0; 8] }, 0, 0, WORKSPACE);
    });
}

fn with_epilogue(epilogue: Epilogue) -> Sound {
    let sound = Sound::new();
    sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(epilogue as u32).to_le_bytes());
    sound
}

#[test]
fn bias_that_is_not_there() {
    refused("bias_that_is_not_there", &["epilogue 4 without CUBLASLT_MATMUL_DESC_BIAS_POINTER"], || {
        with_epilogue(Epilogue::CUBLASLT_EPILOGUE_BIAS).find();
    });
}

#[test]
fn auxiliary_matrix_with_a_bad_leading_dimension() {
    let reports = ["auxiliary leading dimension 20; wanted a multiple of 8, at least the 16 rows of D"];
    refused("auxiliary_matrix_with_a_bad_leading_dimension", &reports, || {
        let sound = with_epilogue(Epilogue::CUBLASLT_EPILOGUE_GELU_AUX);
        let address = sound.operands[3].address(&sound.stream);
        sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &address.to_le_bytes());
        sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &20i64.to_le_bytes());
        sound.find();
    });
}

#[test]
fn epilogue_that_is_not_emulated() {
    refused("epilogue_that_is_not_emulated", &["cublasLtEpilogue 130 is not emulated"], || {
        with_epilogue(Epilogue::CUBLASLT_EPILOGUE_RELU_AUX).find();
    });
}

#[test]
fn attribute_that_is_not_emulated() {
    refused("attribute_that_is_not_emulated", &["matmul description attribute 25 is not emulated"], || {
        Sound::new().product.set(Attribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM, &1u32.to_le_bytes());
    });
}

#[test]
fn attribute_of_the_wrong_size() {
    refused(
        "attribute_of_the_wrong_size",
        &["a value of 8 bytes for a matmul description attribute that takes 4"],
        || {
            Sound::new().product.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &1u64.to_le_bytes());
        },
    );
}

/// The status a caller sees, without the reason.
#[test]
fn statuses() {
    support::eager_and_late("statuses", || {
        let status = |sound: Sound| sound.product.find(WORKSPACE).unwrap_err().0;
        let ragged = Sound::of(Type::CUDA_R_16BF, Type::CUDA_R_16BF, N - 1);
        assert_eq!(status(ragged), Status::CUBLAS_STATUS_INVALID_VALUE);
        let mixed = Sound::of(Type::CUDA_R_16BF, Type::CUDA_R_16F, N);
        assert_eq!(status(mixed), Status::CUBLAS_STATUS_NOT_SUPPORTED);
    });
}

/// A product of bf16 with another output, an epilogue, and an auxiliary matrix of 16 rows.
fn with(output: Type, epilogue: Epilogue) -> Sound {
    prepare(Sound::of(Type::CUDA_R_16BF, output, N), epilogue)
}

/// Two products at a time.
fn batched(epilogue: Epilogue) -> Sound {
    let Sound { stream, scratch, .. } = Sound::new();
    let operands = [1, 2, 3, 4].map(|seed| Operand::new(&stream, Type::CUDA_R_16BF, [N, N], N, 2, seed));
    let product = Product::new(operands.each_ref());
    prepare(Sound { stream, product, operands, scratch }, epilogue)
}

/// Gives the product an epilogue, with D in the place of bias and auxiliary matrix, and B as the epilogue wants it.
fn prepare(sound: Sound, epilogue: Epilogue) -> Sound {
    let address = sound.operands[3].address(&sound.stream);
    sound.product.set_epilogue(epilogue, (address, 0), (address, 16, 0));
    let of_b = u32::from(epilogue == Epilogue::CUBLASLT_EPILOGUE_BGRADB);
    sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &of_b.to_le_bytes());
    sound
}

/// A search finds it all the same.
#[test]
fn bias_that_nobody_wants() {
    let reports = ["cublasLtMatmul: ", "epilogue 32 with CUBLASLT_MATMUL_DESC_BIAS_POINTER"];
    refused("bias_that_nobody_wants", &reports, || {
        let sound = with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_GELU);
        let address = sound.operands[3].address(&sound.stream);
        sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &address.to_le_bytes());
        sound.run(&sound.find().algo, 0, 0, WORKSPACE);
    });
}

#[test]
fn auxiliary_matrix_that_nobody_wants() {
    let reports = ["cublasLtMatmul: ", "epilogue 36 with CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER"];
    refused("auxiliary_matrix_that_nobody_wants", &reports, || {
        let sound = with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_GELU_BIAS);
        let address = sound.operands[3].address(&sound.stream);
        sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &address.to_le_bytes());
        sound.run(&sound.find().algo, 0, 0, WORKSPACE);
    });
}

#[test]
fn bias_gradient_of_a_factor_that_lies_otherwise() {
    use Attribute::{CUBLASLT_MATMUL_DESC_TRANSA as TRANSA, CUBLASLT_MATMUL_DESC_TRANSB as TRANSB};
    use Epilogue::{CUBLASLT_EPILOGUE_BGRADA as BGRADA, CUBLASLT_EPILOGUE_BGRADB as BGRADB};
    let cases =
        [(BGRADA, TRANSA, 1_u32, "A, with A transposed"), (BGRADB, TRANSB, 0, "B, with B not transposed")];
    for (index, (epilogue, attribute, transposed, words)) in cases.into_iter().enumerate() {
        let case = index.to_string();
        support::bug_with(
            "bias_gradient_of_a_factor_that_lies_otherwise",
            &[(support::CASE, &case)],
            &["cublasLtMatmulAlgoGetHeuristic", &format!("the bias gradient of {words}")],
            || {
                // A process of its own does one of the cases.
                if std::env::var(support::CASE).is_ok_and(|wanted| wanted == case) {
                    let sound = with(Type::CUDA_R_16BF, epilogue);
                    sound.product.set(attribute, &transposed.to_le_bytes());
                    sound.find();
                }
            },
        );
    }
}

#[test]
fn bias_of_another_format_than_d() {
    another_format("bias_of_another_format_than_d", Epilogue::CUBLASLT_EPILOGUE_BIAS);
}

#[test]
fn bias_gradient_of_another_format_than_d() {
    another_format("bias_gradient_of_another_format_than_d", Epilogue::CUBLASLT_EPILOGUE_BGRADB);
}

fn another_format(test: &str, epilogue: Epilogue) {
    refused(test, &["a bias, or its gradient, of Bf16 with D of F32: it has D's format"], || {
        let sound = with(Type::CUDA_R_32F, epilogue);
        let bf16 = (Type::CUDA_R_16BF as u32).to_le_bytes();
        sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bf16);
        sound.find();
    });
}

#[test]
fn compute_type_for_f32_with_bf16() {
    let reports = ["COMPUTE_32F_FAST_Tf32 with A of Bf16 and D of Bf16: it is for F32"];
    refused("compute_type_for_f32_with_bf16", &reports, || {
        let sound = Sound::new();
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32 as u32;
        sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, &compute.to_le_bytes());
        sound.find();
    });
}

#[test]
fn workspace_that_is_not_aligned() {
    refused("workspace_that_is_not_aligned", &["the workspace at 0x", "is not aligned to 256 bytes"], || {
        let sound = Sound::new();
        let addresses = sound.operands.each_ref().map(|operand| operand.address(&sound.stream));
        let workspace = sound.scratch.device_ptr(&sound.stream).0 + 16;
        let found = sound.product.find(WORKSPACE - 256).unwrap();
        sound
            .product
            .run(&sound.stream, &found.algo, [1.0, 0.0], addresses, (workspace, WORKSPACE - 256))
            .unwrap();
    });
}

#[test]
fn auxiliary_batch_stride_that_is_odd() {
    let reports = ["auxiliary batch stride 257; wanted a multiple of 8"];
    refused("auxiliary_batch_stride_that_is_odd", &reports, || {
        let (_context, stream) = gpu();
        let operand = |seed| Operand::new(&stream, Type::CUDA_R_16BF, [N, N], N, 2, seed);
        let operands = [operand(1), operand(2), operand(3), operand(4)];
        let [a, b, c, d] = &operands;
        let product = Product::new([a, b, c, d]);
        let epilogue = Epilogue::CUBLASLT_EPILOGUE_GELU_AUX;
        product.set_epilogue(epilogue, (0, 0), (d.address(&stream), 16, 257));
        product.find(WORKSPACE).unwrap();
    });
}

#[test]
fn bias_less_aligned_than_at_the_search() {
    let reports = ["the bias at 0x", "is less aligned than it was at the search (16 bytes)"];
    refused("bias_less_aligned_than_at_the_search", &reports, || {
        let sound = with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_BIAS);
        let found = sound.find();
        let moved = sound.operands[3].address(&sound.stream) + 2;
        sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &moved.to_le_bytes());
        sound.run(&found.algo, 0, 0, WORKSPACE);
    });
}

/// A search sees a pointer that is aligned; the product comes with another.
#[test]
fn auxiliary_matrix_less_aligned_than_at_the_search() {
    let reports = ["cublasLtMatmul: ", "the auxiliary matrix at 0x", "is not aligned to 16 bytes"];
    refused("auxiliary_matrix_less_aligned_than_at_the_search", &reports, || {
        let sound = with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_GELU_AUX);
        let found = sound.find();
        let moved = sound.operands[3].address(&sound.stream) + 8;
        sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &moved.to_le_bytes());
        sound.run(&found.algo, 0, 0, WORKSPACE);
    });
}

#[test]
fn algorithm_found_for_another_epilogue() {
    let reports = ["the algorithm was found for a product with another epilogue, transpose or compute type"];
    refused("algorithm_found_for_another_epilogue", &reports, || {
        let found = Sound::new().find();
        with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_BIAS).run(&found.algo, 0, 0, WORKSPACE);
    });
}

#[test]
fn algorithm_found_for_another_format() {
    let reports = ["the algorithm was found for a product with other formats"];
    refused("algorithm_found_for_another_format", &reports, || {
        let found = Sound::new().find();
        Sound::of(Type::CUDA_R_16BF, Type::CUDA_R_32F, N).run(&found.algo, 0, 0, WORKSPACE);
    });
}

#[test]
fn algorithm_found_for_other_leading_dimensions() {
    let reports = ["the algorithm was found for a product with other sizes, leading dimensions or batches"];
    refused("algorithm_found_for_other_leading_dimensions", &reports, || {
        let sound = Sound::new();
        let found = sound.find();
        let wide = Operand::new(&sound.stream, Type::CUDA_R_16BF, [N, N], N + 8, 1, 5);
        let [_, b, c, d] = &sound.operands;
        let product = Product::new([&wide, b, c, d]);
        let addresses = [&wide, b, c, d].map(|operand| operand.address(&sound.stream));
        let workspace = (sound.scratch.device_ptr(&sound.stream).0, WORKSPACE);
        product.run(&sound.stream, &found.algo, [1.0, 1.0], addresses, workspace).unwrap();
    });
}

/// One that was asked about them may be used for them; one of another kind of product may not.
#[test]
fn algorithm_checked_for_other_leading_dimensions() {
    support::eager_and_late("algorithm_checked_for_other_leading_dimensions", || {
        let sound = Sound::new();
        let found = sound.find();
        let wide = Operand::new(&sound.stream, Type::CUDA_R_16BF, [N, N], N + 8, 1, 5);
        let [_, b, c, d] = &sound.operands;
        let product = Product::new([&wide, b, c, d]);
        product.check(&found.algo).unwrap();
        let addresses = [&wide, b, c, d].map(|operand| operand.address(&sound.stream));
        let workspace = (sound.scratch.device_ptr(&sound.stream).0, WORKSPACE);
        product.run(&sound.stream, &found.algo, [1.0, 1.0], addresses, workspace).unwrap();
        let other = with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_BIAS).product.check(&found.algo);
        assert_eq!(other.unwrap_err().0, Status::CUBLAS_STATUS_NOT_SUPPORTED);
        let made_up = sys::cublasLtMatmulAlgo_t { data: [1; 8] };
        assert_eq!(product.check(&made_up).unwrap_err().0, Status::CUBLAS_STATUS_INVALID_VALUE);
    });
}
