//! A pre-training run: from its settings to a model that learns, and what it learns from.

use std::path::Path;
use std::sync::Arc;

use engine::{PlanOptions, Recompute};
use model::{Albert, AlbertConfig, Capacity, Fresh, Head, LoadedModel, Mode, ModelError, weights_in};

use super::batch::Division;
use super::dataset::Dataset;
use super::maskable::Masked;
use super::masking::MaskingOptions;
use super::objective::Pretraining;
use super::own_text::own_text;
use super::preparation::{DataPreparation, RunData};
use super::stale::{drop_other_data, drop_prepared, is_of_same_text};
use crate::config::{Device, LearningSettings, ModelSettings, Pretrain};
use crate::data::DataError;
use crate::optimization::Schedule;
use crate::run::directory::{DirectoryError, model_in};
use crate::run::info::Identity;
use crate::shell::quoted_path;
use crate::tokenizer::Tokenizer;
use crate::training::{
    Job, Learner, Objective, Plans, Prepared, Publish, SessionError, TrainerOptions, device, most_fitting,
    precision, recompute, recompute_that_fits,
};
use crate::visible::{shown, visible};

/// Pre-training, as a session runs it.
#[derive(Clone, Copy, Debug)]
pub struct PretrainingJob;

impl Job<Pretrain> for PretrainingJob {
    type Data = RunData;

    const PUBLISH: Publish = Publish::Last;

    fn drop_other_data(
        &self,
        folder: &Path,
        earlier: Option<&Pretrain>,
        now: &Pretrain,
    ) -> Result<(), SessionError> {
        drop_other_data(folder, earlier, now)
    }

    fn gather(
        &self,
        settings: &Pretrain,
        folder: &Path,
        has_begun: bool,
        say: &dyn Fn(&str),
    ) -> Result<RunData, SessionError> {
        let gather =
            |has_begun| DataPreparation { folder, has_begun, there: None, announce: say }.run(settings);
        let data = match gather(has_begun) {
            Err(SessionError::Data(DataError::OtherPreparation { mut difference, .. })) if has_begun => {
                if let Some(own) = own_text(folder) {
                    let own = quoted_path(&own.to_string_lossy());
                    difference.push_str(&format!("; --train {} goes on with them", visible(&own)));
                }
                let path = folder.parent().unwrap_or(folder).to_path_buf();
                return Err(DirectoryError::OtherData { path, difference }.into());
            }
            Err(SessionError::Data(DataError::OtherPreparation { .. })) => {
                // The text was changed since a start that failed. What was piped in is of this one, and is not asked for again:
                // it is as if the run had begun.
                drop_prepared(folder)?;
                gather(true)?
            }
            gathered => gathered?,
        };
        look_at(settings, &data, has_begun, say)?;
        Ok(data)
    }

    fn rehearse(
        &self,
        settings: &Pretrain,
        folder: &Path,
        run: Option<(&Path, &Pretrain)>,
        say: &dyn Fn(&str),
    ) -> Result<RunData, SessionError> {
        let there = run.filter(|(_, earlier)| is_of_same_text(earlier, settings)).map(|(data, _)| data);
        let data =
            DataPreparation { folder, has_begun: run.is_some(), there, announce: say }.run(settings)?;
        look_at(settings, &data, run.is_some(), say)?;
        Ok(data)
    }

    fn identity(&self, settings: &Pretrain, data: &RunData) -> Result<Identity, SessionError> {
        let init = settings.model.init.as_deref().map(model_in).transpose()?;
        let weights = init.as_deref().map(weights_in).transpose()?;
        Ok(Identity::new(data.identity.clone(), weights.as_deref()))
    }

    fn options(&self, settings: &Pretrain, data: &RunData) -> TrainerOptions {
        let settings = of_length(settings, &data.training);
        let training = &settings.training;
        TrainerOptions {
            steps: training.steps,
            batch_size: training.batch,
            evaluate_every: training.eval_every,
            patience: None,
            save_every: training.save_every,
            log_every: training.log_every,
            schedule: settings.schedule(),
            optimizer: settings.optimizer.optimizer(),
        }
    }

