//! Calls with nonsense in them: every one is answered with an error code, and the driver goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::Cell;
use std::ffi::CString;

use libloading::os::unix::{Library, Symbol};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::{eager_and_late, gpu};

const INVALID_VALUE: u32 = 1;
const UNKNOWN: u32 = 999;
/// `cublasStatus_t`: what every call here may answer.
const BLAS_ANSWERS: [u32; 4] = [0, 1, 7, 15];

/// An entry point with C's own types, where cudarc would allow only what its enumerations name.
fn entry<F: Copy>(name: &str) -> F {
    // SAFETY: loaded already, by the set-up of the test.
    let library = unsafe { Library::new("libcuda.so") }.unwrap();
    // SAFETY: `F` is the C signature of the entry point.
    let symbol: Symbol<F> = unsafe { library.get(name) }.unwrap();
    let entry = *symbol;
    std::mem::forget(library);
    entry
}

/// The same cases every time: what becomes of them is counted.
fn runner() -> TestRunner {
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Small numbers, numbers near limits, handles and anything else.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..40u64, Just(u64::MAX), Just(i64::MAX as u64), Just(1 << 32), any::<u64>()]
}

#[test]
fn blas_attributes() {
    type Set = extern "C" fn(u64, u32, *const u8, usize) -> u32;
    eager_and_late("blas_attributes", || {
        let (_context, _stream) = gpu();
        let create_layout: extern "C" fn(*mut u64, u32, u64, u64, i64) -> u32 =
            entry("cublasLtMatrixLayoutCreate");
        let create_description: extern "C" fn(*mut u64, u32, u32) -> u32 = entry("cublasLtMatmulDescCreate");
        let create_preference: extern "C" fn(*mut u64) -> u32 = entry("cublasLtMatmulPreferenceCreate");
        let set: [Set; 3] = [
            entry("cublasLtMatrixLayoutSetAttribute"),
            entry("cublasLtMatmulDescSetAttribute"),
            entry("cublasLtMatmulPreferenceSetAttribute"),
        ];
        let mut handles = [0u64; 3];
        assert_eq!(create_layout(&mut handles[0], 0, 8, 8, 8), 0);
        assert_eq!(create_description(&mut handles[1], 68, 0), 0);
        assert_eq!(create_preference(&mut handles[2]), 0);
        let strategy = (0..3usize, 0..4usize, 0..50u32, number(), 0..17usize);
        runner()
            .run(&strategy, |(kind, handle, attribute, value, bytes)| {
                let handle = handles.get(handle).copied().unwrap_or(value);
                let buffer = [value, value];
                let answer = set[kind](handle, attribute, buffer.as_ptr().cast(), bytes);
                prop_assert!(BLAS_ANSWERS.contains(&answer), "{}", answer);
                if handle != handles[kind] {
                    prop_assert_ne!(answer, 0, "a handle of another kind");
                }
                prop_assert_ne!(set[kind](handles[kind], attribute, std::ptr::null(), bytes), 0, "no value");
                Ok(())
            })
            .unwrap();
        runner()
            .run(&(0..50u32, number(), number(), number()), |(kind, rows, columns, leading)| {
                let mut layout = 0;
                let answer = create_layout(&mut layout, kind, rows, columns, leading as i64);
                prop_assert!(BLAS_ANSWERS.contains(&answer), "{}", answer);
                prop_assert_eq!(answer == 0, layout != 0);
                Ok(())
            })
            .unwrap();
    });
}

