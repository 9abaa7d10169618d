//! What kernels ask of the hardware: textbook patterns with their known counts, and what the model predicts of attention.

use emulated_gpu::performance::{H100, Rates, Summary};
use emulated_gpu::ptx::{Class, Request};
use emulated_gpu::setup;
use half::bf16;

use super::support::{Gpu, Random, arguments, assert_close, compile};

/// What one warp asks for that runs `body`, with `x` and `y` in global memory and `s` in shared memory, of 4096 words each.
fn of_warp(body: &str) -> Option<Summary> {
    if !setup::available() {
        return None;
    }
    let source = format!(
        "typedef unsigned int uint32_t;\n\
         extern \"C\" __global__ void kernel(const float* __restrict__ x, float* __restrict__ y, uint32_t* z) {{\n\
         __shared__ __align__(128) float s[4096];\n  for (int i = threadIdx.x; i < 4096; i += 32) s[i] = 0.f;\n  __syncwarp();\n\
         const int lane = threadIdx.x;\n{body}\n}}"
    );
    let mut gpu = Gpu::with(&compile("patterns.cu", source));
    let (x, y, z) = (gpu.upload(&[0_f32; 4096]), gpu.alloc::<f32>(4096), gpu.upload(&[0_u32; 4096]));
    Some(
        gpu.count("kernel", [1, 1, 1], 32, 0, &arguments![x, y, z]).unwrap_or_else(|fault| panic!("{fault}")),
    )
}

/// Sectors of the only load and of the only store, or of the only atomic.
#[track_caller]
fn sectors(body: &str, wanted: [u64; 3]) {
    let Some(summary) = of_warp(body) else { return };
    let got = summary.global.map(|traffic| traffic.sectors);
    assert_eq!(got, wanted, "{body}: {:?}", summary.global);
}

#[test]
fn sectors_of_global_memory() {
    sectors("y[lane] = x[lane];", [4, 4, 0]);
    sectors("((float4*)y)[lane] = ((const float4*)x)[lane];", [16, 16, 0]);
    sectors("y[lane] = x[2 * lane];", [8, 4, 0]);
    sectors("y[lane] = x[lane + 1];", [5, 4, 0]);
    sectors("y[lane] = x[0];", [1, 4, 0]);
    sectors("atomicAdd(z, 1u);", [0, 0, 1]);
    sectors("atomicAdd(z + lane, 1u);", [0, 0, 4]);
}

/// Passes through the banks of the accesses in `body`, and the least that they could be.
#[track_caller]
fn passes(body: &str, loads: [u64; 2], stores: [u64; 2]) {
    let Some(summary) = of_warp(body) else { return };
    let of = |request: Request| {
        let traffic = summary.shared[request as usize];
        [traffic.wavefronts, traffic.least]
    };
    // The kernel begins with 128 stores that meet no bank twice.
    let [wavefronts, least] = of(Request::Store);
    assert_eq!((of(Request::Load), [wavefronts - 128, least - 128]), (loads, stores), "{body}");
}

#[test]
fn passes_through_the_banks_of_shared_memory() {
    passes("y[lane] = s[lane];", [1, 1], [0, 0]);
    passes("y[lane] = s[2 * lane];", [2, 1], [0, 0]);
    passes("y[lane] = s[32 * lane];", [32, 1], [0, 0]);
    passes("y[lane] = s[5];", [1, 1], [0, 0]);
    passes("((float4*)y)[lane] = ((float4*)s)[lane];", [4, 4], [0, 0]);
    // A tile of 32 x 32 is written by rows and read by columns, unpadded and padded.
    let transpose = |pitch: u32| {
        format!(
            "volatile float* t = s; // word by word\n for (int i = 0; i < 32; i++) t[i * {pitch} + lane] = x[i * 32 + lane];\n __syncwarp();\n for (int i = 0; i < 32; i++) y[i * 32 + lane] = t[lane * {pitch} + i];"
        )
    };
    passes(&transpose(32), [32 * 32, 32], [32, 32]);
    passes(&transpose(33), [32, 32], [32, 32]);
}

