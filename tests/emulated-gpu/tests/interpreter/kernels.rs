//! Layer norm, reduction, softmax, Philox, scatter: each against a reference in `f64` on ragged shapes.

use emulated_gpu::ptx::Fault;
use half::bf16;

use super::support::{Gpu, Random, arguments, assert_close};

/// Half a unit in the last place of bf16, relative.
const BF16: f64 = 1.0 / 256.0;
/// Error of an `f32` sum of some hundred terms, relative to the sum of magnitudes.
const F32_SUM: f64 = 1e-5;

#[test]
fn layer_norm() {
    Gpu::check("layer_norm.cu", check_layer_norm);
}

pub fn check_layer_norm(gpu: &mut Gpu) -> Result<(), Fault> {
    for (rows, columns, threads) in [(5, 768, 256), (3, 1001, 256), (4, 31, 64), (2, 1, 32)] {
        let mut random = Random(columns as u64);
        let x: Vec<bf16> = (0..rows * columns).map(|_| bf16::from_f32(2.0 * random.unit() + 0.5)).collect();
        let gamma: Vec<f32> = (0..columns).map(|_| random.unit()).collect();
        let beta: Vec<f32> = (0..columns).map(|_| random.unit()).collect();
        let (x_at, gamma_at, beta_at) = (gpu.upload(&x), gpu.upload(&gamma), gpu.upload(&beta));
        let y_at = gpu.alloc::<bf16>(x.len());
        let (mean_at, deviation_at) = (gpu.alloc::<f32>(rows), gpu.alloc::<f32>(rows));
        let arguments =
            arguments![x_at, gamma_at, beta_at, y_at, mean_at, deviation_at, columns as i32, 1e-5_f32];
        gpu.launch("layer_norm", [rows as u32, 1, 1], threads, 0, &arguments)?;
        let y = gpu.download::<bf16>(y_at, x.len());
        let means = gpu.download::<f32>(mean_at, rows);
        let deviations = gpu.download::<f32>(deviation_at, rows);
        for row in 0..rows {
            let x: Vec<f64> = x[row * columns..][..columns].iter().map(|x| x.to_f64()).collect();
            let mean = x.iter().sum::<f64>() / columns as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
            let inverse = 1.0 / (variance + 1e-5).sqrt();
            assert_close("mean", [(means[row].into(), mean, F32_SUM)]);
            // Variance is a difference of two numbers of the order of 1.
            assert_close("deviation", [(deviations[row].into(), inverse, inverse.powi(3) * F32_SUM)]);
            let tolerance = inverse.powi(3) * F32_SUM + inverse * F32_SUM;
            let y = &y[row * columns..][..columns];
            assert_close(
                "y",
                (0..columns).map(|i| {
                    let want = (x[i] - mean) * inverse * f64::from(gamma[i]) + f64::from(beta[i]);
                    (y[i].to_f64(), want, want.abs() * BF16 + 3.0 * tolerance)
                }),
            );
        }
    }
    Ok(())
}

#[test]
fn reduction() {
    Gpu::check("reduction.cu", check_reduction);
}

pub fn check_reduction(gpu: &mut Gpu) -> Result<(), Fault> {
    for (count, blocks, threads) in [(10_007_usize, 7, 256), (257, 3, 64), (1, 2, 32)] {
        let mut random = Random(count as u64);
        let x: Vec<f32> = (0..count).map(|_| random.unit()).collect();
        let (x_at, sum, greatest) = (gpu.upload(&x), gpu.upload(&[0_f32]), gpu.upload(&[0_u32]));
        let (finished, result) = (gpu.upload(&[0_u32]), gpu.alloc::<f32>(1));
        let arguments = arguments![x_at, count as i64, sum, greatest, finished, result];
        gpu.launch("norm_and_greatest", [blocks, 1, 1], threads, 0, &arguments)?;
        let want = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        assert_close("norm", [(gpu.download::<f32>(result, 1)[0].into(), want, want * F32_SUM)]);
        let greatest = f32::from_bits(gpu.download::<u32>(greatest, 1)[0]);
        assert_eq!(greatest, x.iter().fold(0_f32, |most, x| most.max(x.abs())));
    }
    Ok(())
}

#[test]
fn softmax_cross_entropy() {
    Gpu::check("softmax.cu", check_softmax_cross_entropy);
}