/// A product whose description is nonsense may be refused or fail, but never breaks the driver. Sizes are small, for
/// a product that is accepted is done.
#[test]
fn products() {
    type Gemm = extern "C" fn(
        u64,
        u32,
        u32,
        i32,
        i32,
        i32,
        *const f32,
        u64,
        i32,
        i64,
        u64,
        i32,
        i64,
        *const f32,
        u64,
        i32,
        i64,
        i32,
    ) -> u32;
    eager_and_late("products", || {
        // cudarc's own resolution of symbols needs a context to have been there.
        drop(gpu());
        let create: extern "C" fn(*mut u64) -> u32 = entry("cublasCreate_v2");
        let gemm: Gemm = entry("cublasSgemmStridedBatched");
        let small = || -1..9i32;
        let strategy = (
            [0..4u32, 0..4u32],
            [small(), small(), small()],
            [-1..12i32, -1..12, -1..12],
            number(),
            -1..3i32,
        );
        let [done, refused, failed] = [const { Cell::new(0) }; 3];
        runner()
            .run(&strategy, |(operations, sizes, leading, stride, batches)| {
                // A context of its own: memory that is overrun fails the context, as on a device.
                let (_context, queue) = gpu();
                let memory = queue.alloc_zeros::<f32>(64).unwrap();
                let base = cudarc::driver::DevicePtr::device_ptr(&memory, &queue).0;
                let (mut handle, one, stride) = (0, 1f32, stride as i64);
                assert_eq!(create(&mut handle), 0);
                let answer = gemm(
                    handle,
                    operations[0],
                    operations[1],
                    sizes[0],
                    sizes[1],
                    sizes[2],
                    &one,
                    base,
                    leading[0],
                    stride,
                    base,
                    leading[1],
                    stride,
                    &one,
                    base,
                    leading[2],
                    stride,
                    batches,
                );
                match (answer, queue.context().synchronize()) {
                    (0, Ok(())) => done.update(|count| count + 1),
                    (7, Ok(())) => refused.update(|count| count + 1),
                    (0 | 13, Err(_)) => failed.update(|count| count + 1),
                    other => panic!("{other:?}"),
                }
                Ok(())
            })
            .unwrap();
        for outcome in [done, refused, failed] {
            assert!(outcome.get() > 5, "the cases are too much alike");
        }
    });
}

#[test]
fn launches() {
    type Launch =
        extern "C" fn(u64, u32, u32, u32, u32, u32, u32, u32, u64, *const *const u8, *const *const u8) -> u32;
    eager_and_late("launches", || {
        let (context, stream) = gpu();
        let launch: Launch = entry("cuLaunchKernel");
        let scale = support::kernel(&context, "scale");
        let function = scale.cu_function() as u64;
        let size = || prop_oneof![Just(0u32), Just(u32::MAX), Just(1025), Just(65536)];
        let strategy = (number(), size(), size(), size(), number(), prop::collection::vec(3..9u64, 1..4));
        runner()
            .run(&strategy, |(handle, grid, block, shared, other, names)| {
                let null = std::ptr::null::<*const u8>();
                for function in [handle, function] {
                    let answer = launch(function, grid, 1, 1, block, 1, 1, shared, other, null, null);
                    prop_assert_ne!(answer, 0);
                    prop_assert_ne!(answer, UNKNOWN, "a bug in the emulated GPU");
                }
                let extra: Vec<*const u8> =
                    names.iter().flat_map(|&name| [name as *const u8, std::ptr::null()]).collect();
                let answer = launch(function, 1, 1, 1, 32, 1, 1, 0, 0, null, extra.as_ptr());
                prop_assert_ne!(answer, 0, "names of parameters that do not exist");
                Ok(())
            })
            .unwrap();
        stream.synchronize().unwrap();
    });
}

#[test]
fn images() {
    eager_and_late("images", || {
        let (_context, stream) = gpu();
        let load: extern "C" fn(*mut u64, *const std::ffi::c_char) -> u32 = entry("cuModuleLoadData");
        let piece = prop_oneof![
            Just(".version 9.0\n".to_owned()),
            Just(".target sm_90\n".to_owned()),
            Just(".address_size 64\n.visible .entry f(".to_owned()),
            "[.a-z0-9_ \n]{0,20}",
            "\\PC{4,20}",
        ];
        let image = prop::collection::vec(piece, 4..9).prop_map(|pieces| pieces.concat());
        runner()
            .run(&image, |image| {
                let image = CString::new(image.replace('\0', " ")).unwrap();
                let mut module = 0;
                let answer = load(&mut module, image.as_ptr());
                prop_assert_ne!(answer, UNKNOWN, "a bug in the emulated GPU");
                prop_assert_eq!(answer == 0, module != 0);
                Ok(())
            })
            .unwrap();
        assert_eq!(load(&mut 0, std::ptr::null()), INVALID_VALUE);
        stream.synchronize().unwrap();
    });
}
