//! A fine-tuning run: from its settings to a model that learns a task, and what it learns from.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{PlanOptions, Precision, Recompute};
use model::{Albert, AlbertConfig, Capacity, Card, Fresh, Head, LoadedModel, Mode, ModelError};

use super::answering::{Answering, head};
use super::data::TaskData;
use super::error::TaskError;
use super::features::Feature;
use super::objective::{Examined, Finetuning, identity};
use crate::config::recipe::Size;
use crate::config::{DeviceSettings, Finetune, Span};
use crate::run::directory::model_in;
use crate::run::info::Identity;
use crate::tokenizer::Tokenizer;
use crate::training::{
    Job, Learner, Measure, Metrics, Objective, Plans, Prepared, Publish, Published, RunSettings,
    SessionError, TrainerOptions, device, most_fitting, precision, recompute, recompute_that_fits,
};

impl RunSettings for Finetune {
    /// Data and model are known by their content.
    const FREE_AT_RESUME: &'static [&'static str] = &[
        "task.data",
        "task.train",
        "task.dev",
        "start.model",
        "start.allow_missing", // what was drawn is drawn again, and known by the weights
        "training.micro_tokens",
        "training.recompute",
        "training.patience",
    ];

    fn keep(&self) -> usize {
        self.training.keep
    }

    fn max_time(&self) -> Option<Span> {
        self.training.max_time
    }

    fn device(&self) -> &DeviceSettings {
        &self.device
    }

    fn device_mut(&mut self) -> &mut DeviceSettings {
        &mut self.device
    }

    fn tensorboard(&self) -> bool {
        self.training.tensorboard
    }

    fn rounds_like(&self, earlier: &Self) -> bool {
        // What is computed again in bf16 begins from a number that was rounded.
        let [now, before] = [self, earlier].map(|settings| &settings.training);
        let again = now.recompute == before.recompute || precision(&self.device) == Precision::F32;
        again && now.micro_tokens == before.micro_tokens
    }
}

/// Fine-tuning, as a session runs it.
#[derive(Clone, Default)]
pub struct FinetuningJob {
    /// What an earlier session of this process read: the features are the same whatever the seed.
    data: Arc<Mutex<Option<Arc<TaskData>>>>,
}

/// The most that a micro-batch of features of `splits` holds: `tokens`, or where one feature has more, what that has.
pub(super) fn capacity(splits: &[&Examined], tokens: usize) -> Capacity {
    let features = || splits.iter().flat_map(|split| &split.features);
    let tokens = features().map(Feature::tokens).max().unwrap_or(0).max(tokens);
    let shortest = features().flat_map(|feature| &feature.sequences).map(super::Sequence::len).min();
    let options = features().map(|feature| feature.sequences.len()).max().unwrap_or(1);
    let sequences = (tokens / shortest.unwrap_or(1).max(1)).max(options).min(tokens);
    Capacity { tokens, sequences, masked: 0 }
}

/// The model in `directory`, which must belong to `tokenizer`, as an encoder with `head`, whose own values are drawn anew where
/// `fresh` allows it and the files have none, with other dropout where that is asked for, and with names for its classes.
pub(super) fn load(
    directory: &Path,
    tokenizer: &Tokenizer,
    head: &Head,
    fresh: Fresh<'_>,
    dropout: [Option<f64>; 2],
    labels: &[String],
) -> Result<LoadedModel, SessionError> {
    let mut loaded = model::load_head(directory, head, fresh)?;
    let config = loaded.albert.config().clone();
    tokenizer.expect_model(config.vocab_size, loaded.tokenizer.as_deref())?;
    let mut config = AlbertConfig {
        hidden_dropout_prob: dropout[0].unwrap_or(config.hidden_dropout_prob),
        attention_probs_dropout_prob: dropout[1].unwrap_or(config.attention_probs_dropout_prob),
        ..config
    };
    config.set_labels(labels);
    loaded.albert = Albert::new(config, std::slice::from_ref(head)).map_err(ModelError::from)?;
    Ok(loaded)
}