#[test]
fn passes_of_ldmatrix() {
    let load = |row_bytes: u32, swap: &str| {
        format!(
            "uint32_t a, b, c, d;\n const uint32_t at = uint32_t(__cvta_generic_to_shared(s)) + (lane % 8) * {row_bytes}u + ((lane / 8) {swap}) * 16;\n \
             asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%0,%1,%2,%3}}, [%4];\" : \"=r\"(a), \"=r\"(b), \"=r\"(c), \"=r\"(d) : \"r\"(at));\n z[lane] = a + b + c + d;"
        )
    };
    passes(&load(128, ""), [32, 4], [0, 0]);
    passes(&load(144, ""), [4, 4], [0, 0]);
    passes(&load(128, "^ (lane % 8)"), [4, 4], [0, 0]);
}

#[test]
fn instructions_bytes_and_operations() {
    let Some(mut gpu) = Gpu::of("dots.cu") else { return };
    let (a, b) = (gpu.upload(&[0_u16; 16 * 64]), gpu.upload(&[0_u16; 8 * 64]));
    let d = gpu.alloc::<f32>(128);
    let summary = gpu.count("dots", [1, 1, 1], 32, 0, &arguments![a, b, d, 64_i32]).unwrap();
    assert_eq!(summary.issued[Class::Matrix as usize], 4);
    assert_eq!(summary.matrix_operations, 2 * 16 * 8 * 64);
    assert_eq!(summary.distinct_bytes, [2 * (16 + 8) * 64, 4 * 128]);
    assert_eq!(summary.compulsory_bytes, summary.distinct_bytes);
    assert_eq!(summary.global[0].requests, 6 * 4);
}

/// One head of the kernel in the manner of FlashAttention-2, against `f64`; gives what it asked for.
fn flash(width: usize, length: usize) -> Option<Summary> {
    let mut gpu = Gpu::of("flash.cu")?;
    let mut random = Random((width + length) as u64);
    let mut matrix =
        || (0..length * width).map(|_| bf16::from_f32(1.5 * random.unit())).collect::<Vec<bf16>>();
    let inputs = [matrix(), matrix(), matrix()];
    let [q, k, v] = [0, 1, 2].map(|i| gpu.upload(&inputs[i]));
    let (output, log_sums) = (gpu.alloc::<bf16>(length * width), gpu.alloc::<f32>(length));
    let scale = 1.0 / (width as f64).sqrt();
    let arguments =
        arguments![q, k, v, output, log_sums, length as i32, (scale * std::f64::consts::LOG2_E) as f32];
    let (kernel, shared) = (format!("flash_forward_{width}"), 2 * 64 * 4 * width as u32);
    let grid = [length as u32 / 128, 1, 1];
    let summary = gpu.count(&kernel, grid, 128, shared, &arguments).unwrap_or_else(|fault| panic!("{fault}"));
    let got = gpu.download::<bf16>(output, length * width);
    // Some rows of each tile are enough: the others are computed alike.
    for row in (0..length).step_by(37) {
        let of = |matrix: &[bf16], row: usize| -> Vec<f64> {
            matrix[row * width..][..width].iter().map(|x| x.to_f64()).collect()
        };
        let query = of(&inputs[0], row);
        let scores: Vec<f64> = (0..length)
            .map(|key| query.iter().zip(of(&inputs[1], key)).map(|(q, k)| q * k).sum::<f64>() * scale)
            .collect();
        let greatest = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - greatest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let (mut want, mut bound) = (vec![0.0; width], vec![0.0; width]);
        for (key, weight) in weights.iter().enumerate() {
            for (column, value) in of(&inputs[2], key).into_iter().enumerate() {
                want[column] += weight / sum * value;
                bound[column] += weight / sum * value.abs() / 256.0;
            }
        }
        assert_close(
            &format!("row {row}"),
            (0..width)
                .map(|c| (got[row * width + c].to_f64(), want[c], bound[c] + want[c].abs() / 256.0 + 2e-5)),
        );
    }
    Some(summary)
}

