//! How fast kernels run under the interpreter, with all checks: milliseconds per launch, and nanoseconds per warp
//! instruction (an instruction for up to 32 lanes). In processor time of the thread, so that a busy machine tells nearly the
//! same.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[path = "../tests/interpreter/support.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod support;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use support::{Arguments, Gpu, Random, arguments};

fn random_bf16(gpu: &mut Gpu, count: usize) -> u64 {
    let mut random = Random(count as u64);
    let values: Vec<bf16> = (0..count).map(|_| bf16::from_f32(random.unit())).collect();
    gpu.upload(&values)
}

/// Time that this thread has had a processor.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the result.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Measures one launch; the rate that criterion shows is in warp instructions.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    gpu: &mut Gpu,
    (kernel, grid, threads, shared): (&str, [u32; 3], u32, u32),
    arguments: &Arguments,
) {
    let mut launch = || gpu.launch(kernel, grid, threads, shared, arguments).unwrap();
    let instructions = launch().warp_instructions;
    let mut fastest = f64::MAX;
    let mut group = criterion.benchmark_group("interpreter");
    group.throughput(Throughput::Elements(instructions));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let start = processor_time();
            for _ in 0..iterations {
                launch();
            }
            let elapsed = processor_time() - start;
            fastest = fastest.min(elapsed.as_secs_f64() / iterations as f64);
            elapsed
        });
    });
    group.finish();
    let nanoseconds = fastest * 1e9 / instructions as f64;
    println!("{name}: {:.1} ms, {nanoseconds:.0} ns per warp instruction at best", fastest * 1e3);
}

/// Attention forward, 2 × 2 heads × 128 × 64.
fn attention(criterion: &mut Criterion) {
    let Some(mut gpu) = Gpu::of("attention.cu") else { return };
    let (heads, length) = (4, 128);
    let elements = heads * length * 64;
    let [q, k, v] = [0; 3].map(|_| random_bf16(&mut gpu, elements));
    let (output, log_sums) = (gpu.alloc::<bf16>(elements), gpu.alloc::<f32>(heads * length));
    let arguments = arguments![q, k, v, output, log_sums, length as i32, 0.125_f32, 0_i32];
    let launch = ("attention_forward", [2, 4, 1], 128, 5 * 64 * 72 * 2);
    measure(criterion, "attention forward 2x2x128x64", &mut gpu, launch, &arguments);
}

/// Layer norm, 64 rows of 768.
fn layer_norm(criterion: &mut Criterion) {
    let Some(mut gpu) = Gpu::of("layer_norm.cu") else { return };
    let x = random_bf16(&mut gpu, 64 * 768);
    let gamma = gpu.upload(&[1_f32; 768]);
    let (y, means, deviations) = (gpu.alloc::<bf16>(64 * 768), gpu.alloc::<f32>(64), gpu.alloc::<f32>(64));
    let arguments = arguments![x, gamma, gamma, y, means, deviations, 768_i32, 1e-5_f32];
    let launch = ("layer_norm", [64, 1, 1], 256, 0);
    measure(criterion, "layer norm 64x768", &mut gpu, launch, &arguments);
}

criterion_group!(benches, attention, layer_norm);
criterion_main!(benches);
