//! The kernels of `instructions.cu` against the same arithmetic in Rust.

use emulated_gpu::ptx::Trouble;
use half::{bf16, f16};

use super::support::{Gpu, Random, arguments, assert_close};

#[test]
fn calls_and_tables() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let x: Vec<f32> = (0..70).map(|i| i as f32 * 13.37 - 100.0).collect();
    let (x_at, y_at, calls) = (gpu.upload(&x), gpu.alloc::<f32>(70), gpu.alloc::<u64>(1));
    gpu.launch("calls_and_tables", [3, 1, 1], 32, 0, &arguments![x_at, y_at, 70_i32]).unwrap();
    gpu.launch("count_calls", [1, 1, 1], 1, 0, &arguments![calls]).unwrap();
    assert_eq!(gpu.download::<u64>(calls, 1), [70], "a module's globals live from launch to launch");
    let want = x.iter().enumerate().map(|(i, &x)| {
        let digits = (x.abs() as i32) % 1000;
        let mut sum = f64::from(x) + f64::from(digits);
        if i % 3 == 0 {
            let t = sum * 0.01;
            sum = 1.0 - 0.5 * t + 0.25 * t * t - 0.125 * t * t * t;
        }
        sum + [10.0, 100.0, 1000.0, 10000.0][i % 4]
    });
    let got = gpu.download::<f32>(y_at, 70);
    assert_close("y", got.into_iter().zip(want).map(|(got, want)| (got.into(), want, want.abs() * 1e-5)));
}

#[test]
fn local_arrays() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let mut random = Random(3);
    let x: Vec<f32> = (0..40 * 9).map(|_| random.unit()).collect();
    let (x_at, y_at) = (gpu.upload(&x), gpu.alloc::<f32>(40));
    gpu.launch("median", [1, 1, 1], 64, 0, &arguments![x_at, y_at, 40_i32]).unwrap();
    for (nine, median) in x.chunks_exact(9).zip(gpu.download::<f32>(y_at, 40)) {
        let mut sorted = nine.to_vec();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(median, sorted[4]);
    }
}

#[test]
fn integers() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let mut random = Random(5);
    let edges = [0, 1, -1, i64::MIN, i64::MAX, 7, -100, 1 << 32, i64::from(u32::MAX), 63];
    let mut pairs: Vec<(i64, i64)> = edges.iter().flat_map(|&a| edges.map(|b| (a, b))).collect();
    pairs.retain(|&pair| pair != (i64::MIN, -1));
    pairs.extend((0..100).map(|_| (random.bits() as i64, (random.bits() >> random.below(64)) as i64)));
    let (a, b): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
    let (a_at, b_at, out) = (gpu.upload(&a), gpu.upload(&b), gpu.alloc::<[i64; 12]>(pairs.len()));
    let arguments = arguments![a_at, b_at, out, pairs.len() as i32];
    gpu.launch("integers", [1, 1, 1], 256, 0, &arguments).unwrap();
    for ((a, b), got) in pairs.iter().copied().zip(gpu.download::<[i64; 12]>(out, pairs.len())) {
        let (ua, ub) = (a as u64, b as u64);
        let (low_a, low_b) = (a as u32, b as u32);
        let bytes = [low_a.to_le_bytes(), low_b.to_le_bytes()].concat();
        let permuted = u32::from_le_bytes([bytes[3], bytes[4], bytes[7], bytes[2]]);
        // `__funnelshift_l(low, high, n)` is the upper word of high:low shifted left.
        let funnel = ((u64::from(low_b) << 32 | u64::from(low_a)) << (low_b & 31) >> 32) as u32;
        let want = [
            a.checked_div(b).unwrap_or(0),
            a.checked_rem(b).unwrap_or(0),
            ua.checked_div(ub).unwrap_or(0) as i64,
            ((u128::from(ua) * u128::from(ub)) >> 64) as i64,
            ((i128::from(a) * i128::from(b)) >> 64) as i64,
            i64::from(ua.count_ones() + 100 * ua.leading_zeros())
                + 10000 * if ua == 0 { 0 } else { i64::from(ua.trailing_zeros()) + 1 },
            ua.reverse_bits() as i64,
            // The first term is a 32-bit number and wraps only then.
            (u64::from(funnel) + u64::from(permuted)) as i64,
            ((i64::from(low_a as i32) * i64::from(low_b as i32)) >> 32)
                + i64::from((low_a as i32).abs_diff(low_b as i32).wrapping_add(7)),
            a.wrapping_shr(ub as u32 & 63) ^ (ua << (ub & 63)) as i64 ^ (ua >> (ub & 63)) as i64,
            a.max(b) ^ ua.min(ub) as i64,
            a.wrapping_abs(),
        ];
        assert_eq!(got, want, "a = {a:#x}, b = {b:#x}");
    }
}

