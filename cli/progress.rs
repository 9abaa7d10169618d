//! What a person sees of a run: one bar on a terminal, one plain line per interval elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use train::run::clock::format_duration;
use train::run::progress::{Figure, Form, Line, LineClock, Pace, Remaining};
use train::training::{Evaluation, Happening, Outcome};

use crate::log::Log;
use crate::output::tell;

/// Time between lines of the log, and of a display that is no terminal.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time between redrawings of the bar.
const FRAME: Duration = Duration::from_millis(200);

/// Shows a run.
pub struct Display {
    steps: u64,
    log: Arc<Log>,
    lines: LineClock,
    /// On a terminal, with the clock of its frames.
    bar: Option<(ProgressBar, LineClock)>,
}

impl Display {
    /// A display of a run of `steps` steps.
    pub fn new(steps: u64, log: Arc<Log>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps);
            let style = ProgressStyle::with_template("{bar:24} {msg}").expect("the template is well-formed");
            bar.set_style(style);
            (bar, LineClock::new(FRAME))
        });
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
                    let line = self.line(*step, outcome, *learning_rate, pace, *remaining);
                    match &self.bar {
                        Some((bar, _)) => {
                            bar.set_position(*step);
                            bar.set_message(line.clone());
                        }
                        None => tell(&line),
                    }
                    if is_line_due {
                        self.log.note(&line);
                    }
                }
            }
            Happening::Evaluated(evaluation) => self.say(&evaluated(evaluation)),
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

    fn line(
        &self,
        step: u64,
        outcome: &Outcome,
        learning_rate: f64,
        pace: &Pace,
        remaining: Remaining,
    ) -> String {
        let figure = |name, value, form| Figure { name, value, form };
        let figures = [
            figure("loss", outcome.loss, Form::Loss),
            figure("mlm", outcome.masked_lm.mean_loss(), Form::Loss),
            figure("acc", outcome.masked_lm.accuracy(), Form::Accuracy),
            figure("sop", outcome.sentence_order.mean_loss(), Form::Loss),
            figure("acc", outcome.sentence_order.accuracy(), Form::Accuracy),
            figure("lr", learning_rate, Form::Rate),
            figure("gnorm", outcome.gradient_norm, Form::Norm),
        ];
        Line {
            task: "pretrain",
            step,
            steps: self.steps,
            figures: &figures,
            tokens_per_second: pace.tokens_per_second(),
            waiting_share: pace.waiting_share(),
            time_left: pace.time_left(remaining),
        }
        .to_string()
    }

    /// Prints a line of its own, above the bar if there is one.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some((bar, _)) => bar.println(text),
            None => tell(text),
        }
        self.log.note(text);
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some((bar, _)) = &self.bar {
            bar.finish_and_clear();
        }
    }
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
