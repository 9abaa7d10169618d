//! What a GPU does in any order: each kernel here is wrong on hardware now and then, and must be reported every time.

use emulated_gpu::ptx::Fault;
use emulated_gpu::setup;

use super::support::{Gpu, Random, arguments, compile};

/// Kernels with `device.cuh` before them.
fn gpu(kernels: &str) -> Option<Gpu> {
    setup::available()
        .then(|| Gpu::with(&compile("order.cu", format!("typedef unsigned int uint32_t;\n{kernels}"))))
}

/// Runs `kernel` over 64 words of ones, and 64 of zeros.
fn launch(kernels: &str, blocks: u32, threads: u32) -> Option<Result<Vec<f32>, Fault>> {
    let mut gpu = gpu(kernels)?;
    let (x, y) = (gpu.upload(&[1_f32; 64]), gpu.upload(&[0_f32; 64]));
    let result = gpu.launch("kernel", [blocks, 1, 1], threads, 0, &arguments![x, y]);
    Some(result.map(|_| gpu.download::<f32>(y, 64)))
}

#[track_caller]
fn reported(kernels: &str, blocks: u32, threads: u32, parts: &[&str]) {
    let Some(result) = launch(kernels, blocks, threads) else { return };
    let report = result.expect_err("a bug is planted").to_string();
    for part in ["kernel kernel", "order.cu:"].iter().chain(parts) {
        assert!(report.contains(part), "no `{part}` in: {report}");
    }
}

#[track_caller]
fn sound(kernels: &str, blocks: u32, threads: u32) {
    if let Some(Err(fault)) = launch(kernels, blocks, threads) {
        panic!("{fault}");
    }
}

const HEAD: &str = "extern \"C\" __global__ void kernel(float* x, float* y) {\n";

#[test]
fn warps_of_a_block_through_global_memory() {
    let body = |barrier: &str| {
        format!(
            "{HEAD} if (threadIdx.x < 32) x[threadIdx.x] = 2.f;\n {barrier}\n if (threadIdx.x >= 32) y[threadIdx.x] = x[threadIdx.x - 32];\n}}"
        )
    };
    let parts =
        ["warp 1", "is read here, lane 0, and was written by warp 0 of block (0, 0, 0)", "no barrier"];
    reported(&body(""), 1, 64, &parts);
    sound(&body("__syncthreads();"), 1, 64);
    // The other way round: read by one, overwritten by another.
    let parts = ["is written here", "was read by warp 0"];
    reported(
        &format!(
            "{HEAD} if (threadIdx.x < 32) y[threadIdx.x] = x[threadIdx.x];\n else x[threadIdx.x - 32] = 2.f;\n}}"
        ),
        1,
        64,
        &parts,
    );
}

#[test]
fn blocks_through_global_memory() {
    let parts = ["block (1, 0, 0)", "is read here", "was written by warp 0 of block (0, 0, 0)", "order.cu:"];
    reported(
        &format!("{HEAD} y[blockIdx.x] = blockIdx.x == 0 ? 1.f : y[blockIdx.x - 1];\n}}"),
        2,
        32,
        &parts,
    );
    let parts = ["is written here", "was written by warp 0 of block (0, 0, 0)"];
    reported(&format!("{HEAD} if (threadIdx.x == 0) y[0] = blockIdx.x;\n}}"), 2, 32, &parts);
    sound(&format!("{HEAD} if (threadIdx.x == 0) atomicAdd(y, x[0]);\n}}"), 8, 64);
    // Halves of one word are two places.
    sound(
        "extern \"C\" __global__ void kernel(float* x, unsigned short* y) { if (threadIdx.x < 3) y[blockIdx.x * 3 + threadIdx.x] = 0; }",
        8,
        32,
    );
}

/// The block that comes last adds up what the others left.
fn last_block(fence: &str, barrier: &str) -> String {
    format!(
        "__device__ unsigned finished;\n{HEAD} __shared__ bool last;\n y[blockIdx.x] = x[threadIdx.x];\n {barrier}\n \
         if (threadIdx.x == 0) {{\n  {fence}\n  last = atomicAdd(&finished, 1u) == gridDim.x - 1;\n }}\n __syncthreads();\n \
         if (last && threadIdx.x == 0) {{\n  float sum = 0.f;\n  for (int i = 0; i < gridDim.x; i++) sum += y[i];\n  y[63] = sum;\n }}\n}}"
    )
}

