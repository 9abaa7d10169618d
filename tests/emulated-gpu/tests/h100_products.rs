//! Tensor cores round as those of an H100: products that one made, bit for bit, and the drift that follows from it.
//!
//! `golden/h100_mma/*.csv` has a line for each product: the factors, what is added, and the result, as bits of `f32`. A
//! file's name begins with its format. `ALBERT_REAL_GPU=1` runs the same on hardware.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;

use cudarc::cublaslt::sys::cudaDataType_t as Type;
use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg};
use half::{bf16, f16};
use support::lt::Product;
use support::operand::Operand;
use support::{compile, gpu, on_any_gpu};

const ONE_WARP: LaunchConfig =
    LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
/// Columns of a product of one `mma`, and so how many recorded products fit on its diagonal.
const DIAGONAL: usize = 8;

/// A recorded product: d = Σ aᵢ bᵢ + c
struct Recorded {
    a: Vec<f32>,
    b: Vec<f32>,
    c: f32,
    d: f32,
}

fn parse(line: &str) -> Recorded {
    let number = |text: &str| f32::from_bits(u32::from_str_radix(text.trim(), 16).unwrap());
    let fields: Vec<Vec<f32>> = line.split(',').map(|field| field.split(';').map(number).collect()).collect();
    let [a, b, c, d] = fields.try_into().unwrap();
    assert_eq!((a.len(), c.len(), d.len()), (b.len(), 1, 1), "{line}");
    Recorded { a, b, c: c[0], d: d[0] }
}

/// A format of A and B: the kernel of `fragments.cu`, its inner dimension, elements of a register and how they are packed.
struct Format {
    kernel: &'static str,
    k: usize,
    elements: usize,
    pack: fn(&[f32]) -> u32,
}

fn format(file: &str) -> Format {
    let halves = |kernel, pack| Format { kernel, k: 16, elements: 2, pack };
    match file {
        _ if file.starts_with("bf16") => halves("mma_m16n8k16_bf16_f32", |pair| {
            u32::from(bf16::from_f32(pair[1]).to_bits()) << 16 | u32::from(bf16::from_f32(pair[0]).to_bits())
        }),
        _ if file.starts_with("fp16") || file.starts_with("f16") => halves("mma_m16n8k16_f16_f32", |pair| {
            u32::from(f16::from_f32(pair[1]).to_bits()) << 16 | u32::from(f16::from_f32(pair[0]).to_bits())
        }),
        _ if file.starts_with("tf32") => {
            Format { kernel: "mma_m16n8k8_tf32_f32", k: 8, elements: 1, pack: |one| one[0].to_bits() }
        }
        _ => panic!("{file}: the name of a file of products begins with bf16, fp16 or tf32"),
    }
}

/// The registers of A, B and C of a warp that put the products on the diagonal of one `mma`.
fn registers(products: &[Recorded], format: &Format) -> Vec<u32> {
    let Format { k, elements, .. } = *format;
    let element = |factors: fn(&Recorded) -> &[f32], index: usize, k: usize| {
        products.get(index).and_then(|product| factors(product).get(k).copied()).unwrap_or(0.0)
    };
    let register = |factors, index: usize, first: usize| {
        let values: Vec<f32> = (first..first + elements).map(|k| element(factors, index, k)).collect();
        (format.pack)(&values)
    };
    let mut words = Vec::new();
    for part in 0..k / 2 / elements {
        words.extend((0..32).map(|lane| {
            let first = elements * (4 * (part / 2) + lane % 4);
            register(|product| &product.a, lane / 4 + 8 * (part % 2), first)
        }));
    }
    for part in 0..k / 4 / elements {
        words.extend(
            (0..32).map(|lane| register(|product| &product.b, lane / 4, elements * (4 * part + lane % 4))),
        );
    }
    for part in 0..4 {
        words.extend((0..32).map(|lane| {
            let (row, column) = (lane / 4 + part / 2 * 8, lane % 4 * 2 + part % 2);
            let c = products.get(row).filter(|_| row == column).map_or(0.0, |product| product.c);
            c.to_bits()
        }));
    }
    words
}