#[test]
fn library_functions() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let x: Vec<f32> = (0..200).map(|i| (i as f32 - 100.0) * 0.0371).collect();
    let (x_at, y_at, z_at) = (gpu.upload(&x), gpu.alloc::<[f32; 16]>(200), gpu.alloc::<[f64; 2]>(200));
    gpu.launch("functions", [1, 1, 1], 224, 0, &arguments![x_at, y_at, z_at, 200_i32]).unwrap();
    let (y, z) = (gpu.download::<[f32; 16]>(y_at, 200), gpu.download::<[f64; 2]>(z_at, 200));
    for ((x, y), z) in x.into_iter().zip(y).zip(z) {
        let v = f64::from(x);
        // Rounding to a number of decimals of an f32 product, as the kernel does.
        let tens = x * 10.0;
        let rounded = tens.round_ties_even() + x.floor() + x.ceil() + x.trunc();
        let integers =
            ((x * 100.0) as i32) as f32 + ((x.abs() * 3e9) as u32) as f32 + ((x * 1e12) as i64) as f32;
        // Half a last place at most separates directed from nearest rounding, five times.
        let directed = (v + 0.1) + v * 0.3 + v / 3.0 + (v * v + 0.1) + v.abs().sqrt();
        let want = [
            (v.exp(), 1e-6),
            ((v.abs() + 0.1).ln(), 1e-6),
            (libm_erf(v), 1e-6),
            (v.tanh(), 1e-6),
            (v.abs().powf(1.7), 1e-6),
            (v.abs().sqrt(), 1e-7),
            (v / (1.0 + v * v), 1e-6),
            (1.0 / (1.0 + v * v).sqrt(), 1e-6),
            (f64::from(1000.0 * x).sin(), 1e-6),
            (v % f64::from(0.3_f32), 1e-7),
            (rounded.into(), 0.0),
            ((v * v).ln_1p(), 1e-6),
            (v.exp_m1(), 1e-6),
            (0.5 * (1.0 + libm_erf(v / std::f64::consts::SQRT_2)), 1e-6),
            (integers.into(), 0.0),
            (directed, 1e-6),
        ];
        for (i, (want, relative)) in want.into_iter().enumerate() {
            assert_close(
                &format!("function {i} of {x}"),
                [(y[i].into(), want, relative * (1.0 + want.abs()))],
            );
        }
        let first = v.exp() + v.abs().sqrt() / 3.0 + v.mul_add(2.0, 1e-9);
        let second = (v * 1e6).round_ties_even() + v.min(0.5) + if x > 0.0 { 1.0 } else { 2.0 };
        assert_close("double", [(z[0], first, 1e-14 * first.abs() + 1e-14), (z[1], second, 1e-8)]);
    }
}

/// The error function by its series and its continued fraction, to 1e-12.
fn libm_erf(x: f64) -> f64 {
    let square = x * x;
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -square / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let fraction = (1..60).rev().fold(x.abs(), |tail, n| x.abs() + f64::from(n) / 2.0 / tail);
    x.signum() * (1.0 - (-square).exp() / fraction / std::f64::consts::PI.sqrt())
}

