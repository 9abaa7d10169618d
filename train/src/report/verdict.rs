//! What became of a run, in words: how it stands, what it has come to, what to try next.

use std::f64::consts::LN_2;
use std::time::Duration;

use super::curve::{Curve, Point};
use super::evaluation::{Evaluation, lowest_loss};
use super::record::RunRecord;
use crate::inference::{MASK, SEPARATOR};
use crate::run::clock::format_duration;
use crate::run::info::Status;
use crate::run::progress::format_count;
use crate::shell::{quoted, quoted_path};

/// What became of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How it stands, in a line.
    pub headline: String,
    /// What it has come to, and how it went there.
    pub sentences: Vec<String>,
    /// What to try next.
    pub next: Vec<String>,
}

/// A held-out loss that has changed by less than this part is where it was.
const CHANGED: f64 = 0.02;
/// States of the last layer that deviate less within a sequence are one and the same.
const COLLAPSED: f64 = 0.01;
/// Waiting for data beyond this share is worth a word.
const MUCH_WAITING: f64 = 0.05;

impl RunRecord {
    /// What became of it.
    pub fn verdict(&self) -> Verdict {
        let mut sentences = vec![self.losses()];
        sentences.extend(self.came_to().map(figures).unwrap_or_default());
        sentences.push(self.incidents());
        sentences.push(self.speed());
        sentences.retain(|sentence| !sentence.is_empty());
        Verdict { headline: self.headline(self.at_work), sentences, next: self.next() }
    }

    /// The same for a page that is read later: what is at work now may be killed by then.
    pub(super) fn lasting_verdict(&self) -> Verdict {
        Verdict { headline: self.headline(self.at_work.filter(|at_work| !at_work)), ..self.verdict() }
    }

    fn headline(&self, at_work: Option<bool>) -> String {
        let done = self.steps_done();
        let planned = self.steps_planned().map_or(String::new(), |steps| format!(" of {steps}"));
        let reason = self.info.last().and_then(|session| session.exit_reason.as_deref()).unwrap_or("unknown");
        match self.info.status {
            Status::Finished if done == 1 => "Finished after 1 step".into(),
            Status::Finished => format!("Finished after {done} steps"),
            Status::Interrupted => format!("Stopped at step {done}{planned}: {reason}"),
            Status::Failed => format!("Failed at step {done}{planned}: {reason}"),
            Status::Running => match at_work {
                Some(true) => format!("Under way: step {done}{planned}"),
                Some(false) => format!("Killed at step {done}{planned}"),
                None => format!("Under way, or killed: step {done}{planned}"),
            },
        }
    }

    fn losses(&self) -> String {
        let went = |what: &str, curve: &Curve| match (curve.ends(), curve.last()) {
            (Some((first, last)), _) => format!("{what} from {:.3} to {:.3}", first.value, last.value),
            (None, Some(only)) => format!("{what} {:.3}", only.value),
            (None, None) => String::new(),
        };
        let held_out = Curve::from_iter(self.held_out("loss"));
        let parts = [went("Training loss", self.curve("loss")), went("held-out loss", &held_out)];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() { String::new() } else { parts.join(", ") + "." }
    }

    fn incidents(&self) -> String {
        let times = |count: usize| if count == 1 { "once".to_owned() } else { format!("{count} times") };
        let skipped = match self.skipped {
            0 => "No batch was skipped".to_owned(),
            1 => "1 batch was skipped for a loss or gradient that is not finite".to_owned(),
            many => format!("{many} batches were skipped for a loss or gradient that is not finite"),
        };
        let back = match self.rolled_back {
            0 => String::new(),
            count => format!("; it went back to a checkpoint {}", times(count)),
        };
        let resumed = match self.resumes {
            0 => String::new(),
            count => format!("; it was continued {}", times(count)),
        };
        format!("{skipped}{back}{resumed}.")
    }

    fn speed(&self) -> String {
        let Some(Point { value, .. }) = self.curve("tokens_per_second").last() else { return String::new() };
        let machine = self.info.sessions.iter().rev().find_map(|session| session.machine.as_ref());
        let on = machine.map_or(String::new(), |machine| {
            format!(" on {} ({}, {} threads)", machine.processor, machine.isa, machine.threads)
        });
        let time = format_duration(Duration::try_from_secs_f64(self.seconds).unwrap_or_default());
        format!("{time} of work, {} tokens a second{on}.", format_count(value))
    }

