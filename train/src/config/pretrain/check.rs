//! What values of the right types can still have wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kernels::cpu::Isa;

use super::super::nearest::abridged;
use super::super::{Interval, Objections, Settings, Span, most_threads};
use super::{DeviceSettings, LearningSettings, Pretrain, TrainingSettings};
use crate::data::{DataError, STANDARD_INPUT};
use crate::run::checkpoint::MIN_KEEP;

/// Sequences of an optimizer step, all of which are in memory: far more than anybody trains with.
pub(in crate::config) const MOST_SEQUENCES: usize = 1 << 20;
/// Tokens computed at a time: rows are counted in 32 bits.
pub(in crate::config) const MOST_TOKENS: usize = 1 << 30;
/// More checkpoints than any disk is meant for.
const MOST_KEPT: usize = 100_000;
/// A run or an interval that takes longer is a slip of the pen; clocks cannot count as far as a duration can.
const LONGEST_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A value as the kernels have it.
fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

impl Pretrain {
    pub(super) fn check_all(&self, objections: &mut Objections) {
        self.model.check(objections);
        for (section, result) in [("sampling", self.sampling.check()), ("masking", self.masking.check())] {
            if let Err(DataError::Option { option, value, reason }) = result {
                let key = Self::keys().find(|(key, _)| *key == format!("{section}.{option}"));
                objections.require(false, key.expect("an option of its section").0, value, reason);
            }
        }
        let nothing_masked = "or there is no masked word to learn from";
        for (key, is_none, usual) in [
            ("masking.masked_lm_prob", self.masking.masked_lm_prob == 0.0, "more than 0; ALBERT uses 0.15"),
            ("masking.max_predictions_per_seq", self.masking.max_predictions_per_seq == 0, "at least 1"),
        ] {
            objections.require(!is_none, key, 0, format!("{usual}, {nothing_masked}"));
        }
        if self.model.type_vocab_size < 2 {
            objections.add(
                "model.type_vocab_size",
                format!("{} does not tell the two segments of a sequence apart", self.model.type_vocab_size),
                "at least 2: the order of two segments is learnt, and each has an embedding of its own",
            );
        }
        let (longest, positions) = (self.sampling.max_seq_length, self.model.max_position_embeddings);
        if longest > positions {
            objections.add(
                "sampling.max_seq_length",
                format!("sequences of {longest} tokens are longer than the model's {positions} positions"),
                format!("at most {positions}, or raise model.max_position_embeddings"),
            );
        }
        let standard_inputs = |paths: &[PathBuf]| {
            paths.iter().filter(|path| path.as_path() == Path::new(STANDARD_INPUT)).count()
        };
        let of_training = standard_inputs(&self.data.train);
        if of_training + standard_inputs(&self.data.held_out) > 1 {
            objections.add(
                if of_training > 1 { "data.train" } else { "data.held_out" },
                "standard input (-) is named twice, and can be read once only",
                "name a file, or another pipe",
            );
        }
        self.check_learning(objections);
        self.check_training(objections);
        check_device(&self.device, objections);
    }

    fn check_learning(&self, objections: &mut Objections) {
        if let Some(rate) = self.optimizer.learning_rate {
            let help = format!(
                "for batch {} the rule gives {:.2e}",
                self.training.batch,
                self.ruled_learning_rate()
            );
            objections.require(single(rate) > 0.0 && rate <= 1.0, "optimizer.learning_rate", rate, help);
        }
        // No more than every version refused: a run is continued by its settings. New runs are looked at with their data, see
        // `warms_up_in_time`.
        if let Some(warmup) = self.optimizer.warmup_steps
            && warmup > self.training.steps
            && !self.has_length_of_data()
        {
            objections.add(
                "optimizer.warmup_steps",
                format!("{warmup} steps of warm-up in {} steps of training", self.training.steps),
                format!("the rule gives {}", self.ruled_warmup()),
            );
        }
        check_moments(&self.optimizer, objections);
    }

