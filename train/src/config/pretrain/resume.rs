//! What may change between the sessions of one run.

use super::super::{Problem, Resolved};
use super::Pretrain;

/// What does not change what is computed, or is checked by its content (the data by their fingerprints). The micro-batch
/// and the instruction set change the order of sums, and with it the last bits; the run says so.
const FREE_AT_RESUME: &[&str] = &[
    "data.train",
    "data.held_out",
    "data.tokenizer",
    "training.micro_batch",
    "training.eval_every",
    "training.eval_sequences",
    "training.save_every",
    "training.keep",
    "training.max_time",
    "device.device",
    "device.threads",
    "device.isa",
];

/// What the learning rate at a given moment depends on.
const SCHEDULE_KEYS: &[&str] = &[
    "training.steps",
    "training.batch",
    "optimizer.learning_rate",
    "optimizer.warmup_steps",
    "optimizer.start_warmup_step",
    "optimizer.poly_power",
];

impl Pretrain {
    /// What must not change between the sessions of one run: problems for the keys whose values differ from those with
    /// which the run was begun and would make it another run. `allow_schedule_change` lets those of the schedule differ.
    pub fn changes_at_resume(
        now: &Resolved<Self>,
        begun: &Self,
        allow_schedule_change: bool,
    ) -> Vec<Problem> {
        let is_free = |key: &str| {
            FREE_AT_RESUME.contains(&key) || allow_schedule_change && SCHEDULE_KEYS.contains(&key)
        };
        let problem = |(key, value, before): (&str, String, String)| Problem {
            code: "resume",
            message: format!("`{key}` is {value}, but the run was begun with {before}"),
            source: Some(now.source(key).clone()),
            help: Some(if SCHEDULE_KEYS.contains(&key) {
                "give the earlier value, or --allow-schedule-change to go on with another learning rate from here".into()
            } else {
                "give the earlier value, or start another run".into()
            }),
        };
        now.differences(begun).into_iter().filter(|(key, ..)| !is_free(key)).map(problem).collect()
    }
}
