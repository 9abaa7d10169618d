//! A fine-tuning run: from its settings to a model that learns a task, and what it learns from.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{PlanOptions, Precision, Recompute};
use model::{
    Albert, AlbertConfig, Capacity, Card, Fresh, Head, LoadedModel, Mode, ModelError, Origin, config_in,
    weights_in,
};

use super::answering::{Answering, head};
use super::error::TaskError;
use super::features::{self, Feature, Limits};
use super::objective::{Examined, Finetuning, identity};
use super::squad::{Squad, SquadHead, Version};
use super::task::{Example, Split, Task};
use super::tasks::{Columns, Level, Race, STORIES, Table, Wanted};
use crate::config::recipe::Size;
use crate::config::{AnswerHead, DeviceSettings, Finetune, RaceLevel, Span, TableKind, TaskSettings};
use crate::hub::is_of_hub;
use crate::run::directory::{model_in, tokenizer_of};
use crate::run::info::Identity;
use crate::tokenizer::{LoadOptions, Tokenizer};
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

/// What a fine-tuning run learns from, and the model that it begins with.
pub struct TaskData {
    /// What is learnt.
    pub task: Arc<dyn Task>,
    /// What it is learnt from, and what it is measured on.
    pub splits: [Arc<Examined>; 2],
    /// Text to ids.
    pub tokenizer: Arc<Tokenizer>,
    /// What the pre-trained model is called: the end of its path, or its name on the Hub.
    pub model: String,
    /// Where its files are.
    pub origin: Origin,
    /// What it computes.
    pub config: AlbertConfig,
    /// A hash of its weights.
    pub weights: String,
    /// What was read, in words.
    pub reports: Vec<String>,
}

/// Fine-tuning, as a session runs it.
#[derive(Clone, Default)]
pub struct FinetuningJob {
    /// What an earlier session of this process read: the features are the same whatever the seed.
    data: Arc<Mutex<Option<Arc<TaskData>>>>,
}

impl FinetuningJob {
    fn read(&self, settings: &Finetune, say: &dyn Fn(&str)) -> Result<TaskData, SessionError> {
        let given = settings.start.model.as_deref().ok_or(TaskError::NoModel)?;
        let model = model_in(given)?;
        let origin = Origin::of(&model)?;
        let no_files = STORIES.contains(&settings.task.task.as_str()).then_some(Path::new(""));
        let [training, held_out] = settings.task.sources().map(|source| source.or(no_files));
        let sources = [training.ok_or(TaskError::NoData)?, held_out.ok_or(TaskError::NoData)?];
        let tokenizer = match &settings.start.tokenizer {
            Some(path) => Tokenizer::load(&tokenizer_of(path)?, &LoadOptions::default())?,
            None => Tokenizer::load(origin.folder(), &LoadOptions::default())?,
        };
        let tokenizer = Arc::new(tokenizer);
        let task = the_task(settings, None)?;
        let mut limits = Limits::new(settings.sequences.max_seq_length.unwrap_or(512));
        limits.question = settings.sequences.max_question_length.unwrap_or(limits.question);
        limits.option = settings.sequences.max_question_length.unwrap_or(limits.option);
        limits.stride = settings.sequences.doc_stride.unwrap_or(limits.stride);
        let most = [settings.task.train_examples, settings.task.eval_examples];
        let mut reports = Vec::new();
        let mut splits = Vec::new();
        let is_one_file = settings.task.is_one_file();
        for (index, split) in [Split::Train, Split::Dev].into_iter().enumerate() {
            let mut tell = |report: String| {
                say(&report);
                reports.push(report);
            };
            let mut examples = match is_one_file {
                true => part_of_file(&*task, sources[index], split, &mut tell)?,
                false => examples_in(&*task, sources[index], split, &mut tell)?,
            };
            keep_first(&mut examples, most[index]);
            splits.push(Arc::new(examine(&*task, examples, &tokenizer, &limits)));
        }
        let splits = <[Arc<Examined>; 2]>::try_from(splits).expect("two splits");
        for (split, examined) in ["train", "dev"].iter().zip(&splits) {
            let has_target = |feature: &Feature| feature.target.is_some();
            let can_be_learnt = examined.features.iter().all(has_target);
            let can_be_measured = examined.examples.iter().any(|example| example.target.is_some());
            if examined.features.is_empty() || *split == "train" && !can_be_learnt || !can_be_measured {
                let source_path = sources[usize::from(*split == "dev")].to_path_buf();
                return Err(TaskError::NothingToLearn { split, source_path }.into());
            }
        }
        let (config, weights) = (config_in(origin.path())?, weights_in(origin.path())?);
        splits.iter().try_for_each(|split| expect_segments(&config, &split.features))?;
        Ok(TaskData { task, splits, tokenizer, model: called(given), origin, config, weights, reports })
    }
}

