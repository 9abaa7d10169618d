//! How far a fast kernel may be from the reference: the one place that says so.

/// Half a unit in the last place of f32, in which the CPU computes.
const U_COMPUTE: f64 = 1.0 / (1 << 24) as f64;
/// The same of bf16, which has eight digits and stores activations.
const U_BF16: f64 = 1.0 / (1 << 8) as f64;
/// The rounding errors of a chain of a few operations that each round once, with room for inputs up to 2 inside an
/// exponential: a wrong formula is off by orders of magnitude more.
const C: f64 = 4.0;
/// Bound of the relative norm between an analytic gradient and central differences, both in f64.
pub const FINITE_DIFFERENCE: f64 = 1e-7;

/// Bound of the relative norm for results that sum `reduced` rounded terms: errors are independent, so they grow with the
/// root.
pub fn bound(reduced: usize, stored_in_bf16: bool) -> f64 {
    let u_store = if stored_in_bf16 { U_BF16 } else { U_COMPUTE };
    C * (U_COMPUTE * (reduced as f64).sqrt() + u_store)
}

/// Panics, naming `what` and the worst element, unless ‖actual − expected‖ ≤ bound · ‖expected‖.
pub fn assert_close(what: &str, expected: &[f64], actual: &[f64], bound: f64) {
    assert_eq!(expected.len(), actual.len(), "{what}: lengths differ");
    if let Some(i) = expected.iter().position(|value| !value.is_finite()) {
        panic!("{what}: the reference itself has {} at {i}", expected[i]);
    }
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let error = norm(&mut expected.iter().zip(actual).map(|(e, a)| a - e));
    let scale = norm(&mut expected.iter().copied());
    if error <= bound * scale {
        return;
    }
    let distance = |i: &usize| {
        let distance = (actual[*i] - expected[*i]).abs();
        if distance.is_nan() { f64::INFINITY } else { distance }
    };
    let worst = (0..expected.len()).max_by(|i, j| distance(i).total_cmp(&distance(j)));
    let worst = worst.expect("an empty result has no error");
    panic!(
        "{what}: relative norm {:.3e} exceeds {bound:.3e}; worst of {} elements is {worst}: {:e}, should be {:e}",
        error / scale,
        expected.len(),
        actual[worst],
        expected[worst],
    );
}
