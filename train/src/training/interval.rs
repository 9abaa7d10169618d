//! What the journal says of the steps between two of its lines: means, speed, and how far the worst step stands out.

use std::collections::VecDeque;
use std::time::Duration;

use super::learner::Outcome;
use super::memory::resident_memory;
use super::metrics::Sums;
use super::objective::Objective;
use crate::run::journal::Event;

/// Steps that a step is compared with.
const COMPARED: usize = 200;
/// Fewer say nothing about what is usual.
const FEWEST: usize = 50;
/// A step so many standard deviations above the mean of those before it is told of. Of normally distributed losses one in
/// 10⁹ is; those of small batches have longer tails.
const OUTLIER: f64 = 6.0;
/// A loss must also have risen by so much, in nats: where it is nearly nothing a single hard example stands out, and is no
/// trouble.
const LEAST_RISE: f64 = 1.0;
/// And a gradient must be so many times as long as usual.
const LEAST_RATIO: f64 = 5.0;

/// How long a step took, and how much of that without a batch to work on.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTime {
    /// All of it.
    pub whole: Duration,
    /// Waiting for data.
    pub waiting: Duration,
}

/// A step whose loss or gradient stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// `loss` or `gradient_norm`.
    pub figure: &'static str,
    /// What it was.
    pub value: f64,
    /// The mean of the steps before it.
    pub mean: f64,
    /// How many of their standard deviations it lies above that.
    pub zscore: f64,
}

/// The steps since the last `train` event, and what those before were like.
///
/// None of it is saved: after a resume both begin anew, and nothing that is computed depends on them.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    sum: IntervalSum,
    usual: [Usual; 2],
    /// Steps left in which no outlier is told of: a level that has changed is told of once.
    silent: usize,
    /// The session's first step pays for buffers and caches: its time says nothing.
    is_warm: bool,
}

#[derive(Clone, Debug, Default)]
struct IntervalSum {
    steps: u64,
    loss: f64,
    gradient_norm: f64,
    sums: Sums,
    timed_tokens: u64,
    time: StepTime,
    zscores: [Option<f64>; 2],
}

/// The figures that are compared, by their names in the journal.
const COMPARED_FIGURES: [&str; 2] = ["loss", "gradient_norm"];

impl Interval {
    /// Adds a step; what stands out of it, worst first.
    pub fn add(&mut self, outcome: &Outcome, time: StepTime) -> Option<Outlier> {
        let sum = &mut self.sum;
        sum.steps += 1;
        sum.loss += outcome.loss;
        sum.gradient_norm += outcome.gradient_norm;
        sum.sums.merge(&outcome.sums);
        if std::mem::replace(&mut self.is_warm, true) {
            sum.timed_tokens += outcome.tokens;
            sum.time.whole += time.whole;
            sum.time.waiting += time.waiting;
        }
        let mut worst: Option<Outlier> = None;
        for (index, value) in [outcome.loss, outcome.gradient_norm].into_iter().enumerate() {
            let compared = self.usual[index].compare(value);
            self.usual[index].add(value);
            let Some((mean, zscore)) = compared else { continue };
            sum.zscores[index] = Some(sum.zscores[index].map_or(zscore, |highest| highest.max(zscore)));
            let is_trouble = if index == 0 { value - mean > LEAST_RISE } else { value > LEAST_RATIO * mean };
            if is_trouble && zscore > worst.map_or(OUTLIER, |worst| worst.zscore) {
                worst = Some(Outlier { figure: COMPARED_FIGURES[index], value, mean, zscore });
            }
        }
        let is_silent = self.silent > 0;
        self.silent = if worst.is_some() { COMPARED } else { self.silent.saturating_sub(1) };
        worst.filter(|_| !is_silent)
    }

    /// Forgets all steps: they are done again from an earlier one.
    pub fn begin_again(&mut self) {
        *self = Self { is_warm: self.is_warm, ..Self::default() };
    }