/// Forward attention of 16 k tokens on an H100 as FlashAttention-2 does it, published in TFLOP/s (the figure of
/// FlashAttention-3's repository): width of a head, length of a sequence, and how fast. Widths times heads are 2048.
const PUBLISHED: [(usize, usize, f64); 4] =
    [(64, 512, 282.0), (64, 1024, 306.0), (128, 512, 309.0), (128, 1024, 350.0)];

#[test]
fn attention_is_predicted_at_half_of_its_published_time_or_more() {
    for (width, length, published) in PUBLISHED {
        let Some(summary) = flash(width, length) else { return };
        for (name, traffic) in ["loads", "stores"].iter().zip(summary.shared) {
            assert_eq!(traffic.wavefronts, traffic.least, "bank conflicts of {name}");
        }
        // Everything is read once and written once, besides the rows' logarithms.
        let matrix = (2 * width * length) as u64;
        assert_eq!(summary.distinct_bytes, [3 * matrix, matrix + 4 * length as u64]);
        assert_eq!(summary.matrix_operations, (4 * width * length * length) as u64);
        let (heads, sequences) = (2048 / width, 16384 / length);
        let all = summary.times((heads * sequences) as u64);
        let bounds = Rates::bounds(&H100, &all);
        let measured = all.matrix_operations as f64 / (published * 1e12);
        let ratio = bounds[0].seconds / measured;
        let list: Vec<String> = bounds
            .iter()
            .take(5)
            .map(|bound| format!("{} {:.0}", bound.resource, bound.seconds * 1e6))
            .collect();
        println!(
            "width {width}, length {length}: measured {:.0} us, predicted {:.2} of it; {} us",
            measured * 1e6,
            ratio,
            list.join(", ")
        );
        assert!((0.5..=1.0).contains(&ratio), "width {width}, length {length}: {ratio}; {list:?}");
    }
}

/// The plainer kernels of `attention.cu`, one head of width 64: forward and backward.
fn plain(length: usize) -> Option<[Summary; 2]> {
    let mut gpu = Gpu::of("attention.cu")?;
    let elements = length * 64;
    let mut random = Random(length as u64);
    let [q, k, v, dout] = [0; 4].map(|_| {
        let values: Vec<bf16> = (0..elements).map(|_| bf16::from_f32(random.unit())).collect();
        gpu.upload(&values)
    });
    let (output, log_sums) = (gpu.alloc::<bf16>(elements), gpu.alloc::<f32>(length));
    let (scale, grid) = (0.125_f32, [length.div_ceil(64) as u32, 1, 1]);
    let arguments = arguments![q, k, v, output, log_sums, length as i32, scale, 0_i32];
    let forward = gpu.count("attention_forward", grid, 128, 5 * 64 * 72 * 2, &arguments).unwrap();
    let (deltas, dq) = (gpu.upload(&vec![0.1_f32; length]), gpu.upload(&vec![0_f32; elements]));
    let (dk, dv) = (gpu.alloc::<bf16>(elements), gpu.alloc::<bf16>(elements));
    let arguments = arguments![q, k, v, dout, log_sums, deltas, dq, dk, dv, length as i32, scale, 0_i32];
    let backward = gpu.count("attention_backward", grid, 128, 6 * 64 * 72 * 2, &arguments).unwrap();
    Some([forward, backward])
}

/// The model tells a better design from a worse one, and says by what it is better.
#[test]
fn tiles_of_64_rows_lose_to_tiles_of_128() {
    for (length, forward_published, backward_published) in [(512, 282.0, 198.0), (1024, 306.0, 238.0)] {
        let (Some([forward, backward]), Some(better)) = (plain(length), flash(64, length)) else { return };
        let count = (32 * 16384 / length) as u64;
        let first = |summary: &Summary| Rates::bounds(&H100, &summary.times(count))[0];
        for (name, summary, published) in
            [("forward", &forward, forward_published), ("backward", &backward, backward_published)]
        {
            let operations = if name == "forward" { 4.0 } else { 10.0 } * 16384.0 * length as f64 * 2048.0;
            let (measured, bound) = (operations / (published * 1e12), first(summary));
            println!(
                "tiles of 64, {name}, length {length}: {:.0} us by {}, {:.2} of FlashAttention-2's {:.0} us",
                bound.seconds * 1e6,
                bound.resource,
                bound.seconds / measured,
                measured * 1e6
            );
        }
        assert!(first(&forward).seconds > 1.3 * first(&better).seconds);
        // Tiles of 64 rows read all of K and V twice as often.
        let sectors = |summary: &Summary| summary.global[0].sectors as f64;
        assert!(sectors(&forward) > 1.7 * sectors(&better));
    }
}

