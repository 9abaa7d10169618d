//! What a person sees of a run: one bar on a terminal, one plain line per interval elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use train::run::clock::format_duration;
use train::run::progress::{Figure, Form, Line, LineClock};
use train::training::{Evaluation, Happening, Outcome};

use crate::bar::{Bar, FRAME};
use crate::log::Log;
use crate::output::tell;

/// Time between lines of the log, and of a display that is no terminal.
const INTERVAL: Duration = Duration::from_secs(30);

/// Shows a run.
pub struct Display {
    steps: u64,
    log: Arc<Log>,
    lines: LineClock,
    /// On a terminal, with the clock of its frames.
    bar: Option<(Bar, LineClock)>,
}

impl Display {
    /// A display of a run of `steps` steps.
    pub fn new(steps: u64, log: Arc<Log>) -> Self {
        let bar = Bar::new(steps).map(|bar| (bar, LineClock::new(FRAME)));
        Self { steps, log, lines: LineClock::new(INTERVAL), bar }
    }

    /// Shows what happened.
    pub fn show(&mut self, happening: &Happening<'_>) {
        match happening {
            Happening::Step { step, outcome, learning_rate, pace, remaining } => {
                let now = Instant::now();
                let is_line_due = self.lines.is_due(now);
                let is_frame_due = self.bar.as_mut().is_some_and(|(_, frames)| frames.is_due(now));
                if is_line_due || is_frame_due {
                    let figures = figures(outcome, *learning_rate);
                    let line = Line {
                        task: "pretrain",
                        step: *step,
                        steps: self.steps,
                        figures: &figures,
                        tokens_per_second: pace.tokens_per_second(),
                        waiting_share: pace.waiting_share(),
                        time_left: pace.time_left(*remaining),
                    };
                    match &self.bar {
                        Some((bar, _)) => bar.show(*step, |columns| line.within(columns)),
                        None => tell(&line),
                    }
                    if is_line_due {
                        self.log.note(&line.to_string());
                    }
                }
            }
            Happening::Evaluated(evaluation) => self.say(&evaluated(evaluation)),
            Happening::NoBetterThanFrequency { evaluation, learning_rate } => self.say(&format!(
                "warning: after {} of {} steps masked words are told no better ({:.3} right) than by always giving the \
                 commonest ({:.3}): of the words around them nothing was learnt\n  help: {} with a higher --learning-rate \
                 than {learning_rate:.1e}, or more --steps; with a lower one if the loss has risen",
                evaluation.global_step,
                self.steps,
                evaluation.masked_lm_accuracy,
                evaluation.majority_masked_lm_accuracy,
                if evaluation.global_step == self.steps { "begin a run" } else { "if this lasts, begin a run" },
            )),
            Happening::Saved { step, time } => {
                self.log.note(&format!("checkpoint of step {step} saved in {}", format_duration(*time)));
            }
            Happening::NotSaved { error, retry } => self.say(&format!(
                "warning: {error}\n  training goes on from memory; the next try is in {}",
                format_duration(*retry)
            )),
            Happening::BestLost { step } => self.say(&format!(
                "warning: the best checkpoint, of step {step}, is not there any more: the next evaluation is the best so far"
            )),
            Happening::OtherHeldOut { step } => self.say(&format!(
                "the held-out text is not what step {step}, the best so far, was measured on: the next evaluation is the best"
            )),
            Happening::Skipped { step, loss, gradient_norm } => self.say(&format!(
                "warning: step {step} was skipped: loss {loss}, gradient norm {gradient_norm}; the weights did not change"
            )),
            Happening::RolledBack { from, to } => {
                self.say(&format!("warning: too many such steps: went back from step {from} to {to}"));
            }
            Happening::JournalFailed(error) => {
                self.say(&format!(
                    "warning: metrics.jsonl cannot be written at the moment: {error}\n  what happens is kept in memory and \
                     written later"
                ));
            }
            Happening::JournalGoesOn => self.say("metrics.jsonl is written again; nothing is missing in it"),
        }
    }

    /// Prints a line of its own, and notes it.
    pub fn say(&self, text: &str) {
        self.log.say(text);
    }
}

/// What a step found.
fn figures(outcome: &Outcome, learning_rate: f64) -> [Figure<'static>; 7] {
    let figure = |name, value, form| Figure { name, value, form };
    [
        figure("loss", outcome.loss, Form::Loss),
        figure("words", outcome.masked_lm.mean_loss(), Form::Loss),
        figure("right", outcome.masked_lm.accuracy(), Form::Accuracy),
        figure("order", outcome.sentence_order.mean_loss(), Form::Loss),
        figure("right", outcome.sentence_order.accuracy(), Form::Accuracy),
        figure("lr", learning_rate, Form::Rate),
        figure("gradient", outcome.gradient_norm, Form::Norm),
    ]
}

/// An evaluation in a line.
fn evaluated(evaluation: &Evaluation) -> String {
    format!(
        "held out at step {}: masked words {:.3} right (always guessing the commonest: {:.3}), loss {:.3}; \
         sentence order {:.3} right, loss {:.3}",
        evaluation.global_step,
        evaluation.masked_lm_accuracy,
        evaluation.majority_masked_lm_accuracy,
        evaluation.masked_lm_loss,
        evaluation.sentence_order_accuracy,
        evaluation.sentence_order_loss,
    )
}
