//! What a run warns of while it goes on.

use std::time::Duration;

use super::interval::Outlier;

/// A share of the time beyond which waiting for data is worth a word, and the time in which it must have been so.
const MUCH_WAITING: f64 = 0.05;
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// The event of the journal of an outlier.
const OUTLIER: &str = "outlier";

/// Something in the figures that a person should know of: told once in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The event of the journal.
    pub event: &'static str,
    /// What the figures show, as the end of a sentence that begins with the step.
    pub words: String,
    /// What can be done about it.
    pub help: String,
}

impl Alarm {
    /// Of a share of some time that was spent waiting for data, if that is much.
    pub fn of_waiting(time: Duration, share: f64) -> Option<Self> {
        (time > LONG_ENOUGH && share > MUCH_WAITING).then(|| Self {
            event: "waiting",
            words: format!("{:.0}% of the time is spent waiting for data", 100.0 * share),
            help: "give the run a processor more, or a faster disk: batches are made while the one before is learnt from".into(),
        })
    }

    /// Whether each is told of; of other kinds only the first.
    pub fn is_told_each_time(&self) -> bool {
        self.event == OUTLIER
    }
}

impl From<Outlier> for Alarm {
    fn from(outlier: Outlier) -> Self {
        let Outlier { figure, value, mean, zscore } = outlier;
        let name = figure.replace('_', " ");
        Self {
            event: OUTLIER,
            words: format!(
                "the {name} is {value:.3}, {zscore:.1} standard deviations above its mean of late ({mean:.3})"
            ),
            help: "one such batch does no harm; if they become frequent, begin a run with a lower --learning-rate".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_waiting_over_some_time_is_told() {
        let [short, long] = [10, 11].map(Duration::from_secs);
        for (time, share, told) in [(long, 0.06, true), (long, 0.05, false), (short, 1.0, false)] {
            assert_eq!(Alarm::of_waiting(time, share).is_some(), told, "{time:?}, {share}");
        }
        let alarm = Alarm::of_waiting(long, 0.256).expect("much");
        assert!(alarm.words.starts_with("26% of the time") && !alarm.is_told_each_time(), "{alarm:?}");
    }
}