/// Kernels over 32 k rows of bf16 on an H100 as published: QuACK, github.com/Dao-AILab/quack, whose figure
/// `media/bf16_kernel_benchmarks_single_row.svg` gives what is read and written over the time, in GB/s: read off its
/// coordinates.
const PUBLISHED_ROWS: [(&str, usize, f64); 4] = [
    ("softmax", 1024, 2630.0),
    ("softmax", 4096, 2889.0),
    ("rms_norm", 1024, 2581.0),
    ("rms_norm", 4096, 2900.0),
];

/// What one of the kernels of `rows.cu` asks for, by row; its results are compared with those in `f64`.
fn rows(name: &str, columns: usize) -> Option<Summary> {
    const ROWS: usize = 64;
    let mut gpu = Gpu::of("rows.cu")?;
    let mut random = Random(columns as u64);
    let mut values =
        |count: usize| (0..count).map(|_| bf16::from_f32(3.0 * random.unit())).collect::<Vec<bf16>>();
    let (x, weights) = (values(ROWS * columns), values(columns));
    let (input, weight, output) = (gpu.upload(&x), gpu.upload(&weights), gpu.alloc::<bf16>(ROWS * columns));
    let arguments = match name {
        "softmax" => arguments![input, output],
        _ => arguments![input, weight, output, 1e-5_f32],
    };
    let threads = if columns == 1024 { 128 } else { 256 };
    let kernel = format!("{name}_{columns}");
    let summary = gpu
        .count(&kernel, [ROWS as u32, 1, 1], threads, 0, &arguments)
        .unwrap_or_else(|fault| panic!("{fault}"));
    let got = gpu.download::<bf16>(output, ROWS * columns);
    for (x, got) in x.chunks(columns).zip(got.chunks(columns)).step_by(17) {
        let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let greatest = x.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = x.iter().map(|x| (x - greatest).exp()).sum();
        let deviation = (x.iter().map(|x| x * x).sum::<f64>() / columns as f64 + 1e-5).sqrt();
        let want = |i: usize| match name {
            "softmax" => (x[i] - greatest).exp() / sum,
            _ => x[i] / deviation * weights[i].to_f64(),
        };
        // One rounding to bf16, and sums in f32 behind it.
        assert_close(
            &kernel,
            (0..columns).map(|i| (got[i].to_f64(), want(i), want(i).abs() / 250.0 + 1e-30)),
        );
    }
    assert_eq!(summary.distinct_bytes[1], (2 * ROWS * columns) as u64);
    let extra = if name == "softmax" { 0 } else { 2 * columns as u64 };
    assert_eq!(summary.distinct_bytes[0], (2 * ROWS * columns) as u64 + extra);
    Some(summary.times(32 * 1024 / ROWS as u64))
}

#[test]
fn rows_are_predicted_at_half_of_their_published_time_or_more() {
    for (name, columns, published) in PUBLISHED_ROWS {
        let Some(all) = rows(name, columns) else { return };
        let bounds = Rates::bounds(&H100, &all);
        let measured = (4 * 32 * 1024 * columns) as f64 / (published * 1e9);
        let ratio = bounds[0].seconds / measured;
        let list: Vec<String> = bounds
            .iter()
            .take(4)
            .map(|bound| format!("{} {:.0}", bound.resource, bound.seconds * 1e6))
            .collect();
        println!(
            "{name}, {columns} columns: measured {:.1} us, predicted {ratio:.2} of it; {} us",
            measured * 1e6,
            list.join(", ")
        );
        assert!((0.5..=1.0).contains(&ratio), "{name}, {columns} columns: {ratio}; {list:?}");
    }
}
