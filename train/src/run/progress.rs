//! How far a run is, how fast, and when it will be done: the numbers and the line that shows them.

use std::fmt;
use std::time::{Duration, Instant};

use super::clock::format_duration;

/// Measures this session only: time spent before a resume, or on the way to the first step, says nothing about what is left.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    steps: Tally,
    evaluations: Tally,
    saves: Tally,
    tokens: u64,
    waiting: Duration,
    is_warm: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u32,
    time: Duration,
}

impl Tally {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.time += time;
    }

    fn mean(self) -> Duration {
        self.time.checked_div(self.count).unwrap_or_default()
    }
}

/// What is still to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Training steps.
    pub steps: u64,
    /// Evaluations.
    pub evaluations: u64,
    /// Checkpoints.
    pub saves: u64,
}

impl Pace {
    /// Notes a training step of `tokens` tokens that took `time`, of which `waiting` was spent without a batch to work on.
    /// The session's first step is left out: it pays for buffers and caches.
    pub fn step(&mut self, time: Duration, waiting: Duration, tokens: u64) {
        if !std::mem::replace(&mut self.is_warm, true) {
            return;
        }
        self.steps.add(time);
        self.waiting += waiting;
        self.tokens += tokens;
    }

    /// Notes a held-out evaluation.
    pub fn evaluation(&mut self, time: Duration) {
        self.evaluations.add(time);
    }

    /// Notes a checkpoint.
    pub fn save(&mut self, time: Duration) {
        self.saves.add(time);
    }

    /// Tokens per second of training; `None` before the second step.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.steps.time.as_secs_f64();
        (seconds > 0.0).then(|| self.tokens as f64 / seconds)
    }

    /// Share of the training time, 0 to 1, in which the device waited for data.
    pub fn waiting_share(&self) -> Option<f64> {
        let seconds = self.steps.time.as_secs_f64();
        (seconds > 0.0).then(|| self.waiting.as_secs_f64() / seconds)
    }

    /// How long the rest will take at this session's pace, planned evaluations and saves included (those of which none has
    /// been measured yet count as nothing); `None` before the second step.
    pub fn time_left(&self, remaining: Remaining) -> Option<Duration> {
        if self.steps.count == 0 {
            return None;
        }
        let part = |tally: Tally, count: u64| tally.mean().as_secs_f64() * count as f64;
        let seconds = part(self.steps, remaining.steps)
            + part(self.evaluations, remaining.evaluations)
            + part(self.saves, remaining.saves);
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Decides when a plain line is due: after steps 1, 10 and 100 of the session, and then at most every so often.
#[derive(Clone, Debug)]
pub struct LineClock {
    interval: Duration,
    steps: u64,
    last: Option<Instant>,
}

impl LineClock {
    /// A line at most every `interval`.
    pub fn new(interval: Duration) -> Self {
        LineClock { interval, steps: 0, last: None }
    }

    /// Notes that a step ended at `now`; whether a line is due.
    pub fn is_due(&mut self, now: Instant) -> bool {
        self.steps += 1;
        let due = matches!(self.steps, 1 | 10 | 100)
            || self.last.is_none_or(|last| now.duration_since(last) >= self.interval);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// One line about a run:
///
/// `pretrain 120/1000 12.0% loss 2.413 words 2.071 right .571 order .342 right .853 lr 1.62e-3 gradient 0.84 211k tok/s wait 0.4%
/// ETA 3h 12m`
#[derive(Clone, Debug, Default)]
pub struct Line<'a> {
    /// What is running.
    pub task: &'a str,
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The figures of this moment, in the order in which they are shown.
    pub figures: &'a [Figure<'a>],
    /// Speed so far; `None` leaves it out.
    pub tokens_per_second: Option<f64>,
    /// Share of time waiting for data.
    pub waiting_share: Option<f64>,
    /// Time left.
    pub time_left: Option<Duration>,
}

/// A named number and how it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure<'a> {
    /// Short name.
    pub name: &'a str,
    /// Its value; not finite ones are shown as they are.
    pub value: f64,
    /// How to write it.
    pub form: Form,
}

/// How a [`Figure`] is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `2.413`
    Loss,
    /// `.571`
    Accuracy,
    /// `1.62e-3`
    Rate,
    /// `0.84`
    Norm,
}

impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { name, value, form } = *self;
        match form {
            _ if !value.is_finite() => write!(f, "{name} {value}"),
            Form::Loss => write!(f, "{name} {value:.3}"),
            Form::Accuracy => {
                let digits = format!("{value:.3}");
                write!(f, "{name} {}", digits.strip_prefix('0').unwrap_or(&digits))
            }
            Form::Rate => write!(f, "{name} {value:.2e}"),
            Form::Norm => write!(f, "{name} {value:.2}"),
        }
    }
}