#[test]
fn last_block_without_a_fence() {
    let parts = ["block (3, 0, 0)", "is read here", "was written by warp 0 of block (0, 0, 0)", "no fence"];
    reported(&last_block("", ""), 4, 32, &parts);
    sound(&last_block("__threadfence();", ""), 4, 32);
    reported(&last_block("__threadfence_block();", ""), 4, 32, &parts);
    // The fence is warp 0's, the values are of both warps: without a barrier it covers its own alone.
    let both = |barrier: &str| {
        last_block("__threadfence();", barrier)
            .replace("y[blockIdx.x] = x[threadIdx.x]", "if (threadIdx.x == 32) y[blockIdx.x] = 1.f")
    };
    reported(&both(""), 4, 64, &["was written by warp 1 of block (0, 0, 0)"]);
    sound(&both("__syncthreads();"), 4, 64);
}

#[test]
fn lanes_of_a_warp_through_shared_memory() {
    let exchange = |between: &str| {
        format!(
            "{HEAD} __shared__ float row[32];\n row[threadIdx.x] = x[threadIdx.x];\n {between}\n y[threadIdx.x] = row[threadIdx.x ^ 1];\n}}"
        )
    };
    let parts = ["shared byte 4", "lane 0, and was written by lane 1 of the same warp", "no __syncwarp"];
    reported(&exchange("asm volatile(\"\" ::: \"memory\");"), 1, 32, &parts);
    sound(&exchange("__syncwarp();"), 1, 32);
    sound(&exchange("__syncthreads();"), 1, 32);
    sound(&exchange("__syncwarp(3u << (threadIdx.x & 30u));"), 1, 32);
    let one = |between: &str| {
        format!(
            "{HEAD} __shared__ float one;\n if (threadIdx.x == 7) one = x[0];\n {between}\n y[threadIdx.x] = one;\n}}"
        )
    };
    reported(&one("asm volatile(\"\" ::: \"memory\");"), 1, 32, &["was written by lane 7 of the same warp"]);
    sound(&one("__syncwarp();"), 1, 32);
    // Overwritten while others may still read.
    let again = |between: &str| {
        format!(
            "{HEAD} __shared__ float row[32];\n row[threadIdx.x] = x[threadIdx.x];\n __syncwarp();\n const float other = row[threadIdx.x ^ 1];\n {between}\n row[threadIdx.x] = other + 1.f;\n y[threadIdx.x] = other;\n}}"
        )
    };
    reported(&again("asm volatile(\"\" ::: \"memory\");"), 1, 32, &["is written here", "was read by lane"]);
    sound(&again("__syncwarp();"), 1, 32);
}

#[test]
fn copies_of_one_lane_read_by_others() {
    let copy = |between: &str| {
        format!(
            "{HEAD} __shared__ __align__(16) float row[32];\n \
             if (threadIdx.x < 8) asm volatile(\"cp.async.cg.shared.global [%0], [%1], 16;\" :: \"r\"(uint32_t(__cvta_generic_to_shared(row + 4 * threadIdx.x))), \"l\"(x + 4 * threadIdx.x) : \"memory\");\n \
             asm volatile(\"cp.async.wait_all;\" ::: \"memory\");\n {between}\n y[threadIdx.x] = row[threadIdx.x];\n}}"
        )
    };
    reported(&copy(""), 1, 32, &["shared byte 4", "was written by lane 0 of the same warp", "cp.async"]);
    sound(&copy("__syncwarp();"), 1, 32);
}

#[test]
fn constant_loads_of_what_the_kernel_writes() {
    let head = "extern \"C\" __global__ void kernel(const float* __restrict__ x, float* __restrict__ y) {\n";
    let Some(mut gpu) = gpu(&format!("{head} y[threadIdx.x] = x[threadIdx.x] + 1.f;\n}}")) else { return };
    let x = gpu.upload(&[1_f32; 64]);
    let report = gpu.launch("kernel", [1, 1, 1], 64, 0, &arguments![x, x]).unwrap_err().to_string();
    for part in ["order.cu:3", "is written here", "cache for constants", "const __restrict__"] {
        assert!(report.contains(part), "{report}");
    }
    let y = gpu.alloc::<f32>(64);
    gpu.launch("kernel", [1, 1, 1], 64, 0, &arguments![x, y]).unwrap();
}