#[test]
fn packed_halves() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let mut random = Random(11);
    // Finite in both formats: the topmost exponent bit is clear.
    let mut words = || (0..300).map(|_| random.bits() as u32 & 0xbfff_bfff).collect::<Vec<_>>();
    let (a, b, c) = (words(), words(), words());
    let [a_at, b_at, c_at] = [&a, &b, &c].map(|words| gpu.upload(words));
    let out = gpu.alloc::<[u32; 12]>(300);
    let arguments = arguments![a_at, b_at, c_at, out, 300_i32];
    gpu.launch("halves", [1, 1, 1], 320, 0, &arguments).unwrap();
    // What one rounding of the exact result gives; f64 holds all of these exactly or nearly so.
    let f16s = |f: &dyn Fn(f64, f64, f64) -> f64, words: [u32; 3]| {
        map_halves(words, |[a, b, c]| {
            let [a, b, c] = [a, b, c].map(|bits| f16::from_bits(bits).to_f64());
            nearest(f(a, b, c), |bits| f16::from_bits(bits).to_f64(), f16::from_f64(f(a, b, c)).to_bits())
        })
    };
    let bf16s = |f: &dyn Fn(f64, f64, f64) -> f64, words: [u32; 3]| {
        map_halves(words, |[a, b, c]| {
            let [a, b, c] = [a, b, c].map(|bits| bf16::from_bits(bits).to_f64());
            nearest(f(a, b, c), |bits| bf16::from_bits(bits).to_f64(), bf16::from_f64(f(a, b, c)).to_bits())
        })
    };
    for (i, got) in gpu.download::<[u32; 12]>(out, 300).into_iter().enumerate() {
        let words = [a[i], b[i], c[i]];
        let [low, high] = [words[0] as u16, (words[0] >> 16) as u16];
        let low_value = f16::from_bits(low).to_f32();
        let toward_zero = low;
        let want = [
            f16s(&|a, b, c| a.mul_add(b, c), words),
            f16s(&|a, b, _| a + b, words),
            f16s(&|a, b, _| a * b, words),
            f16s(&|a, b, _| if a > b { a } else { b }, words),
            bf16s(&|a, b, c| a.mul_add(b, c), words),
            bf16s(&|a, b, _| a + b, words),
            bf16s(&|a, b, _| a - b, words),
            bf16s(&|a, b, _| if a < b { a } else { b }, words),
            u32::from(high & 0x7fff) << 16 | u32::from(low ^ 0x8000),
            f16s(&|a, b, _| f64::from(u8::from(a < b)), words),
            u32::from(bf16::from_f32(low_value).to_bits()) << 16 | u32::from(toward_zero),
            (words[0].wrapping_add(0x1000)) & !0x1fff,
        ];
        for (operation, (got, want)) in got.into_iter().zip(want).enumerate() {
            assert_eq!(got, want, "operation {operation} of {words:x?}");
        }
    }
}

fn map_halves(words: [u32; 3], f: impl Fn([u16; 3]) -> u16) -> u32 {
    let [low, high] = [0, 16].map(|shift| f(words.map(|word| (word >> shift) as u16)));
    u32::from(high) << 16 | u32::from(low)
}

/// Of `guess` and its neighbours, the one nearest to `exact`; ties go to the even one.
fn nearest(exact: f64, value: impl Fn(u16) -> f64, guess: u16) -> u16 {
    let distance = |bits: u16| (value(bits) - exact).abs();
    let candidates = [guess, guess.wrapping_sub(1), guess.wrapping_add(1)];
    let finite = candidates.into_iter().filter(|&bits| value(bits).is_finite());
    let best = finite.min_by(|&x, &y| distance(x).total_cmp(&distance(y)).then((x & 1).cmp(&(y & 1))));
    if value(guess).is_finite() { best.unwrap_or(guess) } else { guess }
}

#[test]
fn exchanges() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let values: Vec<u32> = (0..32).map(|lane| lane * 7 % 11).collect();
    let (values_at, out) = (gpu.upload(&values), gpu.alloc::<[u32; 16]>(32));
    // The kernel leaves the last word of each thread alone.
    gpu.memory.fill(out, &[0], 32 * 64).unwrap();
    gpu.launch("exchanges", [1, 1, 1], 32, 0, &arguments![values_at, out]).unwrap();
    for (lane, got) in gpu.download::<[u32; 16]>(out, 32).into_iter().enumerate() {
        let (first, value) = (lane / 16 * 16, values[lane]);
        let half = &values[first..first + 16];
        let mask = |pick: &dyn Fn(u32) -> bool| {
            half.iter().enumerate().fold(0, |bits, (i, &v)| bits | u32::from(pick(v)) << (first + i))
        };
        let agreed = half.iter().all(|v| v & !7 == value & !7);
        let segment = |width: usize| lane / width * width;
        let down = if lane + 2 < segment(8) + 8 { values[lane + 2] } else { value };
        let up = if lane >= segment(16) + 3 { values[lane - 3] } else { value };
        let even = mask(&|v| v > 2) & 0x5555_5555;
        let want = [
            mask(&|v| v & 1 == 1),
            u32::from(half.contains(&3)) + 2,
            mask(&|v| v == value),
            if agreed { mask(&|_| true) + 1 } else { 0 },
            half.iter().sum(),
            half.iter().map(|&v| v as i32 - 4).min().unwrap() as u32,
            half.iter().fold(0, |all, v| all ^ v),
            up,
            down,
            values[segment(4) + (value as usize & 3)],
            u32::MAX,
            if lane % 2 == 0 { even } else { 7 },
            mask(&|v| v == value),
            lane as u32,
            values[segment(8) + ((lane % 8) ^ 5)],
            0,
        ];
        assert_eq!(got, want, "lane {lane}");
    }
}