/// What the model is called that was given as `model`: as it is on the Hub, or as its folder or run is.
fn called(model: &Path) -> String {
    let name = if is_of_hub(model) { Some(model.as_os_str()) } else { model.file_name() };
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The task that settings name; `labels` are those that a model has already.
///
/// # Errors
/// If there is none of this name, or the table that it is of cannot be read.
pub fn the_task(settings: &Finetune, labels: Option<Vec<String>>) -> Result<Arc<dyn Task>, SessionError> {
    let of = &settings.task;
    Ok(match of.task.as_str() {
        "table" => {
            let source = of.sources()[0].ok_or(TaskError::NoData)?;
            let columns = columns(of);
            let wanted = match of.kind {
                TableKind::Class => Wanted::Classes,
                TableKind::Value => Wanted::Value,
                TableKind::Tags => Wanted::WordClasses,
            };
            Arc::new(Table::own(columns, wanted, labels, source)?)
        }
        "squad-2.0" => {
            let head = match of.head {
                AnswerHead::Answerable => SquadHead::Answerable,
                AnswerHead::Span => SquadHead::Span,
            };
            let squad = Squad::new(Version::Two, head);
            Arc::new(match of.null_threshold {
                Some(threshold) => squad.with_threshold(threshold),
                None => squad,
            })
        }
        "race" => {
            let level = match of.level {
                RaceLevel::Middle => Level::Middle,
                RaceLevel::High => Level::High,
                RaceLevel::Both => Level::Both,
            };
            Arc::new(Race::new(level).with_options(of.options))
        }
        name => super::tasks::task(name)?.into(),
    })
}

/// The columns of a table of one's own.
fn columns(of: &TaskSettings) -> Columns {
    Columns { first: of.text.clone(), second: of.pair.clone(), label: of.label.clone() }
}

/// Names for the classes of a model that gives them none, and calls them `nameless`: those in the table that it is measured on,
/// or in the training set beside it where that table lacks some, in the order in which they would be learnt.
///
/// # Errors
/// If the table cannot be read, or has not as many classes.
pub fn classes_in_table(
    of: &TaskSettings,
    source: &Path,
    split: Split,
    nameless: &[String],
) -> Result<Vec<String>, SessionError> {
    Ok(Table::names_of_classes(&columns(of), source, split, nameless)?)
}

/// Reads and encodes a split, at most the first `most` examples.
///
/// # Errors
/// If the files are not as they should be.
pub fn read_split(
    task: &dyn Task,
    source: &Path,
    split: Split,
    most: Option<usize>,
    tokenizer: &Tokenizer,
    limits: &Limits,
    say: &mut dyn FnMut(String),
) -> Result<Examined, SessionError> {
    let mut examples = examples_in(task, source, split, say)?;
    keep_first(&mut examples, most);
    Ok(examine(task, examples, tokenizer, limits))
}

fn examples_in(
    task: &dyn Task,
    source: &Path,
    split: Split,
    say: &mut dyn FnMut(String),
) -> Result<Vec<Example>, SessionError> {
    let read = task.read(source, split)?;
    read.files.iter().for_each(|file| say(format!("{}: {file}", split.name())));
    Ok(read.examples)
}

/// Of data that are one file, one example in so many is held out.
const HELD_OUT_EVERY: usize = 10;

/// A split of data that are one file: every tenth example is measured on, the others are learnt from.
fn part_of_file(
    task: &dyn Task,
    file: &Path,
    split: Split,
    say: &mut dyn FnMut(String),
) -> Result<Vec<Example>, SessionError> {
    let read = task.read(file, split)?;
    if split == Split::Train {
        read.files.iter().for_each(|file| say(file.to_string()));
    }
    let all = read.examples;
    if all.len() < HELD_OUT_EVERY {
        return Err(TaskError::TooFewToDivide { file: file.to_path_buf(), examples: all.len() }.into());
    }
    let is_held_out = |index: usize| index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1;
    let of_split = |index: usize| is_held_out(index) == (split == Split::Dev);
    let examples: Vec<Example> = all
        .into_iter()
        .enumerate()
        .filter_map(|(index, example)| of_split(index).then_some(example))
        .collect();
    say(format!(
        "{}: {} examples of {}, of which one in {HELD_OUT_EVERY} is held out",
        split.name(),
        examples.len(),
        file.display()
    ));
    Ok(examples)
}

fn examine(task: &dyn Task, examples: Vec<Example>, tokenizer: &Tokenizer, limits: &Limits) -> Examined {
    let features = features::build(task, &examples, tokenizer, limits, &|| false).expect("nobody stops it");
    Examined { examples, features }
}

/// Keeps the first `most` examples, where there are several groups the same number of each; all where nobody said how many.
fn keep_first(examples: &mut Vec<Example>, most: Option<usize>) {
    let Some(most) = most else { return };
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for example in &*examples {
        if !groups.iter().any(|(group, _)| *group == example.group) {
            groups.push((example.group, 0));
        }
    }
    let of_each = most.div_ceil(groups.len().max(1));
    examples.retain(|example| {
        let group = groups.iter_mut().find(|(group, _)| *group == example.group).expect("seen above");
        group.1 += 1;
        group.1 <= of_each
    });
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

/// Refuses features of two segments where the model tells none apart.
pub(super) fn expect_segments(config: &AlbertConfig, features: &[Feature]) -> Result<(), TaskError> {
    let mut sequences = features.iter().flat_map(|feature| &feature.sequences);
    match config.type_vocab_size < 2 && sequences.any(|sequence| sequence.second.is_some()) {
        true => Err(TaskError::OneSegment),
        false => Ok(()),
    }
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
            None => kept.insert(Arc::new(self.read(settings, say)?)).clone(),
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
