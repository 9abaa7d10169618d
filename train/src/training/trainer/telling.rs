//! What a trainer notes in the journal and tells whoever watches.

use super::Trainer;
use crate::config;
use crate::run::journal::Event;
use crate::run::progress::{Figure, Form, Pace, Remaining};
use crate::training::alarm::Alarm;
use crate::training::event::TrainEvent;
use crate::training::interval::StepTime;
use crate::training::learner::Outcome;

/// What is told once in a session: that steps are not repeated as one call.
const UNRECORDED: &str = "unrecorded";

impl Trainer {
    pub(super) fn skip(&mut self, outcome: &Outcome) {
        let (step, &Outcome { loss, gradient_norm, .. }) = (self.state.step, outcome);
        let position = self.state.position;
        self.record(
            Event::new("skip")
                .at(step)
                .with("loss", loss)
                .with("gradient_norm", gradient_norm)
                .with("epoch", u64::from(position.epoch))
                .with("index", position.index),
        );
        (self.observe)(TrainEvent::Skipped { step, loss, gradient_norm });
    }

    pub(super) fn report(&mut self, outcome: &Outcome, learning_rate: f64, time: StepTime, pace: &Pace) {
        let step = self.state.step + 1;
        if let Some(outlier) = self.interval.add(outcome, time) {
            self.alarm(step, outlier.into());
        }
        if step.is_multiple_of(self.options.log_every.max(1)) || step == 1 || step == self.options.steps {
            let (event, waited) = self.interval.take(step, &*self.objective);
            self.record(event.with("learning_rate", learning_rate).with("tokens", self.state.tokens));
            if let Some(alarm) = waited.and_then(|(whole, share)| Alarm::of_waiting(whole, share)) {
                self.alarm(step, alarm);
            }
            self.tell_of_unrecorded_steps(step);
        }
        let left = self.options.steps - step;
        let due = |every: u64| left.checked_div(every).unwrap_or(0);
        let remaining = Remaining {
            steps: left,
            evaluations: due(self.options.evaluate_every) + 1,
            saves: match self.options.save_every {
                config::Interval::Steps(every) => due(every) + 1,
                config::Interval::Time(_) => 1,
            },
        };
        let figure = |name, value, form| Figure { name, value, form };
        let mut figures = vec![figure("loss", outcome.loss, Form::Loss)];
        figures.extend(self.objective.figures(&self.objective.metrics(&outcome.sums)));
        figures.push(figure("lr", learning_rate, Form::Rate));
        figures.push(figure("gradient", outcome.gradient_norm, Form::Norm));
        (self.observe)(TrainEvent::Step { step, figures: &figures, pace, remaining });
    }

    /// Tells and notes once that a GPU is asked for each call of a step, where it is to repeat them as one.
    fn tell_of_unrecorded_steps(&mut self, step: u64) {
        let Some(why) = self.learner.runtime().gpu().and_then(|gpu| gpu.unrecorded()) else { return };
        if !self.alarms.contains(&UNRECORDED) {
            self.alarms.push(UNRECORDED);
            let words = format!("slower than it could be: {why}");
            self.record(Event::new("slow").at(step).with("words", words.as_str()));
            (self.observe)(TrainEvent::Said(&format!("note: {words}")));
        }
    }

    /// Tells and notes which products the device computes more slowly than those of other shapes, as far as that has shown.
    pub fn tell_of_slow_products(&mut self) {
        /// As many examples are enough.
        const MOST: usize = 3;
        let remarks = self.learner.runtime().remarks();
        if remarks.is_empty() {
            return;
        }
        if self.learner.runtime().gpu().is_some_and(|gpu| gpu.unrecorded().is_some()) {
            self.alarms.push(UNRECORDED); // it is one of the remarks
        }
        let more = match remarks.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let examples = remarks[..remarks.len().min(MOST)].join("; ");
        let words = format!("slower than it could be: {examples}{more}");
        self.record(Event::new("slow").at(self.state.step).with("words", words.as_str()));
        (self.observe)(TrainEvent::Said(&format!("note: {words}")));
    }

    /// Tells of something that should not be; of an outlier each time, of everything else once.
    pub(super) fn alarm(&mut self, step: u64, alarm: Alarm) {
        if !alarm.is_told_each_time() {
            if self.alarms.contains(&alarm.event) {
                return;
            }
            self.alarms.push(alarm.event);
        }
        self.record(Event::new(alarm.event).at(step).with("words", alarm.words.as_str()));
        (self.observe)(TrainEvent::Alarm { step, alarm: &alarm });
    }

    pub(super) fn record(&mut self, event: Event) {
        let recorded = self.journal.record(&event);
        (self.observe)(TrainEvent::Recorded(&event));
        let synced = if self.journal_fails { self.journal.sync() } else { Ok(()) };
        self.tell_of_journal(recorded.and(synced));
    }

    /// Tells when the journal begins to fail, and when it goes on: not at every event between.
    pub(super) fn tell_of_journal(&mut self, result: std::io::Result<()>) {
        if self.journal_fails != result.is_err() {
            self.journal_fails = result.is_err();
            (self.observe)(match &result {
                Err(error) => TrainEvent::JournalFailed(error),
                Ok(()) => TrainEvent::JournalGoesOn,
            });
        }
    }
}
