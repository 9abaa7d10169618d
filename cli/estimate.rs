//! How long the run is going to take, in words, and what to change where that is absurd.

use std::time::Duration;

use train::run::clock::{format_duration, unix_seconds, utc};
use train::training::{Estimate, Terms, TrainerOptions};

const DAY: f64 = 86_400.0;
const YEAR: f64 = 365.25 * DAY;
/// Longer than this, other sizes are proposed.
const LONG: f64 = 2.0 * DAY;
/// So many steps at least teach a small model something; where an hour has fewer, the batch is too large for this machine.
const FEW_STEPS: u64 = 500;
/// More passes over the same text than this teach next to nothing.
const MANY_EPOCHS: f64 = 100.0;

/// The estimate, and advice where it is needed.
pub fn words(estimate: &Estimate, options: &TrainerOptions, steps_done: u64, terms: &Terms) -> String {
    let left = estimate.seconds_left;
    let mut text = format!(
        "estimate: a step takes about {}, the {} {} about {}",
        duration(estimate.step_seconds()),
        options.steps - steps_done,
        if steps_done > 0 { "steps left" } else { "steps" },
        duration(left),
    );
    if (3600.0..YEAR).contains(&left) {
        text += &format!(" (until {})", utc((unix_seconds() + left) as u64));
    }
    text += &format!("; {} seen {} times", terms.material, count(estimate.epochs));
    if left > LONG {
        let steps = estimate.steps_an_hour(estimate.micro_batches);
        text += &format!("\n  that is long for this machine: --steps {steps} would take an hour");
        if steps < FEW_STEPS && estimate.micro_batches > 1 {
            text += &format!(
                ", and so would --batch {} --steps {}",
                estimate.sequences,
                estimate.steps_an_hour(1)
            );
        }
        text += &format!("; {} steps faster, --max-time ends a run in time", terms.faster);
    }
    if estimate.epochs > MANY_EPOCHS {
        let enough = (MANY_EPOCHS / estimate.epochs * options.steps as f64).ceil();
        text += &format!(
            "\n  that is little to learn from in so many steps: with --steps {enough} {} still seen {MANY_EPOCHS} times",
            terms.material
        );
    }
    text
}

fn duration(seconds: f64) -> String {
    match seconds {
        0.0..0.0095 => format!("{:.1}ms", 1e3 * seconds),
        0.0095..9.5 => format!("{seconds:.2}s"),
        9.5..YEAR => format_duration(Duration::from_secs_f64(seconds)),
        _ => format!("{:.1} years", seconds / YEAR),
    }
}

fn count(times: f64) -> String {
    if times < 9.95 { format!("{times:.1}") } else { format!("{times:.0}") }
}

#[cfg(test)]
mod tests {
    use train::config::Interval;
    use train::optimization::{OptimizerSettings, Schedule};

    use super::*;

    const TERMS: Terms =
        Terms { material: "the text is", faster: "a smaller --preset makes", model: "", batch: "" };

    fn said(micro_batch: Duration, micro_batches: u64, steps: u64, epochs: f64) -> String {
        let options = TrainerOptions {
            steps,
            batch_size: 8 * micro_batches as usize,
            evaluate_every: 1000,
            patience: None,
            save_every: Interval::Steps(1),
            log_every: 10,
            schedule: Schedule::default(),
            optimizer: OptimizerSettings::default(),
        };
        let seconds_left = steps as f64 * micro_batches as f64 * micro_batch.as_secs_f64();
        let estimate = Estimate { micro_batch, micro_batches, sequences: 8, seconds_left, epochs };
        words(&estimate, &options, 0, &TERMS)
    }

    #[test]
    fn a_sensible_run_needs_no_advice() {
        assert_eq!(
            said(Duration::from_millis(40), 2, 4000, 3.21),
            "estimate: a step takes about 0.08s, the 4000 steps about 5m 20s; the text is seen 3.2 times"
        );
        let fast = said(Duration::from_micros(2940), 1, 500, 1.0);
        assert!(fast.starts_with("estimate: a step takes about 2.9ms, the 500 steps about 1.47s;"), "{fast}");
        let long = said(Duration::from_secs(1), 4, 20_000, 12.0);
        assert!(long.contains("about 22h 13m (until 20") && !long.contains('\n'), "{long}");
    }

    #[test]
    fn an_absurd_run_is_told_what_would_fit() {
        let text = said(Duration::from_secs(15), 32, 125_000, 13_000.0);
        assert!(
            text.starts_with("estimate: a step takes about 8m 00s, the 125000 steps about 1.9 years; "),
            "{text}"
        );
        for part in
            ["--steps 7 would take an hour", "--batch 8 --steps 240", "seen 13000 times", "--steps 962 "]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