/// What the settings take from the model's configuration: the size whose recipe is followed, and the longest sequence.
///
/// # Errors
/// If the directory holds no model.
pub fn look_at(model: &Path) -> Result<(Size, usize), SessionError> {
    let config = model::config_in(&model_in(model)?)?;
    Ok((Size::of(config.hidden_size), config.max_position_embeddings))
}

/// What needs less memory for the same step, the fastest that fits: first what computes more, then fewer tokens at a time.
fn advice(tokens: usize, again: Recompute, fits: impl Fn(usize, Recompute) -> bool) -> String {
    let more = recompute_that_fits(again, |again| fits(tokens, again));
    let fewer = match most_fitting(tokens, |fewer| fits(fewer, again)) {
        0 => None,
        fewer => {
            Some(format!("--micro-tokens {fewer} fits and gives the same result up to rounding, only slower"))
        }
    };
    let offers: Vec<_> = more.into_iter().chain(fewer).collect();
    let smaller = "shorter sequences (--max-seq-length) or a smaller model need less";
    match offers.is_empty() {
        true => format!("not even one example fits: {smaller}"),
        false => format!("{}; {smaller} as well", offers.join("; ")),
    }
}

impl Job<Finetune> for FinetuningJob {
    type Data = Arc<TaskData>;

    const PUBLISH: Publish = Publish::Best;

    fn drop_other_data(&self, _: &Path, _: Option<&Finetune>, _: &Finetune) -> Result<(), SessionError> {
        Ok(()) // a fine-tuning run keeps no data of its own
    }

    fn gather(
        &self,
        settings: &Finetune,
        _: &Path,
        has_begun: bool,
        say: &dyn Fn(&str),
    ) -> Result<Arc<TaskData>, SessionError> {
        let mut kept = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let data = match &*kept {
            Some(data) => data.clone(),
            None => kept.insert(Arc::new(TaskData::read(settings, say)?)).clone(),
        };
        // Of a new run only: an earlier version began such a one, and it goes on.
        let steps = settings.steps(data.splits[0].features.len());
        if !has_begun && !settings.warms_up_in_time(steps) {
            let (warmup, start) = (settings.warmup_steps(steps), settings.optimizer.start_warmup_step);
            return Err(TaskError::WarmUp { warmup, start, steps }.into());
        }
        Ok(data)
    }

    /// Of what is learnt from, by which tokenizer, of what the model computes, and of its weights.
    fn identity(&self, _: &Finetune, data: &Arc<TaskData>) -> Result<Identity, SessionError> {
        let mut hash = blake3::Hasher::new();
        hash.update(identity(&data.splits[0].features, &data.tokenizer.special()).as_bytes());
        hash.update(data.tokenizer.fingerprint_text().as_bytes());
        hash.update(format!("{:?}", data.config).as_bytes());
        Ok(Identity::new(hash.finalize().to_hex().to_string(), Some(&data.weights)))
    }

    fn options(&self, settings: &Finetune, data: &Arc<TaskData>) -> TrainerOptions {
        let steps = settings.steps(data.splits[0].features.len());
        TrainerOptions {
            steps,
            batch_size: settings.batch(),
            evaluate_every: settings.evaluate_every(steps),
            patience: settings.training.patience,
            save_every: settings.training.save_every,
            log_every: settings.training.log_every,
            schedule: settings.schedule(steps),
            optimizer: settings.optimizer.optimizer(),
        }
    }

