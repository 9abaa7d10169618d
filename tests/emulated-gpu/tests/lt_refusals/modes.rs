//! Products that cuBLASLt may refuse, and does in one of the modes of `EMULATED_GPU_BLAS`.

use cudarc::cublaslt::sys::cublasLtEpilogue_t as Epilogue;
use cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t as Attribute;
use cudarc::cublaslt::sys::{self, cublasStatus_t as Status, cudaDataType_t as Type};

use super::support::lt::Product;
use super::support::operand::Operand;
use super::{N, Sound, WORKSPACE, batched, prepare, support, with};

/// Searches and products that one of the modes of `EMULATED_GPU_BLAS` refuses, and that are found without it.
#[test]
fn what_a_library_may_refuse() {
    type Make = fn() -> Sound;
    let modes: [(&str, &str, Make); 12] = [
        ("no-epilogues", "no algorithm for an epilogue", || {
            with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_BIAS)
        }),
        ("no-auxiliary", "no algorithm for an epilogue with an auxiliary matrix", || {
            with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_GELU_AUX)
        }),
        ("no-unaligned", "columns of B that do not begin at multiples of 16 bytes", || {
            odd(Epilogue::CUBLASLT_EPILOGUE_DEFAULT)
        }),
        ("strict", "an epilogue with columns of B that do not begin", || {
            odd(Epilogue::CUBLASLT_EPILOGUE_BIAS)
        }),
        ("strict", "the gradient of GELU with D of F32", || {
            with(Type::CUDA_R_32F, Epilogue::CUBLASLT_EPILOGUE_DGELU)
        }),
        ("strict", "GELU with inputs of Bf16", || with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_GELU)),
        ("strict", "the gradient of GELU with D of F32", || {
            with(Type::CUDA_R_32F, Epilogue::CUBLASLT_EPILOGUE_DGELU_BGRAD)
        }),
        ("strict", "GELU with an auxiliary matrix in TF32", || {
            let epilogue = Epilogue::CUBLASLT_EPILOGUE_GELU_AUX;
            let sound = prepare(Sound::of(Type::CUDA_R_32F, Type::CUDA_R_32F, N), epilogue);
            let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32 as u32;
            sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, &compute.to_le_bytes());
            sound
        }),
        ("strict", "an epilogue in batches", || batched(Epilogue::CUBLASLT_EPILOGUE_BGRADA)),
        ("strict", "an epilogue with D of more bytes than the factors", || {
            with(Type::CUDA_R_32F, Epilogue::CUBLASLT_EPILOGUE_BIAS)
        }),
        ("strict", "an epilogue with C that does not lie as D does", apart),
        ("strict", "that is not aligned to 16 bytes", || {
            let sound = with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_BIAS);
            let moved = sound.operands[3].address(&sound.stream) + 2;
            sound.product.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &moved.to_le_bytes());
            sound
        }),
    ];
    for (index, (mode, report, make)) in modes.into_iter().enumerate() {
        let case = index.to_string();
        let search = || {
            let sound = make();
            let found = sound.product.find(WORKSPACE);
            if std::env::var_os("EMULATED_GPU_BLAS").is_some() {
                assert_eq!(found.map(drop).unwrap_err().0, Status::CUBLAS_STATUS_NOT_SUPPORTED);
                panic!("refused");
            }
            found.unwrap();
        };
        support::bug_with(
            "modes::what_a_library_may_refuse",
            &[("EMULATED_GPU_BLAS", mode), (support::CASE, &case)],
            &[report, "refused"],
            || {
                // A process of its own does one of the cases.
                if std::env::var(support::CASE).is_ok_and(|wanted| wanted == case) {
                    search();
                }
            },
        );
        support::eager_with("modes::what_a_library_may_refuse", &[(support::CASE, &case)], || {
            if std::env::var(support::CASE).is_ok_and(|wanted| wanted == case) {
                search();
            }
        });
    }
}

/// The factor of C is known to the product alone, not to the search.
#[test]
fn bias_gradient_with_c_added() {
    let reports = ["cublasLtMatmul", "an epilogue with β other than 0"];
    support::bug_with(
        "modes::bias_gradient_with_c_added",
        &[("EMULATED_GPU_BLAS", "strict")],
        &reports,
        || {
            let sound = with(Type::CUDA_R_16BF, Epilogue::CUBLASLT_EPILOGUE_BGRADB);
            sound.run(&sound.find().algo, 0, 0, WORKSPACE);
        },
    );
}

/// A product whose B has columns of 17 elements.
fn odd(epilogue: Epilogue) -> Sound {
    let sound = with(Type::CUDA_R_16BF, epilogue);
    let b = Operand::new(&sound.stream, Type::CUDA_R_16BF, [N, N], N + 1, 1, 2);
    let Sound { stream, operands: [a, _, c, d], scratch, .. } = sound;
    let product = Product::new([&a, &b, &c, &d]);
    product.set_epilogue(epilogue, (d.address(&stream), 0), (d.address(&stream), 16, 0));
    Sound { stream, product, operands: [a, b, c, d], scratch }
}

/// A product with a bias whose C has gaps between its columns.
fn apart() -> Sound {
    let epilogue = Epilogue::CUBLASLT_EPILOGUE_BIAS;
    let sound = with(Type::CUDA_R_16BF, epilogue);
    let c = Operand::new(&sound.stream, Type::CUDA_R_16BF, [N, N], 2 * N, 1, 3);
    let Sound { stream, operands: [a, b, _, d], scratch, .. } = sound;
    let product = Product::new([&a, &b, &c, &d]);
    prepare(Sound { stream, product, operands: [a, b, c, d], scratch }, epilogue)
}
