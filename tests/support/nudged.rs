//! Rounding, simulated.

use kernels::random::Philox;

/// `values`, each moved by at most a unit in its last place: less than what sums in another order are apart by.
pub fn nudged(values: &[f32], seed: u64) -> Vec<f32> {
    let philox = Philox::new(seed, 0);
    let nudge = |(index, &value): (usize, &f32)| match philox.word(0, index as u64) % 3 {
        0 => value.next_down(),
        1 => value,
        _ => value.next_up(),
    };
    values.iter().enumerate().map(nudge).collect()
}