    fn prepare(
        &self,
        settings: &Pretrain,
        data: &RunData,
        available: Option<usize>,
    ) -> Result<Prepared, SessionError> {
        let config = albert_config(&settings.model, &data.tokenizer)?;
        let vocabulary_size = config.vocab_size;
        let (learner, begun_with, warnings) = match &settings.model.init {
            None => (learner(settings, config, available)?, String::new(), Vec::new()),
            Some(init) => begun_with(init, settings, &data.tokenizer, available)?,
        };
        let (training, held_out) = (&settings.training, data.held_out.clone());
        let objective: Arc<dyn Objective> = Arc::new(Pretraining::new(
            data.training.clone(),
            (held_out, training.eval_sequences),
            vocabulary_size,
            training.batch,
            division(settings),
        ));
        let documents = match data.training.sampler() {
            Some(sampler) => format!("{} documents", sampler.documents()),
            None => "masked before".into(),
        };
        let longest = settings.sampling.max_seq_length;
        let description = format!(
            "data: {documents}, {} samples an epoch of at most {longest} tokens{}{}",
            data.training.epoch(0).samples(),
            if data.training.sampler().is_some() {
                predicted(settings.masking, longest)
            } else {
                String::new()
            },
            begun_with,
        );
        Ok(Prepared { learner, objective, description, warnings })
    }

    fn begin(&self, settings: &Pretrain, data: &RunData, learner: &mut Learner, say: &dyn Fn(&str)) {
        if settings.model.frequency_bias && settings.model.init.is_none() {
            say("counting the pieces of the training text: the model begins with their frequencies");
            let vocabulary_size = learner.albert().config().vocab_size;
            begin_with_frequencies(learner, &data.training.piece_counts(vocabulary_size));
        }
    }

    fn tokenizer<'a>(&self, data: &'a RunData) -> &'a Tokenizer {
        &data.tokenizer
    }
}

/// Refuses data in which nothing would be predicted, or too few for the warm-up, and tells of those in which little would be
/// predicted. What was begun goes on.
fn look_at(
    settings: &Pretrain,
    data: &RunData,
    has_begun: bool,
    say: &dyn Fn(&str),
) -> Result<(), SessionError> {
    if !has_begun {
        expect_warm_up(settings, &data.training)?;
    }
    for (name, part, most) in [
        ("training", &data.training, u64::MAX),
        ("held-out", &data.held_out, settings.training.eval_sequences as u64),
    ] {
        let masked = Masked::of(part, most, settings.masking);
        if !has_begun {
            masked.expect_some(name)?;
        }
        masked.warning(name).iter().for_each(|warning| say(warning));
    }
    Ok(())
}

/// The settings with the steps that the data make.
fn of_length(settings: &Pretrain, training: &Dataset) -> Pretrain {
    settings.of_length(|| training.epoch(0).samples(), || training.tokens())
}

/// Refuses a warm-up that does not end within the run, however many steps the data make of it.
fn expect_warm_up(settings: &Pretrain, training: &Dataset) -> Result<(), DataError> {
    let LearningSettings { warmup_steps, start_warmup_step: start, .. } = settings.optimizer;
    if warmup_steps.is_none() && start == 0 {
        return Ok(()); // a share of the steps, however many there are
    }
    let settings = of_length(settings, training);
    if settings.warms_up_in_time() {
        return Ok(());
    }
    let Schedule { steps, warmup_steps, .. } = settings.schedule();
    Err(DataError::Option {
        option: "optimizer.warmup_steps",
        value: format!("{warmup_steps} (from step {start} on, in the {steps} steps of the run)"),
        reason: "the learning rate would never come to its height: begin the warm-up earlier, make it shorter, or the run longer",
    })
}

/// How many of `length` tokens are predicted, and that more were asked for where the limit decides.
fn predicted(masking: MaskingOptions, length: usize) -> String {
    let (allowed, asked) = (
        masking.predictions(length),
        MaskingOptions { max_predictions_per_seq: length, ..masking }.predictions(length),
    );
    let limit = if asked > allowed {
        format!(" (max_predictions_per_seq; masked_lm_prob asks for {asked})")
    } else {
        String::new()
    };
    format!(", {allowed} of them predicted{limit}")
}

/// The configuration of the model that `settings` describe, over a vocabulary of `pieces`.
///
/// # Errors
/// If the vocabulary does not hold the tokenizer's pieces.
pub fn albert_config(settings: &ModelSettings, tokenizer: &Tokenizer) -> Result<AlbertConfig, SessionError> {
    let pieces = tokenizer.vocabulary_size();
    let vocab_size = settings.vocab_size.unwrap_or(pieces);
    if vocab_size < pieces {
        return Err(SessionError::Vocabulary { vocab_size, pieces });
    }
    let special = tokenizer.special();
    Ok(AlbertConfig {
        pad_token_id: special.pad.into(),
        bos_token_id: special.classification.into(),
        eos_token_id: special.separator.into(),
        ..settings.albert_config(pieces)
    })
}