#[test]
fn recorded_products_are_reproduced_bit_for_bit() {
    on_any_gpu("recorded_products_are_reproduced_bit_for_bit", || {
        // As it is now: a packed test runs elsewhere than it was built.
        let home =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let folder = Path::new(&home).join("golden/h100_mma");
        let (context, stream) = gpu();
        let module = context.load_module(compile(include_str!("../kernels/fragments.cu"))).unwrap();
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "csv") {
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let format = format(&name);
            let function = module.load_function(format.kernel).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            // The first line says what the columns are.
            let products: Vec<Recorded> =
                text.lines().skip(1).filter(|line| !line.trim().is_empty()).map(parse).collect();
            assert!(!products.is_empty(), "{name} holds no products");
            let mut wrong = Vec::new();
            for (batch, products) in products.chunks(DIAGONAL).enumerate() {
                let got = run(&stream, &function, &registers(products, &format));
                for (index, product) in products.iter().enumerate() {
                    // Row and column `index`: lane and register of D.
                    let (lane, part) = (index * 4 + index / 2, index % 2);
                    if got[part * 32 + lane] != product.d.to_bits() {
                        wrong.push(batch * DIAGONAL + index + 2);
                    }
                }
            }
            assert!(
                wrong.is_empty(),
                "{name}: {} of {} differ, lines {wrong:?}",
                wrong.len(),
                products.len()
            );
            count += products.len();
        }
        assert!(count >= 3000, "{count} products");
    });
}

fn run(stream: &std::sync::Arc<CudaStream>, function: &CudaFunction, input: &[u32]) -> Vec<u32> {
    let input = stream.clone_htod(input).unwrap();
    let mut output = stream.alloc_zeros::<u32>(4 * 32).unwrap();
    // SAFETY: the kernel reads `input` and writes 4 registers of 32 lanes.
    unsafe { stream.launch_builder(function).arg(&input).arg(&mut output).launch(ONE_WARP) }.unwrap();
    stream.clone_dtoh(&output).unwrap()
}

/// Numbers of a normal distribution, rounded to bf16.
fn normal(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let draw = |_| {
        let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
        bf16::from_f64(radius * (std::f64::consts::TAU * uniform()).cos()).to_f64()
    };
    (0..count).map(draw).collect()
}

/// 16 × 8 dot products of `k` terms by `mma`, and what they should be: result, exact sum, sum of squares of the terms.
fn dots(
    stream: &std::sync::Arc<CudaStream>,
    function: &CudaFunction,
    k: usize,
    [a, b]: [&[f64]; 2],
) -> Vec<(f64, f64, f64)> {
    let upload = |values: &[f64]| -> CudaSlice<u16> {
        let bits: Vec<u16> = values.iter().map(|&value| bf16::from_f64(value).to_bits()).collect();
        stream.clone_htod(&bits).unwrap()
    };
    let (a_memory, b_memory) = (upload(a), upload(b));
    let mut d = stream.alloc_zeros::<f32>(16 * 8).unwrap();
    let length = k as i32;
    let mut launch = stream.launch_builder(function);
    launch.arg(&a_memory).arg(&b_memory).arg(&mut d).arg(&length);
    // SAFETY: the arguments are those of `dots`.
    unsafe { launch.launch(ONE_WARP) }.unwrap();
    let d = stream.clone_dtoh(&d).unwrap();
    let terms = |index: usize| {
        let (row, column) = (&a[index / 8 * k..][..k], &b[index % 8 * k..][..k]);
        row.iter().zip(column).map(|(a, b)| a * b)
    };
    d.iter()
        .enumerate()
        .map(|(index, &d)| (d.into(), terms(index).sum(), terms(index).map(|term| term * term).sum()))
        .collect()
}

/// `dots.cu` with `device.cuh` in place of its include.
fn dots_source() -> String {
    let header = include_str!("../kernels/device.cuh").replace("#pragma once", "");
    include_str!("../kernels/dots.cu").replace("#include \"device.cuh\"", &header)
}