    /// The steps since the last time as a `train` event of `step`, and how much of their time was spent waiting for data:
    /// all of it and the share.
    ///
    /// `steps` says how many they are; losses and shares are means over them, a z-score is the highest of them.
    pub fn take(&mut self, step: u64, objective: &dyn Objective) -> (Event, Option<(Duration, f64)>) {
        let IntervalSum { steps, loss, gradient_norm, sums, timed_tokens, time, zscores } =
            std::mem::take(&mut self.sum);
        let mean = |sum: f64| sum / steps as f64;
        let mut event = Event::new("train").at(step).with("steps", steps).with("loss", mean(loss));
        event = objective.metrics(&sums).record(event).with("gradient_norm", mean(gradient_norm));
        for (figure, zscore) in COMPARED_FIGURES.iter().zip(zscores) {
            if let Some(zscore) = zscore {
                event = event.with(&format!("{figure}_zscore"), zscore);
            }
        }
        let seconds = time.whole.as_secs_f64();
        let waited = (seconds > 0.0).then(|| (time.whole, time.waiting.as_secs_f64() / seconds));
        if let Some((_, share)) = waited {
            event =
                event.with("tokens_per_second", timed_tokens as f64 / seconds).with("waiting_share", share);
        }
        if let Some(resident) = resident_memory() {
            event = event.with("resident_bytes", resident);
        }
        (event, waited)
    }
}

/// The last values of a figure.
#[derive(Clone, Debug, Default)]
struct Usual(VecDeque<f64>);

impl Usual {
    fn add(&mut self, value: f64) {
        if self.0.len() == COMPARED {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The mean, and how many standard deviations `value` lies above it; `None` of too few values, or of equal ones.
    fn compare(&self, value: f64) -> Option<(f64, f64)> {
        let count = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / count;
        let squares: f64 = self.0.iter().map(|known| (known - mean).powi(2)).sum();
        let deviation = (squares / count).sqrt();
        (self.0.len() >= FEWEST && deviation > 0.0).then(|| (mean, (value - mean) / deviation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(loss: f64, gradient_norm: f64) -> Outcome {
        Outcome { loss, gradient_norm, tokens: 100, sums: Sums::default() }
    }

    const TIME: StepTime = StepTime { whole: Duration::from_millis(20), waiting: Duration::from_millis(1) };

    #[test]
    fn an_outlier_is_told_of_once() {
        let mut interval = Interval::default();
        // Mean 2, standard deviation 1.
        let usual = |n: usize| outcome(if n.is_multiple_of(2) { 1.0 } else { 3.0 }, 0.5);
        let usual_steps = |interval: &mut Interval| {
            for n in 0..FEWEST {
                assert_eq!(interval.add(&usual(n), TIME), None, "of too few nothing is unusual");
            }
        };
        usual_steps(&mut interval);
        assert_eq!(interval.add(&outcome(7.9, 0.5), TIME), None, "5.9 standard deviations");
        let mut interval = Interval::default();
        usual_steps(&mut interval);
        let found = interval.add(&outcome(8.5, 0.5), TIME).expect("6.5 standard deviations");
        assert_eq!((found.figure, found.value, found.mean, found.zscore), ("loss", 8.5, 2.0, 6.5));
        assert_eq!(interval.add(&outcome(80.0, 0.5), TIME), None, "it was told of a moment ago");
        // Steps that were given up are compared with nothing.
        interval.begin_again();
        assert_eq!((interval.sum.steps, interval.is_warm), (0, true));
        assert_eq!(interval.add(&outcome(80.0, 0.5), TIME), None);
        // A loss near nothing, of which one example is hard.
        let mut interval = Interval::default();
        let small = |n: usize| outcome(if n.is_multiple_of(2) { 0.01 } else { 0.03 }, 0.5);
        (0..FEWEST).for_each(|n| assert_eq!(interval.add(&small(n), TIME), None));
        assert_eq!(interval.add(&outcome(0.9, 0.5), TIME), None, "88 standard deviations");
        // A gradient that never changed has no standard deviation; a loss that falls is no outlier.
        let mut interval = Interval::default();
        usual_steps(&mut interval);
        assert_eq!(interval.add(&outcome(-80.0, 9.0), TIME), None);
    }
}