/// Tokens of a micro-batch that nobody gave a size: enough for matrix products to be efficient, little enough for
/// activations to stay small. A function of the settings alone, so that a run is the same on any machine.
const MICRO_BATCH_TOKENS: usize = 4096;
/// The same on a GPU, whose products are efficient from more rows on.
const GPU_MICRO_BATCH_TOKENS: usize = 16_384;

/// Sequences that are computed together; on a GPU, as many of full length.
pub fn micro_batch(settings: &Pretrain) -> usize {
    let tokens = if fills(settings) { GPU_MICRO_BATCH_TOKENS } else { MICRO_BATCH_TOKENS };
    let fitting = (tokens / settings.sampling.max_seq_length).max(1);
    settings.training.micro_batch.unwrap_or(fitting).min(settings.training.batch)
}

/// How the micro-batches of a run are made.
pub fn division(settings: &Pretrain) -> Division {
    let sequences = micro_batch(settings);
    if fills(settings) {
        Division::Filled(capacity(settings, sequences))
    } else {
        Division::Sequences(sequences)
    }
}

/// Whether micro-batches hold the tokens of so many sequences of full length, rather than so many sequences: on a GPU, which
/// computes few tokens hardly faster than many.
fn fills(settings: &Pretrain) -> bool {
    matches!(settings.device.device, Device::Cuda(_))
}

/// The most that a micro-batch of `sequences` holds. Where it is filled up, there is room for four times as many shorter ones, and
/// for the masked tokens of twice as many of half the length and an eighth more: rounding gives short ones more per token.
pub fn capacity(settings: &Pretrain, sequences: usize) -> Capacity {
    let length = settings.sampling.max_seq_length;
    let permuted = if settings.masking.permutation { 2 } else { 1 };
    let masked = |sequences: usize, length| permuted * sequences * settings.masking.predictions(length);
    let (tokens, whole) = (sequences * length, masked(sequences, length));
    match fills(settings) {
        true => {
            let masked = whole.max(masked(2 * sequences, length.div_ceil(2)));
            Capacity { tokens, sequences: 4 * sequences, masked: masked + masked.div_ceil(8) }
        }
        false => Capacity { tokens, sequences, masked: whole },
    }
}

/// The plans of pre-training steps and evaluations.
pub fn plans(albert: &Albert, capacity: Capacity, options: PlanOptions) -> Plans {
    let plan = |mode| {
        let plan = albert.plan(&Head::Pretraining, capacity, mode, options);
        plan.expect("pre-training reaches every parameter")
    };
    Plans { training: plan(Mode::Training), evaluation: plan(Mode::Evaluation) }
}

/// Sets the bias of the predicted pieces to the logarithm of their frequencies, each counted once more than it is there.
fn begin_with_frequencies(learner: &mut Learner, counts: &[u64]) {
    let all = (counts.iter().sum::<u64>() + counts.len() as u64) as f64;
    let parameters = learner.albert().parameters();
    let place = parameters.placed_parts().find(|(part, _)| part.name == model::DECODER_BIAS);
    let (_, range) = place.expect("a model that is pre-trained predicts pieces");
    let mut values = learner.values().into_owned();
    for (value, count) in values[range].iter_mut().zip(counts) {
        *value = (((count + 1) as f64) / all).ln() as f32;
    }
    learner.set_values(&values);
}

/// What needs less memory for the same step, the fastest that fits: first what computes more, then fewer sequences.
fn advice(sequences: usize, recompute: Recompute, fits: impl Fn(usize, Recompute) -> bool) -> String {
    let again = recompute_that_fits(recompute, |again| fits(sequences, again));
    let fewer = match most_fitting(sequences, |fewer| fits(fewer, recompute)) {
        0 => None,
        fewer => {
            Some(format!("--micro-batch {fewer} fits and gives the same result up to rounding, only slower"))
        }
    };
    let offers: Vec<_> = again.into_iter().chain(fewer).collect();
    if offers.is_empty() {
        return "not even one sequence fits: use a smaller model (--preset) or shorter sequences (--max-seq-length), or \
                free memory"
            .into();
    }
    format!(
        "{}; a smaller model (--preset) or shorter sequences (--max-seq-length) need less as well",
        offers.join("; ")
    )
}

