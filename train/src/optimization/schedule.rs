//! The learning rate at each step, and the rule that fits it to the batch size.

/// Linear warm-up, then polynomial decay to zero, as ALBERT's pre-training has it (`model/ALBERT.md`, Learning rate).
///
/// Two properties are the reference's own: the decay counts from step 0, not from the end of the warm-up, so there is a
/// small step down where the two meet; and the first update has a learning rate of zero. One is not: before
/// `start_warmup_step` the reference's learning rate is negative, here it is zero.
///
/// ```
/// use train::optimization::Schedule;
/// let schedule = Schedule { learning_rate: 0.00176, steps: 125_000, warmup_steps: 3125, ..Schedule::default() };
/// assert_eq!(schedule.at(62_500), 0.00088);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The learning rate that both parts are fractions of.
    pub learning_rate: f64,
    /// Steps of the whole run, after which it is zero.
    pub steps: u64,
    /// Steps over which it rises; 0 for none.
    pub warmup_steps: u64,
    /// The step at which the rise begins.
    pub start_warmup_step: u64,
    /// Power of the decay; 1 is linear.
    pub poly_power: f64,
}

impl Default for Schedule {
    /// ALBERT's own: batch 4096, 125 000 steps.
    fn default() -> Self {
        Schedule {
            learning_rate: 0.00176,
            steps: 125_000,
            warmup_steps: 3125,
            start_warmup_step: 0,
            poly_power: 1.0,
        }
    }
}

impl Schedule {
    /// Whether the learning rate comes to its height within the steps.
    pub fn reaches_its_height(&self) -> bool {
        let start = self.start_warmup_step;
        start.saturating_add(self.warmup_steps) <= self.steps && (start == 0 || start < self.steps)
    }

    /// The learning rate of the update after `step` updates were done.
    pub fn at(&self, step: u64) -> f64 {
        let since_start = step.saturating_sub(self.start_warmup_step);
        if since_start < self.warmup_steps {
            self.learning_rate * since_start as f64 / self.warmup_steps as f64
        } else if step >= self.steps {
            0.0
        } else {
            let left = 1.0 - step as f64 / self.steps as f64;
            self.learning_rate * left.powf(self.poly_power)
        }
    }
}

/// ALBERT's batch size, for which its learning rate and warm-up were chosen.
const REFERENCE_BATCH: f64 = 4096.0;

/// A batch of fewer sequences is small: runs with it have some thousand steps, not a hundred thousand, and a rate that
/// follows the square-root rule teaches them nothing. Published points of the rule begin at 512.
const SMALL_BATCH: usize = 256;
/// LAMB's lowest learning rate for a small batch. Measured with `--max-seq-length 64 --batch 16` on 23 MB of English and 30,000
/// pieces, share of held-out masked words told right (0.056 by the commonest): `--preset micro --steps 2000` at 1.1e-4, the
/// square-root rule, 0.055; at 1e-3 0.078; 2e-3 0.099; 4e-3 0.124. `--preset tiny --steps 1000` at 1e-3 0.082, at 2e-3 0.095.
pub const LAMB_FLOOR: f64 = 2e-3;
/// AdamW's, measured as above with `micro`: 3e-4 0.097.
pub const ADAMW_FLOOR: f64 = 3e-4;

/// The learning rate of LAMB for a batch of `batch` sequences: 0.00176·√(batch/4096), the square-root rule of the LAMB
/// paper through ALBERT's own point (`model/ALBERT.md`, Learning rate), with a floor for small batches.
pub fn lamb_learning_rate(batch: usize) -> f64 {
    floored(0.00176 * (batch as f64 / REFERENCE_BATCH).sqrt(), LAMB_FLOOR, batch)
}

/// The learning rate of AdamW for a batch of `batch` sequences: BERT's 1e-4 at 256, under the same square-root rule, with a
/// floor for small batches.
pub fn adamw_learning_rate(batch: usize) -> f64 {
    floored(1e-4 * (batch as f64 / 256.0).sqrt(), ADAMW_FLOOR, batch)
}

