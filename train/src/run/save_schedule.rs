//! When the next checkpoint is due: at the interval asked for, or soon again after one that the disk refused.

use std::time::{Duration, Instant};

use crate::config::Interval;

/// Until the next try after the first refusal; it doubles with each one that follows.
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// Refusals in a row before the run ends, two hours after the first: what is in memory only may be lost any moment.
const MOST_REFUSALS: u32 = 10;

/// See the module's page.
#[derive(Clone, Debug)]
pub struct SaveSchedule {
    interval: Interval,
    last: Instant,
    refusals: u32,
    retry: Option<Instant>,
}

impl SaveSchedule {
    /// A checkpoint at every `interval`, counted from `now`.
    pub fn new(interval: Interval, now: Instant) -> Self {
        SaveSchedule { interval, last: now, refusals: 0, retry: None }
    }

    /// Whether a checkpoint is due after `step` steps.
    pub fn is_due(&self, step: u64, now: Instant) -> bool {
        match self.retry {
            Some(retry) => now >= retry,
            None => self.interval.is_due(step, now.duration_since(self.last)),
        }
    }

    /// Notes that a checkpoint was saved.
    pub fn saved(&mut self, now: Instant) {
        *self = Self::new(self.interval, now);
    }

    /// Notes that the disk refused a checkpoint; how long until the next try, or `None` if it refused too many. One that
    /// was tried before its time does not count.
    pub fn refused(&mut self, now: Instant) -> Option<Duration> {
        if let Some(retry) = self.retry
            && now < retry
        {
            return Some(retry - now);
        }
        self.refusals += 1;
        let wait = FIRST_RETRY * 2_u32.pow(self.refusals - 1);
        self.retry = Some(now + wait);
        (self.refusals < MOST_REFUSALS).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_refused_checkpoint_is_tried_again_soon_and_then_ever_less_often() {
        let start = Instant::now();
        let mut schedule = SaveSchedule::new(Interval::Time(1800 * SECOND), start);
        assert!(!schedule.is_due(1, start + 1799 * SECOND) && schedule.is_due(1, start + 1800 * SECOND));
        let mut now = start + 1800 * SECOND;
        for refusal in 0..MOST_REFUSALS - 1 {
            let wait = 15 * 2_u32.pow(refusal) * SECOND;
            assert_eq!(schedule.refused(now), Some(wait));
            // The best of all evaluations is tried at once, and does not count.
            assert_eq!(schedule.refused(now + SECOND), Some(wait - SECOND));
            assert!(!schedule.is_due(1, now + wait - SECOND) && schedule.is_due(1, now + wait));
            now += wait;
        }
        assert_eq!(now - start, (1800 + 7665) * SECOND);
        assert_eq!(schedule.refused(now), None);
        // One that was taken ends it.
        schedule.saved(now);
        assert!(!schedule.is_due(1, now + 1799 * SECOND) && schedule.is_due(1, now + 1800 * SECOND));
        assert_eq!(schedule.refused(now), Some(FIRST_RETRY));
    }

    #[test]
    fn steps_are_counted_where_the_interval_is_of_steps() {
        let start = Instant::now();
        let mut schedule = SaveSchedule::new(Interval::Steps(5), start);
        assert!(schedule.is_due(10, start) && !schedule.is_due(11, start + 10_000 * SECOND));
        schedule.refused(start);
        assert!(!schedule.is_due(15, start + SECOND) && schedule.is_due(16, start + 15 * SECOND));
    }
}
