//! What a person sees of a run: one bar on a terminal, one plain line per interval elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use train::run::clock::format_duration;
use train::run::progress::{Line, LineClock};
use train::training::TrainEvent;

use crate::bar::{Bar, FRAME};
use crate::estimate;
use crate::log::Log;
use crate::output::{is_verbose, tell};

/// What the words of the progress line mean.
pub const LEGEND: &str = "\
The progress line:
  loss      what is minimised: words and order together, in nats
  words     loss of the masked words; right: the share of them that is guessed right
  order     loss of sentence order; right: the share of pairs that is told right
  lr        learning rate
  gradient  norm of the gradient before clipping
  tok/s     tokens a second since this session began
  wait      share of the time that was spent waiting for data
  ETA       time that the rest of the run will take, evaluations and checkpoints included";

/// Time between lines of the log, and of a display that is no terminal.
const INTERVAL: Duration = Duration::from_secs(30);

/// Shows a run.
pub struct Display {
    /// Where it is noted too; a rehearsal leaves nothing behind.
    log: Option<Log>,
    /// While the loop runs.
    progress: Mutex<Option<Progress>>,
}

/// The line of progress.
struct Progress {
    task: String,
    steps: u64,
    lines: LineClock,
    /// On a terminal, with the clock of its frames.
    bar: Option<(Bar, LineClock)>,
}

impl Progress {
    fn new(task: &str, steps: u64) -> Self {
        let bar = Bar::new(steps).map(|bar| (bar, LineClock::new(FRAME)));
        Self { task: task.into(), steps, lines: LineClock::new(INTERVAL), bar }
    }
}

impl Display {
    /// Shows what happens in a session, and notes it in `log`.
    pub fn new(log: Option<Log>) -> Self {
        Self { log, progress: Mutex::new(None) }
    }

    /// Shows what happened.
    pub fn show(&self, event: &TrainEvent<'_>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            TrainEvent::Said(text) => self.say(text),
            TrainEvent::Noted(text) => self.mention(text),
            TrainEvent::Estimated { estimate, options, step, terms } => {
                self.say(&estimate::words(estimate, options, *step, terms));
            }
            TrainEvent::Begun { task, steps } => *progress = Some(Progress::new(task, *steps)),
            TrainEvent::Ended => *progress = None,
            TrainEvent::Step { step, figures, pace, remaining } => {
                let Some(Progress { task, steps, lines, bar }) = &mut *progress else { return };
                let now = Instant::now();
                let is_line_due = lines.is_due(now);
                let is_frame_due = bar.as_mut().is_some_and(|(_, frames)| frames.is_due(now));
                if is_line_due || is_frame_due {
                    let line = Line {
                        task,
                        step: *step,
                        steps: *steps,
                        figures,
                        tokens_per_second: pace.tokens_per_second(),
                        waiting_share: pace.waiting_share(),
                        time_left: pace.time_left(*remaining),
                    };
                    match &bar {
                        Some((bar, _)) => bar.show(*step, |columns| line.within(columns)),
                        None => tell(&line),
                    }
                    if is_line_due {
                        self.note(&line.to_string());
                    }
                }
            }
            TrainEvent::Evaluated { step, words, .. } => self.say(&format!("held out at step {step}: {words}")),
            TrainEvent::NotLearnt { step, steps, finding, learning_rate } => self.say(&format!(
                "warning: after {step} of {steps} steps {finding}\n  help: {} with a higher --learning-rate \
                 than {learning_rate:.1e}, or more --steps; with a lower one if the loss has risen",
                if step == steps { "begin a run" } else { "if this lasts, begin a run" },
            )),
            TrainEvent::Alarm { step, alarm } => {
                self.say(&format!("warning: after {step} steps {}\n  help: {}", alarm.words, alarm.help));
            }
            TrainEvent::Recorded(_) => {}
            TrainEvent::OutOfPatience { step, best } => self.say(&format!(
                "step {step}: no evaluation since step {best} was better, and no more are waited for (--patience)"
            )),
            TrainEvent::Saved { step, time } => {
                self.mention(&format!("checkpoint of step {step} saved in {}", format_duration(*time)));
            }
            TrainEvent::NotSaved { error, retry } => self.say(&format!(
                "warning: {error}\n  training goes on from memory; the next try is in {}",
                format_duration(*retry)
            )),
            TrainEvent::BestLost { step } => self.say(&format!(
                "warning: the best checkpoint, of step {step}, is not there any more: the next evaluation is the best so far"
            )),
            TrainEvent::OtherHeldOut { step } => self.say(&format!(
                "the held-out text is not what step {step}, the best so far, was measured on: the next evaluation is the best"
            )),
            TrainEvent::Skipped { step, loss, gradient_norm } => self.say(&format!(
                "warning: step {step} was skipped: loss {loss}, gradient norm {gradient_norm}; the weights did not change"
            )),
            TrainEvent::RolledBack { from, to } => {
                self.say(&format!("warning: too many such steps: went back from step {from} to {to}"));
            }
            TrainEvent::JournalFailed(error) => {
                self.say(&format!(
                    "warning: metrics.jsonl cannot be written at the moment: {error}\n  what happens is kept in memory and \
                     written later"
                ));
            }
            TrainEvent::JournalGoesOn => self.say("metrics.jsonl is written again; nothing is missing in it"),
        }
    }

    /// Prints a line of its own, and notes it.
    fn say(&self, text: &str) {
        tell(text);
        self.note(text);
    }

    /// Notes it, and prints it where more is to be told than usual.
    fn mention(&self, text: &str) {
        if is_verbose() {
            tell(text);
        }
        self.note(text);
    }

    fn note(&self, text: &str) {
        if let Some(log) = &self.log {
            log.note(text);
        }
    }
}