impl Line<'_> {
    /// The parts of the line, each with the place at which it is left out where there is no room: the highest first.
    fn parts(&self) -> Vec<(usize, String)> {
        let share = 100.0 * self.step as f64 / self.steps.max(1) as f64;
        let mut parts = vec![(0, format!("{} {}/{} {share:.1}%", self.task, self.step, self.steps))];
        parts.extend(
            self.figures.iter().map(Figure::to_string).enumerate().map(|(n, figure)| (2 + n, figure)),
        );
        let last = 2 + self.figures.len();
        parts.extend(self.tokens_per_second.map(|speed| (last, format!("{} tok/s", format_count(speed)))));
        parts.extend(self.waiting_share.map(|waiting| (last + 1, format!("wait {:.1}%", 100.0 * waiting))));
        parts.extend(self.time_left.map(|left| (1, format!("ETA {}", format_duration(left)))));
        parts
    }

    /// As much of the line as fits into `columns`: how far the run is, when it will be done, and then the figures from the
    /// first on.
    pub fn within(&self, columns: usize) -> String {
        let mut parts = self.parts();
        let text = |parts: &[(usize, String)]| {
            parts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" ")
        };
        while parts.len() > 1 && text(&parts).chars().count() > columns {
            let last = parts.iter().map(|(place, _)| *place).max();
            parts.retain(|(place, _)| Some(*place) != last);
        }
        text(&parts)
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.within(usize::MAX))
    }
}

/// A number with three digits or so: `950`, `8.4k`, `211k`, `1.3M`.
pub fn format_count(number: f64) -> String {
    for (unit, suffix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        let scaled = number / unit;
        if scaled >= 10.0 {
            return format!("{scaled:.0}{suffix}");
        }
        if scaled >= 1.0 {
            return format!("{scaled:.1}{suffix}");
        }
    }
    format!("{number:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_line_shows_everything_once() {
        let figures = [
            Figure { name: "loss", value: 2.4131, form: Form::Loss },
            Figure { name: "mlm", value: 2.0708, form: Form::Loss },
            Figure { name: "acc", value: 0.571, form: Form::Accuracy },
            Figure { name: "sop", value: f64::NAN, form: Form::Loss },
            Figure { name: "acc", value: 1.0, form: Form::Accuracy },
            Figure { name: "lr", value: 0.00162, form: Form::Rate },
            Figure { name: "gnorm", value: 0.84, form: Form::Norm },
        ];
        let line = Line {
            task: "pretrain",
            step: 120,
            steps: 1000,
            figures: &figures,
            tokens_per_second: Some(211_342.0),
            waiting_share: Some(0.004),
            time_left: Some(Duration::from_secs(11_520)),
        };
        assert_eq!(
            line.to_string(),
            "pretrain 120/1000 12.0% loss 2.413 mlm 2.071 acc .571 sop NaN acc 1.000 lr 1.62e-3 gnorm 0.84 \
             211k tok/s wait 0.4% ETA 3h 12m"
        );
        assert_eq!(
            line.within(80),
            "pretrain 120/1000 12.0% loss 2.413 mlm 2.071 acc .571 sop NaN ETA 3h 12m",
            "the first figures"
        );
        assert_eq!(line.within(40), "pretrain 120/1000 12.0% ETA 3h 12m");
        assert_eq!(line.within(1), "pretrain 120/1000 12.0%");
        let first = Line { task: "pretrain", step: 1, steps: 1000, ..Line::default() };
        assert_eq!(first.to_string(), "pretrain 1/1000 0.1%");
    }

    #[test]
    fn the_time_left_counts_this_session_and_what_is_planned() {
        let mut pace = Pace::default();
        let remaining = Remaining { steps: 100, evaluations: 2, saves: 4 };
        assert_eq!(pace.time_left(remaining), None);
        pace.step(9000 * MS, 9000 * MS, 50); // pays for the start
        assert_eq!((pace.time_left(remaining), pace.tokens_per_second()), (None, None));
        for _ in 0..10 {
            pace.step(20 * MS, MS, 50);
        }
        assert_eq!(pace.time_left(remaining), Some(2000 * MS));
        pace.evaluation(500 * MS);
        pace.save(100 * MS);
        pace.save(300 * MS);
        assert_eq!(pace.time_left(remaining), Some((2000 + 2 * 500 + 4 * 200) * MS));
        assert_eq!(pace.tokens_per_second(), Some(2500.0));
        approx::assert_relative_eq!(pace.waiting_share().unwrap(), 0.05);
        assert_eq!(pace.time_left(Remaining::default()), Some(Duration::ZERO));
    }

    #[test]
    fn ten_thousand_steps_make_few_lines() {
        let start = Instant::now();
        let mut clock = LineClock::new(Duration::from_secs(30));
        let due: Vec<u32> = (1..=10_000).filter(|&step| clock.is_due(start + step * 10 * MS)).collect();
        assert_eq!(due[..4], [1, 10, 100, 3100]);
        assert_eq!(due.len(), 3 + 99 / 30);
    }

    #[test]
    fn counts_are_short() {
        let text = [0.4, 950.0, 8_400.0, 99_600.0, 1_300_000.0, 2.5e10].map(format_count);
        assert_eq!(text, ["0", "950", "8.4k", "100k", "1.3M", "25G"]);
    }
}
