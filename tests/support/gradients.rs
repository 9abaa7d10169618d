//! How close recorded outputs and gradients are met.

use engine::Device;

use crate::support::assert_close;

/// Of f64 against values that were recorded in f32, and of f32 against the same.
pub fn tolerance(device: &Device) -> f64 {
    match device {
        Device::Reference => 1e-5,
        Device::Cpu(_) | Device::Cuda(_) => 1e-4,
    }
}

/// Compares a gradient. That of a bias which adds the same number to everything a softmax compares, as the bias of keys does,
/// is 0 in exact arithmetic, so that what was recorded is rounding error: there the bound is absolute, relative to a gradient
/// of norm 1. `unseen` are the ends of the names of such biases beside that of keys.
#[track_caller]
pub fn assert_gradient(found: &[f64], expected: &[f32], tolerance: f64, unseen: &[&str], what: &str) {
    if unseen.iter().chain(&["attention.key.bias"]).any(|bias| what.ends_with(bias)) {
        let distance = |(found, &expected): (&f64, &f32)| (found - f64::from(expected)).powi(2);
        assert_eq!(found.len(), expected.len(), "{what}");
        let norm = found.iter().zip(expected).map(distance).sum::<f64>().sqrt();
        assert!(norm <= tolerance, "{what}: {norm:e} apart where both are rounding error");
    } else {
        assert_close(found, expected, tolerance, what);
    }
}