    fn prepare(
        &self,
        settings: &Finetune,
        data: &Arc<TaskData>,
        available: Option<usize>,
    ) -> Result<Prepared, SessionError> {
        let special = data.tokenizer.special();
        let seed = settings.training.seed;
        let head = head(data.task.kind(), settings.start.head_dropout.unwrap_or_default());
        let dropout = [settings.start.hidden_dropout, settings.start.attention_dropout];
        let fresh = Fresh::Head { seed, allowed: &settings.start.allow_missing };
        let loaded = load(data.origin.path(), &data.tokenizer, &head, fresh, dropout, data.task.labels())?;
        let warnings = loaded.warnings();
        let splits = data.splits.each_ref().map(|split| &**split);
        let precision = precision(&settings.device);
        let plans_of = |tokens, recompute| {
            let (capacity, options) = (capacity(&splits, tokens), PlanOptions { precision, recompute });
            let plan =
                |mode| loaded.albert.plan(&head, capacity, mode, options).expect("a head trains all it has");
            (capacity, Plans { training: plan(Mode::Training), evaluation: plan(Mode::Evaluation) })
        };
        let (tokens, again) = (settings.training.micro_tokens, recompute(settings.training.recompute));
        let (capacity, plans) = plans_of(tokens, again);
        let (needed, activations) = plans.memory(settings.device.device);
        if let Some(available) = available.filter(|&available| available < needed) {
            let length = settings.sequences.max_seq_length.unwrap_or(capacity.tokens);
            let fits =
                |tokens, again| plans_of(tokens, again).1.memory(settings.device.device).0 <= available;
            return Err(SessionError::Memory {
                micro_batch: capacity.tokens.div_ceil(length),
                length,
                needed,
                activations,
                available,
                advice: advice(capacity.tokens, again, fits),
            });
        }
        let device = device(&settings.device)?;
        let mut learner = Learner::new(loaded.albert, device, precision, plans, seed)?;
        learner.set_values(&loaded.values);
        let albert = learner.albert().clone();
        let answering =
            Answering::new(&albert, head, special, capacity, Mode::Evaluation, learner.runtime())?;
        let [training, held_out] = &data.splits;
        let tokens: usize = training.features.iter().map(Feature::tokens).sum();
        let description = format!(
            "task: {}; {} examples to learn from, as {} sequences of {:.1} tokens on average; {} to measure on",
            data.task.name(),
            training.examples.len(),
            training.features.iter().map(|feature| feature.sequences.len()).sum::<usize>(),
            tokens as f64
                / training.features.iter().map(|feature| feature.sequences.len()).sum::<usize>() as f64,
            held_out.examples.len(),
        );
        let size = (seed, settings.batch(), capacity);
        let objective: Arc<dyn Objective> =
            Arc::new(Finetuning::new(data.task.clone(), data.splits.clone(), special, answering, size));
        Ok(Prepared { learner, objective, description, warnings })
    }

    fn tokenizer<'a>(&self, data: &'a Arc<TaskData>) -> &'a Tokenizer {
        &data.tokenizer
    }

    /// The model card: what a published model says of itself.
    fn complete_model(
        &self,
        folder: &Path,
        run: &Published<'_, Finetune>,
        data: &Arc<TaskData>,
    ) -> Result<(), SessionError> {
        let Finetune { sequences, optimizer, training, .. } = run.settings;
        let options = self.options(run.settings, data);
        let recipe = [
            ("recipe", run.settings.recipe().name),
            ("optimizer", format!("{:?}", optimizer.kind).to_lowercase()),
            ("learning rate", format!("{:e}", options.schedule.learning_rate)),
            ("steps", options.steps.to_string()),
            ("steps of warm-up", options.schedule.warmup_steps.to_string()),
            ("batch", options.batch_size.to_string()),
            ("seed", training.seed.to_string()),
            (
                "max_seq_length",
                sequences.max_seq_length.map_or_else(String::new, |length| length.to_string()),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let metrics = run.metrics.into_iter().flat_map(Metrics::iter);
        let scores: Vec<(String, String)> = metrics
            .map(|(name, measure)| match measure {
                Measure::Real(value) => (name.to_owned(), format!("{value:.4}")),
                Measure::Count(value) => (name.to_owned(), value.to_string()),
            })
            .collect();
        let card = Card {
            title: &format!("ALBERT, fine-tuned for {}", data.task.name()),
            origin: &data.model,
            data: &data.reports.join("\n\n"),
            recipe: &recipe,
            scores: &scores,
            command: run.command,
        };
        Ok(model::save_card(folder, run.albert.heads(), &card)?)
    }
}