    fn next(&self) -> Vec<String> {
        let mut next = Vec::new();
        let has = |event: &str| self.notes.iter().any(|note| note.event == event);
        let mut say = |condition: bool, words: &str| {
            if condition {
                next.push(words.to_owned());
            }
        };
        let is_over = self.info.status == Status::Finished;
        say(
            matches!(self.info.status, Status::Interrupted | Status::Running),
            "Run the same command again to continue it: the result is the same as if nothing had happened.",
        );
        say(
            self.info.status == Status::Failed && !has("diverged"),
            "Fix the cause (the full message is in train.log), then run the same command again to continue.",
        );
        let deviation = self.came_to().and_then(|figures| figures.get("last_layer_deviation"));
        let has_collapsed = deviation.is_some_and(|deviation| deviation < COLLAPSED);
        say(
            has("diverged") || has_collapsed || self.skipped > 2,
            "Begin a run with a lower --learning-rate, or a longer warm-up (--warmup-steps).",
        );
        let compared = self.came_to().and_then(Evaluation::compared);
        let is_useless = compared.is_some_and(|(_, value, baseline)| value <= baseline * 1.02);
        say(
            is_over && is_useless,
            "Nothing was learnt that needs a model: try a higher --learning-rate, or more --steps.",
        );
        let losses = self.held_out("loss");
        let value = |point: Option<Point>| point.map_or(f64::NAN, |point| point.value);
        let before = losses.get(losses.len() * 3 / 4).filter(|_| losses.len() > 3);
        let (last, before) = (value(losses.last().copied()), value(before.copied()));
        say(
            is_over && last < before * (1.0 - CHANGED),
            "The held-out loss was still falling at the end: more --steps will lower it further.",
        );
        if let Some((step, best)) =
            lowest_loss(&self.evaluations).filter(|(_, best)| last > best * (1.0 + CHANGED))
        {
            say(
                true,
                &format!(
                    "The held-out loss was lowest at step {step} ({best:.3}) and has risen since: more text, or fewer --steps.",
                ),
            );
        }
        say(
            value(self.curve("waiting_share").last()) > MUCH_WAITING,
            "Part of the time was spent waiting for data: give it a faster disk, or a processor more.",
        );
        if is_over {
            next.extend(self.commands());
        }
        next
    }

    /// Commands that make use of its model.
    fn commands(&self) -> Vec<String> {
        let run = quoted_path(&self.folder.to_string_lossy());
        let on_text = |text: &str| vec![format!("albert-train predict text --model {run} \"{text}\"")];
        match self.task() {
            "pretrain" => vec![
                format!("albert-train fill-mask --model {run} \"a sentence with a {MASK} in it\""),
                format!("albert-train finetune stories --model {run} --out runs/stories"),
            ],
            // What chooses between options answers no text alone.
            "race" => {
                let Some(data) = self.setting("task.dev").or(self.setting("task.data")) else {
                    return Vec::new();
                };
                let option = |name: &str, usual: &str| {
                    let value = self.setting(&format!("task.{name}")).filter(|value| *value != usual);
                    value.map_or(String::new(), |value| format!(" --{name} {}", quoted(value)))
                };
                let (level, options) = (option("level", "both"), option("options", "4"));
                let data = quoted_path(data);
                vec![format!(
                    "albert-train predict race{level}{options} --model {run} --data {data} --split dev"
                )]
            }
            "stories-ending" => Vec::new(),
            "cola" | "sst-2" | "stories-mood" | "stories-people" => on_text("a text of your own"),
            "table" if self.setting("task.pair").is_none() => on_text("a text of your own"),
            task if task.starts_with("squad-") || ["stories-name", "stories-question"].contains(&task) => {
                on_text(&format!("a question? {SEPARATOR} a passage that answers it"))
            }
            _ => on_text(&format!("a text of your own {SEPARATOR} another one")),
        }
    }
}