/// A model with fresh parameters, ready for the micro-batches that `settings` ask for.
///
/// # Errors
/// If the device cannot be had, or a step does not fit into `available` bytes of memory.
pub fn learner(
    settings: &Pretrain,
    config: AlbertConfig,
    available: Option<usize>,
) -> Result<Learner, SessionError> {
    learner_of(settings, Albert::new(config, &[Head::Pretraining]).map_err(ModelError::from)?, available)
}

/// A model that has the weights of `init`, which must belong to `tokenizer`, and fresh ones where that lacks a head's; which those
/// are, in words; and what else a person should know.
fn begun_with(
    init: &Path,
    settings: &Pretrain,
    tokenizer: &Tokenizer,
    available: Option<usize>,
) -> Result<(Learner, String, Vec<String>), SessionError> {
    // Models that were fine-tuned on tokens, and some releases, come without a pooler.
    let allowed = ["albert.pooler".to_owned()];
    let fresh = Fresh::Head { seed: settings.training.seed, allowed: &allowed };
    let loaded = model::load_head(&model_in(init)?, &Head::Pretraining, fresh)?;
    let warnings = loaded.warnings();
    let LoadedModel { albert, values, tokenizer: trained_with, report } = loaded;
    tokenizer.expect_model(albert.config().vocab_size, trained_with.as_deref())?;
    let config = AlbertConfig {
        hidden_dropout_prob: settings.model.hidden_dropout_prob,
        attention_probs_dropout_prob: settings.model.attention_probs_dropout_prob,
        ..albert.config().clone()
    };
    let albert = Albert::new(config, &[Head::Pretraining]).map_err(ModelError::from)?;
    let mut learner = learner_of(settings, albert, available)?;
    learner.set_values(&values);
    let of_heads = report.missing.into_iter().filter(|name| !name.starts_with(model::ENCODER));
    let words = match of_heads.collect::<Vec<_>>().as_slice() {
        [] => format!("\nbegun with the weights of {}", shown(init)),
        missing => format!(
            "\nbegun with the weights of {}, which lacks {}: they begin anew",
            shown(init),
            missing.join(", ")
        ),
    };
    Ok((learner, words, warnings))
}

fn learner_of(
    settings: &Pretrain,
    albert: Albert,
    available: Option<usize>,
) -> Result<Learner, SessionError> {
    let device = device(&settings.device)?;
    let albert = if settings.training.gather_last_layer { albert } else { albert.with_whole_last_layer() };
    let (sequences, recompute) = (micro_batch(settings), recompute(settings.training.recompute));
    let precision = precision(&settings.device);
    let plans_of = |sequences, recompute| {
        plans(&albert, capacity(settings, sequences), PlanOptions { precision, recompute })
    };
    let plans = plans_of(sequences, recompute);
    let (needed, activations) = plans.memory(settings.device.device);
    if let Some(available) = available.filter(|&available| available < needed) {
        let fits = |sequences, recompute| {
            plans_of(sequences, recompute).memory(settings.device.device).0 <= available
        };
        let advice = advice(sequences, recompute, fits);
        let length = settings.sampling.max_seq_length;
        return Err(SessionError::Memory {
            micro_batch: sequences,
            length,
            needed,
            activations,
            available,
            advice,
        });
    }
    Ok(Learner::new(albert, device, precision, plans, settings.training.seed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_takes_predictions_away_is_told() {
        let masking = MaskingOptions::default();
        assert_eq!(predicted(masking, 128), ", 19 of them predicted");
        assert_eq!(
            predicted(masking, 512),
            ", 20 of them predicted (max_predictions_per_seq; masked_lm_prob asks for 77)"
        );
    }

    #[test]
    fn whatever_fits_is_offered() {
        let of = |needs: [usize; 3], recompute| {
            let needed = move |sequences, again| {
                sequences
                    * needs[[Recompute::None, Recompute::Gelu, Recompute::Layer]
                        .iter()
                        .position(|&r| r == again)
                        .unwrap()]
            };
            advice(8, recompute, move |sequences, again| needed(sequences, again) <= 80)
        };
        let both = of([20, 10, 5], Recompute::None);
        assert!(both.contains("--recompute gelu") && both.contains("--micro-batch 4"), "{both}");
        let layer = of([100, 90, 10], Recompute::None);
        assert!(layer.contains("--recompute layer") && !layer.contains("--micro-batch"), "{layer}");
        let fewer = of([20, 20, 20], Recompute::Layer);
        assert!(fewer.contains("--micro-batch 4") && !fewer.contains("--recompute"), "{fewer}");
        let nothing = of([100, 90, 81], Recompute::Gelu);
        assert!(nothing.contains("not even one sequence fits"), "{nothing}");
    }
}