pub fn check_softmax_cross_entropy(gpu: &mut Gpu) -> Result<(), Fault> {
    for (rows, columns) in [(3, 30_000), (2, 1_027), (2, 9)] {
        let mut random = Random(columns as u64);
        let logits: Vec<f32> = (0..rows * columns).map(|_| 10.0 * random.unit()).collect();
        let targets: Vec<i32> = (0..rows).map(|_| random.below(columns as u64) as i32).collect();
        let (logits_at, targets_at) = (gpu.upload(&logits), gpu.upload(&targets));
        let (losses, gradients) = (gpu.alloc::<f32>(rows), gpu.alloc::<f32>(logits.len()));
        let arguments = arguments![logits_at, targets_at, losses, gradients, columns as i32];
        gpu.launch("softmax_cross_entropy", [rows as u32, 1, 1], 256, 0, &arguments)?;
        let losses = gpu.download::<f32>(losses, rows);
        let gradients = gpu.download::<f32>(gradients, logits.len());
        for row in 0..rows {
            let x: Vec<f64> = logits[row * columns..][..columns].iter().map(|&x| x.into()).collect();
            let greatest = x.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = x.iter().map(|x| (x - greatest).exp()).sum();
            let target = targets[row] as usize;
            let loss = sum.ln() + greatest - x[target];
            assert_close("loss", [(losses[row].into(), loss, 2.0 * F32_SUM * (1.0 + loss))]);
            let gradients = &gradients[row * columns..][..columns];
            assert_close(
                "gradient",
                (0..columns).map(|i| {
                    let softmax = (x[i] - greatest).exp() / sum;
                    let want = softmax - f64::from(u8::from(i == target));
                    (gradients[i].into(), want, softmax * 3.0 * F32_SUM + 1e-7)
                }),
            );
        }
    }
    Ok(())
}

/// Philox 4x32-10, from the paper.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        let [a, b] =
            [(second >> 32) as u32 ^ counter[1] ^ key[0], (first >> 32) as u32 ^ counter[3] ^ key[1]];
        counter = [a, second as u32, b, first as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[test]
fn philox_words() {
    // Known answer of the authors' library (Random123, kat_vectors).
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    Gpu::check("philox.cu", check_philox_words);
}

pub fn check_philox_words(gpu: &mut Gpu) -> Result<(), Fault> {
    let (seed, first, count) = (0x0123_4567_89ab_cdef_u64, u64::from(u32::MAX) - 99, 333_usize);
    let words = gpu.alloc::<[u32; 4]>(count);
    let arguments = arguments![words, seed, first, count as i64];
    gpu.launch("random_words", [3, 1, 1], 128, 0, &arguments)?;
    for (i, words) in gpu.download::<[u32; 4]>(words, count).into_iter().enumerate() {
        let counter = first + i as u64;
        let want = philox([counter as u32, (counter >> 32) as u32, 0, 0], [seed as u32, (seed >> 32) as u32]);
        assert_eq!(words, want, "counter {counter}");
    }
    Ok(())
}

#[test]
fn scatter_add() {
    Gpu::check("scatter.cu", check_scatter_add);
}

pub fn check_scatter_add(gpu: &mut Gpu) -> Result<(), Fault> {
    let (row_count, columns, table_rows, per_block) = (101, 150, 37, 32);
    let mut random = Random(7);
    let ids: Vec<i32> = (0..row_count).map(|_| random.below(table_rows) as i32).collect();
    let rows: Vec<f32> = (0..row_count * columns).map(|_| random.unit()).collect();
    let table: Vec<f32> = (0..table_rows as usize * columns).map(|_| random.unit()).collect();
    let (ids_at, rows_at, table_at) = (gpu.upload(&ids), gpu.upload(&rows), gpu.upload(&table));
    let counts_at = gpu.upload(&vec![0_u32; table_rows as usize]);
    let arguments = arguments![
        ids_at,
        rows_at,
        table_at,
        counts_at,
        row_count as i32,
        columns as i32,
        table_rows as i32,
        per_block
    ];
    gpu.launch("scatter_add", [4, 1, 1], 128, 4 * table_rows as u32, &arguments)?;
    let mut want: Vec<f64> = table.iter().map(|&x| x.into()).collect();
    let mut counts = vec![0_u32; table_rows as usize];
    for (row, &id) in ids.iter().enumerate() {
        counts[id as usize] += 1;
        for column in 0..columns {
            want[id as usize * columns + column] += f64::from(rows[row * columns + column]);
        }
    }
    assert_eq!(gpu.download::<u32>(counts_at, counts.len()), counts);
    let got = gpu.download::<f32>(table_at, table.len());
    assert_close("table", got.into_iter().zip(want).map(|(got, want)| (got.into(), want, F32_SUM)));
    Ok(())
}