fn floored(rate: f64, floor: f64, batch: usize) -> f64 {
    if batch < SMALL_BATCH { rate.max(floor) } else { rate }
}

/// The warm-up for a batch of `batch` sequences: 1/40 of the run at 4096 and in proportion to the batch, as in the LAMB
/// paper's table (`model/ALBERT.md`, Learning rate), but between 1 % and 20 % of the run. The floor is ours: without bias correction
/// the first updates are about three times too long, whatever the batch.
pub fn warmup_steps(batch: usize, steps: u64) -> u64 {
    let share = (batch as f64 / REFERENCE_BATCH / 40.0).clamp(0.01, 0.2);
    (share * steps as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn the_reference_values_of_pretraining() {
        // `model/ALBERT.md`, Learning rate, and between.
        for (step, expected) in [
            (0, 0.0),
            (1, 5.632e-07),
            (100, 5.632e-05),
            (3124, 0.0017594368),
            (3125, 0.001716),
            (3126, 0.00171598592),
            (62_500, 0.00088),
            (124_999, 1.408e-08),
            (125_000, 0.0),
        ] {
            assert_relative_eq!(Schedule::default().at(step), expected, max_relative = 1e-10);
        }
    }

    #[test]
    fn the_reference_values_of_fine_tuning() {
        let mnli = Schedule { learning_rate: 3e-5, steps: 10_000, warmup_steps: 1000, ..Schedule::default() };
        assert_relative_eq!(mnli.at(999), 2.997e-05, max_relative = 1e-12);
        assert_relative_eq!(mnli.at(1000), 2.7e-05, max_relative = 1e-12);
    }

    #[test]
    fn it_is_never_negative_and_ends_at_zero() {
        let late = Schedule { start_warmup_step: 50, warmup_steps: 20, steps: 100, ..Schedule::default() };
        assert_eq!(late.at(0), 0.0);
        assert_eq!(late.at(50), 0.0);
        assert_relative_eq!(late.at(60), 0.00088);
        assert_relative_eq!(late.at(70), 0.00176 * 0.3);
        assert_eq!(late.at(100), 0.0);
        assert_eq!(late.at(u64::MAX), 0.0);
        let flat = Schedule { warmup_steps: 0, poly_power: 0.0, ..Schedule::default() };
        assert_eq!((flat.at(0), flat.at(124_999)), (0.00176, 0.00176));
        let square = Schedule { warmup_steps: 0, poly_power: 2.0, steps: 100, ..Schedule::default() };
        assert_relative_eq!(square.at(50), 0.00176 / 4.0);
    }

    #[test]
    fn the_rules_pass_through_the_published_points() {
        assert_eq!(lamb_learning_rate(4096), 0.00176);
        assert_eq!(warmup_steps(4096, 125_000), 3125);
        // The LAMB paper's table: 1k 8.8e-4, 2k 1.25e-3, 8k 2.5e-3, 16k 3.5e-3, 32k 5e-3.
        for (batch, rate) in
            [(512, 6.25e-4), (1024, 8.8e-4), (2048, 1.25e-3), (8192, 2.5e-3), (16_384, 3.5e-3)]
        {
            assert_relative_eq!(lamb_learning_rate(batch), rate, max_relative = 0.01);
        }
        assert_eq!([1, 16, 255].map(lamb_learning_rate), [LAMB_FLOOR; 3]);
        assert_eq!([1, 16, 255].map(adamw_learning_rate), [ADAMW_FLOOR; 3]);
        assert_eq!((lamb_learning_rate(256), adamw_learning_rate(256)), (0.00044, 1e-4));
        assert_eq!(warmup_steps(16_384, 1000), 100);
        assert_eq!(warmup_steps(32_768, 1000), 200);
        assert_eq!(warmup_steps(8, 1000), 10);
        assert_eq!(warmup_steps(1 << 20, 1000), 200);
    }
}
