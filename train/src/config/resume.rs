//! What may change between the sessions of one run.

use super::{Problem, Resolved, Settings};

/// What the learning rate at a given moment depends on.
const SCHEDULE_KEYS: &[&str] = &[
    "training.steps",
    "training.epochs",
    "training.tokens",
    "training.batch",
    "optimizer.learning_rate",
    "optimizer.warmup_steps",
    "optimizer.start_warmup_step",
    "optimizer.poly_power",
];

/// What no result depends on, whatever is learnt: what is looked at and kept, and, but for the last bits, where it is computed.
const FREE_KEYS: &[&str] = &[
    "training.eval_every",
    "training.log_every",
    "training.tensorboard",
    "training.save_every",
    "training.keep",
    "training.max_time",
    "device.device",
    "device.threads",
    "device.isa",
    "device.deterministic",
];

/// Whether what a run comes to depends on the setting, but for chance and the last bits: runs that differ in others alone can
/// be averaged. (A model that is the best of several evaluations depends on when these are.)
pub(crate) fn bears_on_results(key: &str) -> bool {
    !key.ends_with(".seed") && (key == "training.eval_every" || !FREE_KEYS.contains(&key))
}

impl<S: Settings> Resolved<S> {
    /// What must not change between the sessions of one run: problems for the keys whose values differ from those with
    /// which the run was begun and would make it another run. Those of `FREE_KEYS` and of `free` may differ, and with
    /// `allow_schedule_change` those of the learning rate's schedule.
    pub fn changes_at_resume(&self, begun: &S, free: &[&str], allow_schedule_change: bool) -> Vec<Problem> {
        let is_free = |key: &str| {
            FREE_KEYS.contains(&key)
                || free.contains(&key)
                || allow_schedule_change && SCHEDULE_KEYS.contains(&key)
        };
        let problem = |(key, value, before): (&str, String, String)| Problem {
            code: "resume",
            message: format!("`{key}` is {value}, but the run was begun with {before}"),
            source: Some(self.source(key).clone()),
            help: Some(if SCHEDULE_KEYS.contains(&key) {
                "give the earlier value, or --allow-schedule-change to go on with another learning rate from here".into()
            } else {
                "give the earlier value, or start another run".into()
            }),
        };
        // What a run was begun in is what `auto` means when it goes on.
        let is_left = |key: &str, value: &str| key == "device.precision" && value.trim_matches('"') == "auto";
        let differences = self.differences(begun).into_iter();
        differences.filter(|(key, value, _)| !is_free(key) && !is_left(key, value)).map(problem).collect()
    }
}
