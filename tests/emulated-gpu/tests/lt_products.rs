//! Products of cuBLASLt against f64, on ragged shapes, with C and D apart and gaps between columns and batches.
//!
//! The real library need not have an epilogue, and may do it in a kernel of its own, which finds the product in D: rounded.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cudarc::cublaslt::sys::cublasLtEpilogue_t as Epilogue;
use cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t as Attribute;
use cudarc::cublaslt::sys::{self, cudaDataType_t as Type};
use cudarc::driver::{CudaStream, DevicePtr};
use emulated_gpu::blas::mode::BLAS;
use support::lt::Product;
use support::operand::{Operand, assert_within, roundoff};
use support::{gpu, on_any_gpu};

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

/// The steepest slope of GELU, where it is √2: what is rounded before GELU, or before its derivative is multiplied with it, is off by so much
/// more behind it at most.
const STEEPEST: f64 = 1.13;

/// Whether an epilogue may find the product rounded to D's format.
fn is_unfused() -> bool {
    emulated_gpu::setup::real() || std::env::var_os(BLAS).is_some()
}

/// Checks all, and names those that fail: a GPU is not at hand for long.
fn check_all(stream: &Arc<CudaStream>, cases: impl IntoIterator<Item = Case>) {
    let fails = |case: &Case| catch_unwind(AssertUnwindSafe(|| check(stream, case))).is_err();
    let failed: Vec<_> = cases.into_iter().filter(fails).collect();
    assert!(failed.is_empty(), "what is wrong is said above of each: {failed:#?}");
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

    let described = Product::new([&a, &b, &c, &d]);
    let set = |attribute, value: &[u8]| described.set(attribute, value);
    set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &u32::from(transpose_a).to_le_bytes());
    set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &u32::from(transpose_b).to_le_bytes());
    let bias_place = (bias.address(stream), bias.stride());
    let matrix = (auxiliary.address(stream), auxiliary.leading_dimension, auxiliary.stride());
    described.set_epilogue(case.epilogue, bias_place, matrix);
    let workspace_bytes = 2 << 20;
    // SAFETY: only the product writes here.
    let scratch = unsafe { stream.alloc::<u8>(workspace_bytes) }.unwrap();
    let workspace = (scratch.device_ptr(stream).0, workspace_bytes);
    let addresses = [&a, &b, &c, &d].map(|operand| operand.address(stream));
    let done = described
        .find(workspace_bytes)
        .and_then(|found| described.run(stream, &found.algo, [case.alpha, case.beta], addresses, workspace));
    match done {
        Ok(()) => {}
        Err(refused) if emulated_gpu::setup::real() && case.epilogue != E::CUBLASLT_EPILOGUE_DEFAULT => {
            return println!("probe: cublasLt: {case:?}: {refused}");
        }
        Err(refused) => panic!("{case:?}: {refused}"),
    }

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
    let roundoff = if is_unfused() { roundoff(case.output) } else { 0.0 };
    // The same behind an epilogue that finds `before`, maybe rounded.
    let expect_behind = |terms: usize,
                         operand: &Operand,
                         before: &dyn Fn(usize, usize, usize) -> f64,
                         values: &dyn Fn(usize, usize, usize) -> f64| {
        let more = operand
            .filled(vec![0.0; operand.values.len()], |z, i, j| STEEPEST * roundoff * before(z, i, j).abs());
        assert_within(&what, operand.kind, terms, &operand.read(stream), &operand.with(values), &more);
    };
    let untouched = |operand: &Operand| operand.assert_is(&what, stream, 0, &operand.values);
    let graded = |z, i, j| product(z, i, j) * gelu_gradient(auxiliary.at(z, i, j, false));
    match case.epilogue {
        E::CUBLASLT_EPILOGUE_DEFAULT => expect(&d, &product),
        E::CUBLASLT_EPILOGUE_RELU => expect_behind(k, &d, &product, &|z, i, j| product(z, i, j).max(0.0)),
        E::CUBLASLT_EPILOGUE_RELU_BIAS => expect_behind(k, &d, &product, &|z, i, j| biased(z, i, j).max(0.0)),
        E::CUBLASLT_EPILOGUE_BIAS => expect_behind(k, &d, &product, &biased),
        E::CUBLASLT_EPILOGUE_GELU => expect_behind(k, &d, &product, &|z, i, j| gelu(product(z, i, j))),
        E::CUBLASLT_EPILOGUE_GELU_BIAS => expect_behind(k, &d, &product, &|z, i, j| gelu(biased(z, i, j))),
        E::CUBLASLT_EPILOGUE_GELU_AUX => {
            expect_behind(k, &d, &product, &|z, i, j| gelu(product(z, i, j)));
            expect(&auxiliary, &product);
        }
        E::CUBLASLT_EPILOGUE_GELU_AUX_BIAS => {
            expect_behind(k, &d, &product, &|z, i, j| gelu(biased(z, i, j)));
            expect_behind(k, &auxiliary, &product, &biased);
        }
        E::CUBLASLT_EPILOGUE_DGELU => expect_behind(k, &d, &product, &graded),
        E::CUBLASLT_EPILOGUE_DGELU_BGRAD => {
            expect_behind(k, &d, &product, &graded);
            let sum =
                |of: &dyn Fn(usize, usize, usize) -> f64, z, i| (0..n).map(|j| of(z, i, j)).sum::<f64>();
            // Each of the sum's numbers is rounded before its derivative, and behind it.
            let sizes = |z, i, j| product(z, i, j).abs() + graded(z, i, j).abs();
            expect_behind(n * k, &bias, &|z, i, _| sum(&sizes, z, i), &|z, i, _| sum(&graded, z, i));
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

#[test]
fn transposes_formats_batches_and_factors() {
    on_any_gpu("transposes_formats_batches_and_factors", || {
        let (_context, stream) = gpu();
        use Type::{CUDA_R_16BF as BF16, CUDA_R_16F as F16, CUDA_R_32F as F32};
        let mut cases = vec![Case { alpha: 0.0, beta: 0.5, ..PLAIN }];
        for transposed in [[false, false], [false, true], [true, false], [true, true]] {
            for (inputs, output) in [(BF16, BF16), (BF16, F32), (F16, F16), (F16, F32), (F32, F32)] {
                let case = Case { transposed, inputs, output, ..PLAIN };
                cases.extend([case.clone(), Case { batches: 3, alpha: -0.5, beta: 2.0, ..case }]);
            }
        }
        let shapes = [[1, 1, 1], [1, 64, 7], [65, 1, 3], [128, 3, 130]];
        check_all(&stream, cases.into_iter().chain(shapes.map(|shape| Case { shape, beta: 1.0, ..PLAIN })));
    });
}

fn every_epilogue() -> Vec<Case> {
    let mut cases = Vec::new();
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
            // The sums of a factor are there as it lies in memory, its columns as long as D's.
            let sums = [Epilogue::CUBLASLT_EPILOGUE_BGRADA, Epilogue::CUBLASLT_EPILOGUE_BGRADB];
            let [of_a, of_b] = sums.map(|sums| sums == epilogue);
            cases.push(Case { epilogue, output, transposed: [false, of_b], ..PLAIN });
            cases.push(Case { epilogue, output, transposed: [!of_a, true], batches: 2, beta: 1.0, ..PLAIN });
        }
    }
    cases
}