    fn check_training(&self, objections: &mut Objections) {
        let TrainingSettings {
            steps,
            epochs,
            tokens,
            batch,
            micro_batch,
            recompute: _,
            gather_last_layer: _,
            eval_every: _,
            eval_sequences,
            log_every,
            tensorboard: _,
            save_every,
            keep,
            seed: _,
            max_time,
        } = self.training;
        for (key, value) in [
            ("training.steps", steps),
            ("training.batch", batch as u64),
            ("training.micro_batch", micro_batch.unwrap_or(1) as u64),
            ("training.log_every", log_every),
            ("training.eval_sequences", eval_sequences as u64),
        ] {
            objections.require(value > 0, key, value, "at least 1");
        }
        let passes = epochs.unwrap_or(1.0);
        objections.require(passes > 0.0 && passes <= 1e6, "training.epochs", passes, "more than 0");
        objections.require(tokens != Some(0), "training.tokens", 0, "at least 1");
        objections.require(
            batch <= MOST_SEQUENCES,
            "training.batch",
            batch,
            format!("at most {MOST_SEQUENCES}"),
        );
        let length = self.sampling.max_seq_length;
        if let Some(micro_batch) = micro_batch
            && micro_batch.saturating_mul(length) > MOST_TOKENS
        {
            objections.add(
                "training.micro_batch",
                format!("{micro_batch} sequences of {length} tokens are too many to be computed together"),
                format!("at most {}; the result is the same up to rounding", MOST_TOKENS / length.max(1)),
            );
        }
        if let Some(micro_batch) = micro_batch
            && micro_batch > batch
        {
            objections.add(
                "training.micro_batch",
                format!("{micro_batch} sequences are more than the batch of {batch}"),
                format!("at most {batch}; the result is the same up to rounding"),
            );
        }
        check_saving(save_every, keep, max_time, objections);
        let every = self.data.held_out_every;
        objections.require(
            every >= 2,
            "data.held_out_every",
            every,
            "at least 2, or none is left to train on",
        );
    }
}

/// What can be wrong with an optimizer's constants.
pub(in crate::config) fn check_moments(optimizer: &LearningSettings, objections: &mut Objections) {
    let &LearningSettings { poly_power, beta1, beta2, epsilon, weight_decay, clip_norm, .. } = optimizer;
    let below_one = "from 0 up to, not including, 1";
    objections.require(poly_power >= 0.0, "optimizer.poly_power", poly_power, "at least 0; 1 is linear");
    objections.require((0.0..1.0).contains(&single(beta1)), "optimizer.beta1", beta1, below_one);
    objections.require((0.0..1.0).contains(&single(beta2)), "optimizer.beta2", beta2, below_one);
    let adds = single(epsilon) > 0.0 && single(epsilon).is_finite();
    objections.require(adds, "optimizer.epsilon", epsilon, "more than 0; ALBERT uses 1e-6");
    let decays = (0.0..=1.0).contains(&weight_decay);
    objections.require(decays, "optimizer.weight_decay", weight_decay, "from 0 to 1; ALBERT uses 0.01");
    let help = "more than 0, or 0 for no limit; ALBERT uses 1";
    let limits = clip_norm == 0.0 || single(clip_norm) > 0.0 && single(clip_norm).is_finite();
    objections.require(limits, "optimizer.clip_norm", clip_norm, help);
}

/// What can be wrong with how often and how long something is done, and how much is kept.
pub(in crate::config) fn check_saving(
    save_every: Interval,
    keep: usize,
    max_time: Option<Span>,
    objections: &mut Objections,
) {
    if keep < MIN_KEEP {
        let message = format!("{keep} is too few: the newest checkpoint may turn out to be damaged");
        objections.add("training.keep", message, format!("at least {MIN_KEEP}"));
    }
    objections.require(keep <= MOST_KEPT, "training.keep", keep, format!("at most {MOST_KEPT}"));
    let save_time = match save_every {
        Interval::Time(time) => Some(time),
        Interval::Steps(_) => None,
    };
    for (key, time) in
        [("training.save_every", save_time), ("training.max_time", max_time.map(|span| span.0))]
    {
        if let Some(time) = time {
            let allowed = time > Duration::ZERO && time <= LONGEST_TIME;
            objections.require(allowed, key, Span(time), "more than nothing, at most a hundred years");
        }
    }
}

/// What can be wrong with what is computed on.
pub(in crate::config) fn check_device(device: &DeviceSettings, objections: &mut Objections) {
    if let Some(isa) = &device.isa
        && isa.parse::<Isa>().is_err()
    {
        let names = Isa::ALL.map(|isa| isa.to_string()).join(", ");
        let help = format!("the instruction sets are {names}; not set: the best there is");
        objections.add("device.isa", format!("there is no instruction set `{}`", abridged(isa)), help);
    }
    if let Some(threads) = device.threads {
        let most = most_threads();
        let help = format!("from 1 to {most} on this machine; more than it has cores make nothing faster");
        objections.require((1..=most).contains(&threads), "device.threads", threads, help);
    }
}