#[test]
fn atomics() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let values: Vec<i32> = (0..96).map(|i| i * 37 % 101 - 20).collect();
    let start = [0, 1000, 0, -1, 0, 0, 0, 5, -50, 0, -1, -1];
    let (values_at, out) = (gpu.upload(&values), gpu.upload(&start));
    let (floats, doubles) = (gpu.upload(&[0.5_f32, -1.0, 0.0, 0.0]), gpu.upload(&[0.25_f64]));
    let (halves, longs) = (gpu.upload(&[0_u32; 2]), gpu.upload(&[0_i64, i64::MIN]));
    let arguments = arguments![values_at, out, floats, doubles, halves, longs];
    gpu.launch("atomics", [1, 1, 1], 96, 0, &arguments).unwrap();
    let sum: i32 = values.iter().sum();
    let greatest = values.iter().copied().max().unwrap();
    let mut chained = start[8];
    let (mut up, mut down) = (0_u32, 5_u32);
    for &value in &values {
        chained = chained.max(value) + 1;
        up = if up >= 20 { 0 } else { up + 1 };
        down = if down == 0 || down > 20 { 20 } else { down - 1 };
    }
    let want = [
        sum,
        values.iter().copied().min().unwrap(),
        values.iter().map(|&v| v as u32).max().unwrap() as i32,
        values.iter().fold(-1, |all, v| all & v),
        values.iter().fold(0, |all, v| all | v),
        values.iter().fold(0, |all, v| all ^ v),
        up as i32,
        down as i32,
        chained,
        1234,
        sum,
        greatest,
    ];
    assert_eq!(gpu.download::<i32>(out, 12), want);
    assert_eq!(gpu.download::<f32>(floats, 4), [0.5 + sum as f32, -1.0, sum as f32, 96.0]);
    assert_eq!(gpu.download::<f64>(doubles, 1), [0.25 + 0.5 * f64::from(sum)]);
    let halves = gpu.download::<u32>(halves, 2);
    assert_eq!(halves[0], 0x0001_0001 * u32::from(f16::from_f32(96.0).to_bits()));
    assert_eq!(halves[1], 0x0001_0001 * u32::from(bf16::from_f32(96.0).to_bits()));
    let shifted: i64 = values.iter().map(|&v| i64::from(v) << 33).sum();
    assert_eq!(gpu.download::<i64>(longs, 2), [shifted, i64::from(greatest) << 40]);
}

#[test]
fn barriers() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let values: Vec<i32> = (0..128).map(|i| i * 5 % 9).collect();
    let (values_at, out) = (gpu.upload(&values), gpu.alloc::<i32>(128));
    gpu.launch("barriers", [1, 1, 1], 128, 0, &arguments![values_at, out]).unwrap();
    let count = values.iter().filter(|&&value| value > 2).count() as i32;
    for (i, got) in gpu.download::<i32>(out, 128).into_iter().enumerate() {
        assert_eq!(got, values[i ^ 32] + 100 * count + 100_000 + 1_000_000);
    }
}

#[test]
fn printing_and_assertions() {
    let Some(mut gpu) = Gpu::of("instructions.cu") else { return };
    let statistics = gpu.launch("print_and_assert", [1, 1, 1], 40, 0, &arguments![40_i32]).unwrap();
    assert_eq!(statistics.printed, "thread 0 of 40: 0.00 done%\nthread 1 of 40: 0.25 done%\n");
    let fault = gpu.launch("print_and_assert", [1, 1, 1], 40, 0, &arguments![35_i32]).unwrap_err();
    let Trouble::Assertion(text) = &*fault.trouble else { panic!("{fault}") };
    assert!(text.starts_with("int(threadIdx.x) < limit (instructions.cu:"), "{text}");
    assert!(text.ends_with("lane 3)"), "{text}");
}