#[test]
fn long_sums_drift_towards_zero_as_far_as_on_an_h100() {
    const K: usize = 768;
    on_any_gpu("long_sums_drift_towards_zero_as_far_as_on_an_h100", || {
        let (context, stream) = gpu();
        let function = context.load_module(compile(&dots_source())).unwrap().load_function("dots").unwrap();
        let (mut random, mut positive, mut drift) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 0..24 {
            let (a, b) = (normal(16 * K, 2 * seed), normal(8 * K, 2 * seed + 1));
            for (got, exact, squares) in dots(&stream, &function, K, [&a, &b]) {
                random.push((got - exact) / squares.sqrt());
            }
            let absolute = |values: Vec<f64>| values.into_iter().map(f64::abs).collect::<Vec<_>>();
            for (got, exact, _) in dots(&stream, &function, K, [&absolute(a), &absolute(b)]) {
                positive.push((got - exact) / exact);
                drift.push((got - exact) / exact);
            }
        }
        let root_mean_square = |errors: &[f64]| {
            (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt()
        };
        let mean = drift.iter().sum::<f64>() / drift.len() as f64;
        let close = |what: &str, got: f64, wanted: f64| {
            // 3072 sums that share factors: their root mean square is known to some 10 %, the figure to two digits.
            assert!((got - wanted).abs() < 0.15 * wanted.abs(), "{what}: {got:e}, recorded {wanted:e}");
        };
        // Of a model of an H100's tensor cores, by another program; nearest rounding gives 1.6e-7, 2.6e-7 and 0.
        close("random signs", root_mean_square(&random), 6.9e-7);
        close("all positive", root_mean_square(&positive), 1.3e-6);
        close("drift", mean, -1.3e-6);
    });
}

/// Products of cuBLASLt are added up as `mma` adds them.
#[test]
fn library_products_round_alike() {
    const K: usize = 200;
    support::eager_and_late("library_products_round_alike", || {
        let (context, stream) = gpu();
        let function = context.load_module(compile(&dots_source())).unwrap().load_function("dots").unwrap();
        // Column-major A of K × 16 is row-major 16 × K.
        let kind = Type::CUDA_R_16BF;
        let padded = K.next_multiple_of(16);
        let [mut a, mut b] = [16, 8].map(|columns| Operand::new(&stream, kind, [K, columns], padded, 1, 0));
        let numbers = [normal(a.values.len(), 1), normal(b.values.len(), 2)];
        let pad = |values: &[f64]| -> Vec<f64> {
            values.iter().enumerate().map(|(i, &value)| if i % padded < K { value } else { 0.0 }).collect()
        };
        let numbers = numbers.map(|values| pad(&values));
        a.fill(&stream, &numbers[0]);
        b.fill(&stream, &numbers[1]);
        let d = Operand::new(&stream, Type::CUDA_R_32F, [16, 8], 16, 1, 0);
        let product = Product::new([&a, &b, &d, &d]);
        let transposed = cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA;
        product.set(transposed, &1_u32.to_le_bytes());
        // SAFETY: only the product writes here.
        let scratch = unsafe { stream.alloc::<u8>(1 << 20) }.unwrap();
        let found = product.find(1 << 20).unwrap();
        let addresses = [&a, &b, &d, &d].map(|operand| operand.address(&stream));
        let workspace = (scratch.device_ptr(&stream).0, 1 << 20);
        product.run(&stream, &found.algo, [1.0, 0.0], addresses, workspace).unwrap();
        let got = d.read(&stream);
        let wanted = dots(&stream, &function, padded, [&numbers[0], &numbers[1]]);
        for (index, (wanted, exact, _)) in wanted.into_iter().enumerate() {
            let (row, column) = (index / 8, index % 8);
            assert_eq!(
                got[row + column * 16],
                wanted,
                "row {row}, column {column}: {exact} without rounding"
            );
        }
    });
}