#[test]
fn barriers_used_twice_or_two_ways() {
    let twice = "asm volatile(\"bar.arrive 1, 128;\" ::: \"memory\"); asm volatile(\"bar.arrive 1, 128;\" ::: \"memory\");";
    reported(
        &format!("{HEAD} if (threadIdx.x < 32) {{ {twice} }}\n}}"),
        1,
        64,
        &["warp 0 comes to barrier 1 again"],
    );
    let mixed = "if (threadIdx.x < 32) __syncthreads(); else y[threadIdx.x] = __syncthreads_count(1);";
    reported(&format!("{HEAD} {mixed}\n}}"), 1, 64, &["barrier 0: some warps combine predicates"]);
}

#[test]
fn integer_division_by_zero() {
    let parts = ["an integer is divided by zero, lane 3"];
    reported(&format!("{HEAD} y[threadIdx.x] = 100 / (int(threadIdx.x) - 3);\n}}"), 1, 32, &parts);
    reported(&format!("{HEAD} y[threadIdx.x] = 100ull % (threadIdx.x ^ 3ull);\n}}"), 1, 32, &parts);
    sound(
        &format!("{HEAD} y[threadIdx.x] = threadIdx.x == 3 ? 0 : 100 / (int(threadIdx.x) - 3);\n}}"),
        1,
        32,
    );
}

/// What `run` leaves in memory under each of three seeds and in the natural order.
fn under_seeds(file: &str, run: impl Fn(&mut Gpu) -> Result<Vec<u32>, Fault>) -> Option<Vec<Vec<u32>>> {
    let mut results = Vec::new();
    for seed in 0..4 {
        let mut gpu = Gpu::of(file)?;
        gpu.seed = seed;
        results.push(run(&mut gpu).unwrap_or_else(|fault| panic!("{fault}")));
    }
    Some(results)
}

#[test]
fn kernels_without_atomics_give_the_same_bits_in_any_order() {
    let heads = 3_usize;
    let results = under_seeds("flash.cu", |gpu| {
        let mut random = Random(9);
        let values: Vec<half::bf16> =
            (0..heads * 256 * 64).map(|_| half::bf16::from_f32(random.unit())).collect();
        let x = gpu.upload(&values);
        let (out, log_sums) = (gpu.alloc::<u32>(values.len() / 2), gpu.alloc::<u32>(heads * 256));
        let arguments = arguments![x, x, x, out, log_sums, 256_i32, 0.18_f32];
        gpu.launch("flash_forward_64", [2, heads as u32, 1], 128, 2 * 64 * 4 * 64, &arguments)?;
        Ok([gpu.download::<u32>(out, values.len() / 2), gpu.download::<u32>(log_sums, heads * 256)].concat())
    });
    let Some(results) = results else { return };
    assert!(results.iter().all(|result| *result == results[0]));
}

#[test]
fn results_that_depend_on_the_order_differ_between_seeds() {
    // dq of the backward pass is added up by atomics of floats.
    let results = under_seeds("attention.cu", |gpu| {
        let mut random = Random(9);
        let values: Vec<half::bf16> = (0..256 * 64).map(|_| half::bf16::from_f32(random.unit())).collect();
        let x = gpu.upload(&values);
        let (log_sums, deltas) = (gpu.upload(&[5_f32; 256]), gpu.upload(&[0.1_f32; 256]));
        let dq = gpu.upload(&[0_f32; 256 * 64]);
        let (dk, dv) = (gpu.alloc::<half::bf16>(256 * 64), gpu.alloc::<half::bf16>(256 * 64));
        let arguments = arguments![x, x, x, x, log_sums, deltas, dq, dk, dv, 256_i32, 0.125_f32, 0_i32];
        gpu.launch("attention_backward", [4, 1, 1], 128, 6 * 64 * 72 * 2, &arguments)?;
        Ok(gpu.download::<u32>(dq, 256 * 64))
    });
    let Some(results) = results else { return };
    assert!(results[1..].iter().any(|result| *result != results[0]), "no seed changed anything");
}