/// What the figures of an evaluation mean, a sentence for each task.
fn figures(evaluation: &Evaluation) -> Vec<String> {
    let value = |name: &str| evaluation.get(name);
    let mut sentences = Vec::new();
    if let Some((right, loss)) = value("masked_lm_accuracy").zip(value("masked_lm_loss")) {
        let commonest = value("majority_masked_lm_accuracy");
        let commonest = commonest
            .map_or(String::new(), |share| format!(" (always the most common: {:.1}%)", 100.0 * share));
        let unigram = value("unigram_masked_lm_loss");
        let unigram =
            unigram.map_or(String::new(), |loss| format!(" (unigram frequencies alone: {loss:.3})"));
        sentences.push(format!(
            "Held-out masked words: {:.1}% right{commonest}, loss {loss:.3}{unigram}.",
            100.0 * right
        ));
    }
    if let Some((right, loss)) = value("sentence_order_accuracy").zip(value("sentence_order_loss")) {
        sentences.push(format!(
            "Sentence order: {:.1}% right (chance: 50%), loss {loss:.3} (chance: {LN_2:.3}).",
            100.0 * right
        ));
    }
    if let Some((name, value, baseline)) =
        evaluation.compared().filter(|(name, ..)| *name != "masked_lm_accuracy")
    {
        sentences.push(format!("Held out, {name} is {value:.4} (constant answer: {baseline:.4})."));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::super::record::Setting;
    use super::super::record::tests::run;
    use super::*;

    #[test]
    fn a_run_is_told_of_in_words() {
        let folder = tempfile::tempdir().unwrap();
        run(&folder.path().join("run"), 8.0);
        let record = RunRecord::read(&folder.path().join("run")).unwrap();
        let verdict = record.verdict();
        assert_eq!(verdict.headline, "Finished after 20 steps");
        assert_eq!(
            verdict.sentences[..3],
            [
                "Training loss from 8.000 to 0.400, held-out loss 0.123.",
                "Held-out masked words: 25.0% right (always the most common: 6.0%), loss 4.500 (unigram frequencies alone: \
                 6.000).",
                "1 batch was skipped for a loss or gradient that is not finite; it was continued once.",
            ]
        );
        assert!(verdict.next[0].starts_with("albert-train fill-mask --model "), "{:?}", verdict.next);
        let mut short = record.clone();
        let only = Curve::from_iter([Point { step: 1, value: f64::NAN }]);
        short.training = [("loss".to_owned(), only)].into();
        short.evaluations.clear();
        let verdict = short.verdict();
        assert_eq!(verdict.headline, "Finished after 1 step");
        assert_eq!(verdict.sentences[0], "Training loss NaN.");
        let killed = RunRecord {
            info: crate::run::info::RunInfo { status: Status::Running, ..record.info.clone() },
            at_work: Some(false),
            ..record
        };
        assert_eq!(killed.verdict().headline, "Killed at step 20 of 20");
        let under_way = RunRecord { at_work: Some(true), ..killed.clone() };
        assert_eq!(under_way.verdict().headline, "Under way: step 20 of 20");
        assert_eq!(under_way.lasting_verdict().headline, "Under way, or killed: step 20 of 20");
        assert!(killed.verdict().next[0].starts_with("Run the same command again"));
        let failed = RunRecord {
            info: crate::run::info::RunInfo { status: Status::Failed, ..killed.info.clone() },
            ..killed
        };
        let next = failed.verdict().next;
        assert!(next[0].starts_with("Fix the cause") && next.len() == 1, "{next:?}");
        let mut diverged = failed;
        diverged.notes[0].event = "diverged".into();
        let next = diverged.verdict().next;
        assert!(next[0].contains("a lower --learning-rate") && next.len() == 1, "{next:?}");
    }

    #[test]
    fn commands_that_are_proposed_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        run(&folder.path().join("run"), 8.0);
        let record = RunRecord::read(&folder.path().join("run")).unwrap();
        let next = |task: &str, more: &[(&str, &str)]| {
            let settings = std::iter::once(("task.task", task)).chain(more.iter().copied());
            let settings = settings
                .map(|(key, value)| Setting { key: key.into(), value: value.into(), source: String::new() })
                .collect();
            RunRecord { settings, folder: "my runs/it's".into(), ..record.clone() }.commands()
        };
        let on_text = |text| [format!(r#"albert-train predict text --model 'my runs/it'\''s' "{text}""#)];
        assert_eq!(next("sst-2", &[]), on_text("a text of your own"));
        assert_eq!(next("mrpc", &[]), on_text("a text of your own [SEP] another one"));
        assert_eq!(next("squad-2.0", &[]), on_text("a question? [SEP] a passage that answers it"));
        assert_eq!(
            next(
                "race",
                &[("task.data", "\"RACE data\""), ("task.options", "5"), ("task.level", "\"both\"")]
            ),
            [
                r"albert-train predict race --options 5 --model 'my runs/it'\''s' --data 'RACE data' --split dev"
            ]
        );
    }
}
