//! Bugs put into the kernels by changes of their text. Each must be caught: by a report, or by wrong numbers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use emulated_gpu::ptx::Fault;
use emulated_gpu::setup;

use super::attention::check_small as attention;
use super::kernels::{
    check_layer_norm as layer_norm, check_philox_words as philox, check_reduction as reduction,
    check_scatter_add as scatter, check_softmax_cross_entropy as softmax,
};
use super::support::{Gpu, arguments, compile, joined, text};

/// What becomes of a kernel file, or of `device.cuh`, with one piece of text replaced.
fn plant(file: &str, from: &str, to: &str, check: impl FnOnce(&mut Gpu) -> Result<(), Fault>) -> Outcome {
    let (kernels, header) = (text(file), text("device.cuh"));
    let changed = |text: &str| text.replacen(from, to, 1);
    assert!(kernels.contains(from) != header.contains(from), "`{from}` must be in one file");
    let ptx = compile(file, joined(file, &changed(&kernels), &changed(&header)));
    let mut gpu = Gpu::with(&ptx);
    match catch_unwind(AssertUnwindSafe(|| check(&mut gpu))) {
        Ok(Ok(())) => Outcome::NotNoticed,
        Ok(Err(fault)) => Outcome::Report(fault.to_string()),
        Err(_) => Outcome::WrongNumbers,
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    NotNoticed,
    WrongNumbers,
    Report(String),
}

/// A test per bug: `name: file and check, text => replacement, parts of the report`; no parts mean wrong numbers.
macro_rules! planted {
    ($($name:ident: $check:ident $file:literal, $from:expr => $to:expr, [$($part:literal),*];)*) => {
        $(#[test]
        fn $name() {
            if !setup::available() {
                return;
            }
            let parts: &[&str] = &[$($part),*];
            match plant($file, $from, $to, $check) {
                Outcome::Report(report) => {
                    assert!(!parts.is_empty(), "better than thought: {report}");
                    for part in parts {
                        assert!(report.contains(part), "no `{part}` in: {report}");
                    }
                }
                outcome => assert!(parts.is_empty() && outcome == Outcome::WrongNumbers, "{outcome:?}"),
            }
        })*
    };
}

planted! {
    forward_barrier_before_the_tile: attention "attention.cu",
        "__syncthreads(); // the tile has arrived" => "",
        ["attention_forward", "ldmatrix", "device.cuh:"];
    forward_barrier_behind_the_tile: attention "attention.cu",
        "__syncthreads(); // the tile may be overwritten" => "",
        ["attention_forward", "ldmatrix", "race: shared byte 9216", "cp.async"];
    forward_barrier_of_some_warps: attention "attention.cu",
        "__syncthreads(); // the tile has arrived" => "if (warp < 2) __syncthreads();",
        ["attention_forward"];
    forward_waits_for_one_group_too_few: attention "attention.cu",
        "wait_copies<1>();" => "wait_copies<2>();",
        ["attention_forward", "ldmatrix", "in flight, begun by `cp.async"];
    forward_does_not_wait_for_the_last_group: attention "attention.cu",
        "    } else {\n      wait_copies<0>();\n    }" => "    }",
        ["attention_forward", "in flight"];
    forward_writes_rows_past_the_end: attention "attention.cu",
        "if (row < length) {\n      const float inverse" => "{\n      const float inverse",
        ["attention_forward", "warp", "global store", "outside every allocation", "attention.cu:"];
    copies_rows_past_the_end: attention "attention.cu",
        "size_t(inside ? first + row : 0) * WIDTH + column, inside ? 16 : 0)" => "size_t(first + row) * WIDTH + column, 16)",
        ["attention_forward", "source of an asynchronous copy", "outside every allocation"];
    copies_into_the_stage_in_use: attention "attention.cu",
        "copy_tile(k_tiles + (tile + 1) % 2" => "copy_tile(k_tiles + tile % 2",
        ["attention_forward", "shared byte"];
    forward_masks_no_columns: attention "attention.cu",
        "const bool seen = column < length &&" => "const bool seen =",
        [];
    forward_shuffles_half_a_warp: attention "attention.cu",
        "    sums[half] += __shfl_xor_sync(0xffffffffu, sums[half], 1);" => "    if (lane < 16) sums[half] += __shfl_xor_sync(0xffffffffu, sums[half], 1);",
        ["attention_forward", "lanes 0-15 wait here"];
    forward_does_not_correct_sums: attention "attention.cu",
        "sums[half] *= correction;" => "",
        [];
    rows_that_are_not_aligned: attention "attention.cu",
        "#define PITCH 72" => "#define PITCH 70",
        ["misaligned shared store of 16 bytes", "cp.async"];
    rows_that_are_too_long: attention "attention.cu",
        "#define PITCH 72" => "#define PITCH 80",
        ["outside the", "cp.async"];
    deltas_of_rows_past_the_end: attention "attention.cu",
        "if (row >= rows) return;" => "",
        ["attention_deltas", "global load", "outside every allocation"];
    backward_does_not_wait_for_copies: attention "attention.cu",
        "    commit_copies();\n    wait_copies<0>();\n    __syncthreads(); // the tiles" => "    commit_copies();\n    __syncthreads(); // the tiles",
        ["attention_backward", "in flight"];
    backward_barrier_before_p: attention "attention.cu",
        "__syncthreads(); // p and ds of all warps are there" => "",
        ["attention_backward", "ldmatrix", "uninitialised shared byte"];
    backward_barrier_behind_the_tiles: attention "attention.cu",
        "__syncthreads(); // the tiles may be overwritten" => "",
        ["attention_backward", "race: shared byte"];
    backward_tile_past_the_end: attention "attention.cu",
        "bf16* ds_tile = p_tile + TILE * PITCH" => "bf16* ds_tile = p_tile + (TILE + 1) * PITCH",
        ["attention_backward", "shared store of 16 bytes", "outside the 55296 bytes", "stmatrix"];
    backward_overwrites_p: attention "attention.cu",
        "bf16* ds_tile = p_tile + TILE * PITCH" => "bf16* ds_tile = p_tile",
        [];
    backward_forgets_the_scale: attention "attention.cu",
        "(ds[n][i] - row_deltas[i / 2]) * scale" => "(ds[n][i] - row_deltas[i / 2])",
        [];
    fragments_swapped: attention "attention.cu",
        "\"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2])" => "\"r\"(a[0]), \"r\"(a[2]), \"r\"(a[1])",
        [];
    transposition_lost: attention "attention.cu",
        "m8n8.x4.trans.shared" => "m8n8.x4.shared",
        [];
    stored_matrices_swapped: attention "attention.cu",
        "[%0], {%1,%2,%3,%4};" => "[%0], {%1,%3,%2,%4};",
        [];
    copies_never_committed: attention "attention.cu",
        "cp.async.commit_group;" => "",
        ["attention_forward", "in flight"];
    small_half_and_large_half_swapped: attention "attention.cu",
        ": \"f\"(high), \"f\"(low)" => ": \"f\"(low), \"f\"(high)",
        [];

    norm_without_barrier: layer_norm "layer_norm.cu",
        "  __syncthreads();\n" => "",
        ["layer_norm", "uninitialised shared byte", "ld.shared", "layer_norm.cu:"];
    norm_shuffles_half_a_warp: layer_norm "layer_norm.cu",
        "  sum = warp_sum(sum);\n" => "  if (lane < 16) sum = warp_sum(sum);\n",
        ["layer_norm", "lanes 0-15 wait here", "shfl.sync"];
    norm_reads_sums_of_missing_warps: layer_norm "layer_norm.cu",
        "lane < warps ? sums[0][lane] : 0.f" => "sums[0][lane]",
        ["layer_norm", "uninitialised shared byte"];
    norm_has_too_few_sums: layer_norm "layer_norm.cu",
        "sums[2][32]" => "sums[2][4]",
        ["layer_norm", "shared"];
    norm_reads_a_column_too_many: layer_norm "layer_norm.cu",
        "i < columns; i += blockDim.x) {" => "i <= columns; i += blockDim.x) {",
        ["layer_norm", "global load", "outside every allocation", "layer_norm.cu:"];
    norm_misses_the_first_column: layer_norm "layer_norm.cu",
        "for (int i = threadIdx.x; i < columns; i += blockDim.x)\n    out" => "for (int i = threadIdx.x + 1; i < columns; i += blockDim.x)\n    out",
        [];

    reduction_without_first_barrier: reduction "reduction.cu",
        "  __syncthreads();\n  if (warp == 0)" => "  if (warp == 0)",
        ["norm_and_greatest", "uninitialised shared byte"];
    reduction_without_second_barrier: reduction "reduction.cu",
        "  __syncthreads();\n  if (is_last" => "  if (is_last",
        ["norm_and_greatest", "race: shared byte"];
    reduction_of_one_lane: reduction "reduction.cu",
        "const uint32_t bits = __reduce_max_sync" => "uint32_t bits = 0;\n  if (lane == 0) bits = __reduce_max_sync",
        ["norm_and_greatest", "redux.sync.max.u32", "lanes 0 wait here"];

    softmax_reads_four_columns_unaligned: softmax "softmax.cu",
        "columns % 4 == 0 ? columns / 4 : 0" => "columns / 4",
        ["softmax_cross_entropy", "misaligned global load of 16 bytes"];
    softmax_without_barrier: softmax "softmax.cu",
        "  __syncthreads();\n" => "",
        ["softmax_cross_entropy", "uninitialised shared byte"];
    softmax_reads_too_many_sums: softmax "softmax.cu",
        "lane < 8 && maxima" => "lane < 32 && maxima",
        ["softmax_cross_entropy", "shared load", "outside the 64 bytes"];

    words_past_the_end: philox "philox.cu",
        "if (i >= count) return;" => "",
        ["random_words, block (2, 0, 0), warp 2", "global store, lane 13: 16 bytes", "outside every allocation"];

    counts_without_barrier: scatter "scatter.cu",
        "  __syncthreads();\n  const int first" => "  const int first",
        ["scatter_add", "atom.shared.add.u32", "was written by lane 13 of the same warp", "scatter.cu:9"];
    counts_without_atomics: scatter "scatter.cu",
        "atomicAdd(&local_counts[ids[row]], 1u)" => "local_counts[ids[row]] += 1u",
        ["scatter_add", "st.shared.u32", "was read by several lanes of the same warp", "scatter.cu:10"];
}

/// The layer norm, with something wrong in how it is launched.
fn launch_norm(change: impl FnOnce(&mut Gpu, &mut [u64; 6], &mut i32)) -> Option<String> {
    let mut gpu = Gpu::of("layer_norm.cu")?;
    let (x, gamma) = (gpu.upload(&[0x3f80_u16; 3 * 40]), gpu.upload(&[1_f32; 40]));
    let mut addresses = [x, gamma, gamma, gpu.alloc::<u16>(120), gpu.alloc::<f32>(3), gpu.alloc::<f32>(3)];
    let mut columns = 40;
    change(&mut gpu, &mut addresses, &mut columns);
    let arguments = arguments![addresses, columns, 1e-5_f32];
    Some(gpu.launch("layer_norm", [3, 1, 1], 32, 0, &arguments).expect_err("a bug is planted").to_string())
}

#[track_caller]
fn assert_parts(report: Option<String>, parts: &[&str]) {
    for part in parts {
        assert!(report.as_ref().is_none_or(|report| report.contains(part)), "no `{part}` in: {report:?}");
    }
}

#[test]
fn input_freed_too_early() {
    let report = launch_norm(|gpu, addresses, _| gpu.memory.free(addresses[1]).unwrap());
    assert_parts(report, &["global load", "an allocation of 160 bytes that was freed", "layer_norm.cu:"]);
}

#[test]
fn input_never_written() {
    let report = launch_norm(|gpu, addresses, _| addresses[0] = gpu.alloc::<u16>(120));
    assert_parts(report, &["global load", "byte 0 of the allocation of 240 bytes", "was never written"]);
}

#[test]
fn null_pointer() {
    let report = launch_norm(|_, addresses, _| addresses[4] = 0);
    assert_parts(report, &["global store", "null pointer", "lane 0"]);
}

#[test]
fn more_columns_than_there_are() {
    assert_parts(launch_norm(|_, _, columns| *columns = 41), &["outside every allocation"]);
}

#[test]
fn an_argument_of_the_wrong_size() {
    let Some(mut gpu) = Gpu::of("reduction.cu") else { return };
    // The count is a 64-bit number; as 32 bits it ends where the kernel wants more.
    let arguments = arguments![[0_u64; 5], 5_i32];
    let report = gpu.launch("norm_and_greatest", [1, 1, 1], 32, 0, &arguments).unwrap_err().to_string();
    assert_parts(Some(report), &["44 bytes of parameters, expected 48"]);
}

#[test]
fn too_little_dynamic_memory() {
    let Some(mut gpu) = Gpu::of("scatter.cu") else { return };
    let (ids, rows) = (gpu.upload(&[0_i32, 1]), gpu.upload(&[1_f32; 8]));
    let (table, counts) = (gpu.upload(&[0_f32; 40]), gpu.upload(&[0_u32; 10]));
    let launch = |gpu: &mut Gpu, ids, bytes| {
        let arguments = arguments![ids, rows, table, counts, 2_i32, 4_i32, 10_i32, 2_i32];
        gpu.launch("scatter_add", [1, 1, 1], 64, bytes, &arguments).map_err(|fault| fault.to_string())
    };
    launch(&mut gpu, ids, 40).unwrap();
    assert_parts(launch(&mut gpu, ids, 36).err(), &["shared store", "outside the 36 bytes", "lane 9"]);
    let wrong = gpu.upload(&[0_i32, 12]);
    assert_parts(launch(&mut gpu, wrong, 40).err(), &["shared atomic", "at 0x30", "outside the 40 bytes"]);
}