#[test]
fn epilogues() {
    on_any_gpu("epilogues", || check_all(&gpu().1, every_epilogue()));
}

#[test]
fn epilogues_behind_products() {
    support::eager_with("epilogues_behind_products", &[(BLAS, "unfused")], || {
        check_all(&gpu().1, every_epilogue());
    });
}

/// How an algorithm adds up parts of a sum, as it says itself.
fn scheme(algorithm: &sys::cublasLtMatmulAlgo_t) -> u32 {
    let attribute = sys::cublasLtMatmulAlgoConfigAttributes_t::CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME;
    let (mut scheme, mut written) = (u32::MAX, 0);
    // SAFETY: the algorithm comes from a search, and the value has 4 bytes.
    let asked = unsafe {
        let value = (&raw mut scheme).cast();
        sys::cublasLtMatmulAlgoConfigGetAttribute(algorithm, attribute, value, 4, &mut written)
    };
    asked.result().unwrap();
    assert_eq!(written, 4);
    scheme
}

/// A search gives as many as are wanted of those that are allowed. Sums in parts are other sums, of the same numbers.
#[test]
fn algorithms_add_up_in_ways_of_their_own() {
    const NONE: u32 = 0;
    const IN_PLACE: u32 = 1;
    const APART: u32 = 2;
    support::eager_and_late("algorithms_add_up_in_ways_of_their_own", || {
        let (_context, stream) = gpu();
        let [m, n, k] = [16, 8, 100];
        let operand = |kind, rows, columns, seed| Operand::new(&stream, kind, [rows, columns], rows, 1, seed);
        let (inputs, output) = (Type::CUDA_R_16BF, Type::CUDA_R_32F);
        let [mut a, b] = [operand(inputs, m, k, 1), operand(inputs, k, n, 2)];
        // Of so many sizes that sums are rounded.
        let sizes = (0..).map(|index: usize| 2_f64.powi(-((index / m % 16) as i32)));
        let smaller: Vec<_> = a.values.iter().zip(sizes).map(|(value, size)| value * size).collect();
        a.fill(&stream, &smaller);
        let [c, d] = [operand(output, m, n, 3), operand(output, m, n, 4)];
        let product = Product::new([&a, &b, &c, &d]);
        let schemes = |allowed, most| {
            let found = product.find_all(allowed, most);
            found.iter().map(|found| scheme(&found.algo)).collect::<Vec<_>>()
        };
        assert_eq!(schemes(7, 9), [NONE, APART, IN_PLACE]);
        assert_eq!(schemes(APART, 9), [NONE, APART]);
        assert_eq!(schemes(NONE, 9), [NONE]);
        assert_eq!(schemes(7, 1), [NONE]);
        let results = product.find_all(7, 9).into_iter().map(|found| {
            let addresses = [&a, &b, &c, &d].map(|operand| operand.address(&stream));
            product.run(&stream, &found.algo, [1.0, 0.0], addresses, (0, 0)).unwrap();
            let sum = |i, j| (0..k).map(|x| a.at(0, i, x, false) * b.at(0, x, j, false)).sum();
            d.assert_is("a product in parts", &stream, k, &d.with(|_, i, j| sum(i, j)));
            d.read(&stream)
        });
        let results: Vec<_> = results.collect();
        assert!(results[0] != results[1] && results[1] != results[2], "the same sums");
    });
}
