//! The `.approx` functions err, but within their documented bounds, and every kernel's tolerances hold at the worst.

use emulated_gpu::ptx::{Approximations, Fault};

use super::approximate::{FUNCTIONS, errors, operands};
use super::attention::check_small as attention;
use super::kernels::{check_layer_norm, check_reduction, check_softmax_cross_entropy};
use super::support::{Gpu, arguments};

type Check = fn(&mut Gpu) -> Result<(), Fault>;

/// For each function, how many results are not the exact one rounded, and the largest error in terms of the bound.
fn all_errors(approximations: Approximations) -> Option<Vec<(usize, f64)>> {
    let mut gpu = Gpu::of_with("approximations.cu", approximations)?;
    let x = operands();
    let (x_at, y_at) = (gpu.upload(&x), gpu.alloc::<[f32; FUNCTIONS]>(x.len()));
    gpu.launch("approximations", [16, 1, 1], 256, 0, &arguments![x_at, y_at, x.len() as i32]).unwrap();
    let y = gpu.download::<[f32; FUNCTIONS]>(y_at, x.len());
    Some((0..FUNCTIONS).map(|index| errors(index, &x, &y)).collect())
}

#[test]
fn errors_stay_within_their_bounds() {
    let (Some(typical), Some(worst)) =
        (all_errors(Approximations::Typical), all_errors(Approximations::Worst))
    else {
        return;
    };
    for index in 0..FUNCTIONS {
        let (typical, worst) = (typical[index], worst[index]);
        assert!(typical.1 <= 1.0 && worst.1 <= 1.0, "function {index}: {typical:?}, {worst:?} of the bound");
        assert!(typical.0 > 100 && worst.0 > 500, "function {index} is too exact: {typical:?}, {worst:?}");
        assert!(worst.1 > 0.6, "function {index}: the worst is {worst:?} of the bound");
    }
}

#[test]
fn switched_off_they_are_rounded_once() {
    let Some(off) = all_errors(Approximations::Off) else { return };
    for (index, (moved, _)) in off.into_iter().enumerate() {
        // The host's library is not always the nearest: one result in fifty is the other neighbour.
        assert!(moved < 80, "function {index}: {moved} results are not the nearest");
    }
}

#[test]
fn tolerances_of_the_kernels_hold_at_the_worst() {
    let checks: [(&str, Check); 4] = [
        ("attention.cu", attention),
        ("layer_norm.cu", check_layer_norm),
        ("softmax.cu", check_softmax_cross_entropy),
        ("reduction.cu", check_reduction),
    ];
    for (file, check) in checks {
        let Some(mut gpu) = Gpu::of_with(file, Approximations::Worst) else { return };
        check(&mut gpu).unwrap_or_else(|fault| panic!("{fault}"));
    }
}
