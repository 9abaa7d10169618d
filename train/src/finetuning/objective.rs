//! Fine-tuning as an objective of the training loop.

use std::sync::Arc;

use engine::RunError;
use model::Capacity;

use super::answering::{Answered, Answering};
use super::batch::{divide, pack, predictions};
use super::features::Feature;
use super::task::{Example, Figures, Task, baseline};
use crate::permutation::Permutation;
use crate::run::progress::{Figure, Form};
use crate::tokenizer::SpecialTokens;
use crate::training::{Evaluator, Finding, Inputs, Metrics, Objective, Outputs, Position, Step, Sums, Terms};

/// A split of a task's data, read and encoded.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// The examples.
    pub examples: Vec<Example>,
    /// Their features, in order.
    pub features: Vec<Feature>,
}

/// Fine-tuning: what is learnt from, what it is measured on, and how much at a time.
pub struct Finetuning {
    task: Arc<dyn Task>,
    training: Arc<Examined>,
    held_out: Arc<Examined>,
    special: SpecialTokens,
    seed: u64,
    batch: usize,
    capacity: Capacity,
    answering: Answering,
    /// What one constant answer scores.
    baseline: Figures,
}

impl Finetuning {
    /// Learns `task` from `training` in batches of `batch` features, in micro-batches of at most `capacity`, in an order that
    /// `seed` decides; is measured on `held_out` by `answering`.
    pub fn new(
        task: Arc<dyn Task>,
        [training, held_out]: [Arc<Examined>; 2],
        special: SpecialTokens,
        answering: Answering,
        (seed, batch, capacity): (u64, usize, Capacity),
    ) -> Self {
        let baseline = baseline(&*task, &training.examples, &held_out.examples);
        Self { task, training, held_out, special, seed, batch, capacity, answering, baseline }
    }

    /// What one constant answer scores, by the figure that evaluations are compared by.
    pub fn baseline(&self) -> f64 {
        value(&self.baseline, self.selection())
    }

    /// The figure that evaluations are compared by: the task's, or the first of a set without it, such as MNLI's mismatched one.
    fn selection(&self) -> &str {
        let usual = self.task.selection();
        match self.baseline.first() {
            Some((first, _)) if self.baseline.iter().all(|(name, _)| name != usual) => first,
            _ => usual,
        }
    }

    fn step(&self, from: Position) -> Step {
        let features = &self.training.features;
        let count = features.len() as u64;
        let mut position = from;
        let mut permutation = Permutation::new(self.seed, position.epoch, count);
        let mut batch = Vec::with_capacity(self.batch);
        while batch.len() < self.batch {
            if position.index >= count {
                position = Position { epoch: position.epoch.wrapping_add(1), index: 0 };
                permutation = Permutation::new(self.seed, position.epoch, count);
            }
            batch.push(&features[permutation.apply(position.index) as usize]);
            position.index += 1;
        }
        let head = self.answering.head();
        let predicted = predictions(&batch, head);
        let micro_batches = divide(&batch, self.capacity.tokens, self.capacity.sequences)
            .into_iter()
            .map(|places| {
                let part: Vec<&Feature> = places.into_iter().map(|place| batch[place]).collect();
                pack(&part, head, &self.special, Some(predicted))
            })
            .collect();
        Step { micro_batches, from, until: position }
    }
}

/// The figure `name`; not a number where there is none.
fn value(figures: &Figures, name: &str) -> f64 {
    figures.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, value)| *value)
}

impl Objective for Finetuning {
    fn name(&self) -> &str {
        self.task.name()
    }

    fn terms(&self) -> &'static Terms {
        &Terms {
            material: "the examples are",
            faster: "a smaller model or a smaller --max-seq-length makes",
            model: "see whether the one that it began with does (`albert-train encode` shows its states)",
            batch: "",
        }
    }

    fn steps(self: Arc<Self>, from: Position) -> Box<dyn Iterator<Item = Step> + Send> {
        let mut position = from;
        Box::new(std::iter::from_fn(move || {
            let step = self.step(position);
            position = step.until;
            Some(step)
        }))
    }

    fn examples(&self) -> u64 {
        self.training.features.len() as u64
    }

    fn evaluation_batches(&self) -> u64 {
        let tokens: usize = self.held_out.features.iter().map(Feature::tokens).sum();
        tokens.div_ceil(self.capacity.tokens) as u64
    }

    fn tally(&self, inputs: &Inputs, outputs: Outputs<'_>, sums: &mut Sums) {
        sums.add("tokens", inputs.tokens() as f64);
        sums.add("room", outputs.computed_tokens().unwrap_or(self.capacity.tokens) as f64);
    }

    /// `fill`: on a GPU, where lengths are rounded up, the share of the computed tokens that were given; on a processor, which computes
    /// what it is given, the share of the micro-batches' room that held tokens.
    fn metrics(&self, sums: &Sums) -> Metrics {
        Metrics::default().with("fill", sums.mean("tokens", "room"))
    }

    fn figures(&self, metrics: &Metrics) -> Vec<Figure<'static>> {
        vec![Figure { name: "fill", value: metrics.value("fill"), form: Form::Accuracy }]
    }

    /// The task's figures, the loss, and what one constant answer scores by that which evaluations are compared by.
    fn evaluate(&self, model: &mut Evaluator<'_>) -> Result<Option<Metrics>, RunError> {
        let Examined { examples, features } = &*self.held_out;
        let answered = self.answering.answers(self.task.kind(), features, examples.len(), model)?;
        Ok(answered.map(|Answered { answers, loss }| {
            let figures = self.task.score(examples, &answers);
            let loss = loss.map(|loss| ("loss".into(), loss));
            let metrics = (figures.into_iter().chain(loss))
                .fold(Metrics::default(), |metrics, (name, value)| metrics.with(name.into_owned(), value));
            metrics
                .with(format!("baseline_{}", self.selection()), self.baseline())
                .with_count("examples", examples.len() as u64)
        }))
    }

    /// A hash of the features, in what order they are.
    fn measured_on(&self) -> String {
        identity(&self.held_out.features, &self.special)
    }

    fn selects_by(&self) -> &str {
        self.selection()
    }

    fn in_words(&self, evaluation: &Metrics) -> String {
        let baseline = format!("baseline_{}", self.selection());
        let figures = evaluation.iter().filter(|(name, _)| *name != baseline && *name != "examples");
        let figures: Vec<String> =
            figures.map(|(name, _)| format!("{name} {:.4}", evaluation.value(name))).collect();
        format!("{} (constant answer: {:.4})", figures.join(", "), self.baseline())
    }

    fn not_learnt(&self, evaluation: &Metrics) -> Option<Finding> {
        let (name, baseline) = (self.selection(), self.baseline());
        let found = evaluation.value(name);
        (found <= baseline + COLLAPSE).then(|| Finding {
            event: "collapsed",
            words: format!(
                "{name} is {found:.4}, no more than a constant answer gets ({baseline:.4}): the model has \
                 collapsed, or has learnt nothing yet"
            ),
        })
    }

    fn useless(&self, _: &Metrics) -> Option<String> {
        None // a model that has learnt nothing is told of, and is a result
    }
}

/// Figures that are no further above a constant answer's are the same.
pub(super) const COLLAPSE: f64 = 1e-9;

/// A hash of what a model is shown and asked.
pub(super) fn identity(features: &[Feature], special: &SpecialTokens) -> String {
    let mut hash = blake3::Hasher::new();
    let (mut ids, mut segments) = (Vec::new(), Vec::new());
    for feature in features {
        ids.clear();
        segments.clear();
        feature.sequences.iter().for_each(|sequence| sequence.push(special, &mut ids, &mut segments));
        for number in ids.iter().chain(&segments).chain(&[-1]) {
            hash.update(&number.to_le_bytes());
        }
        hash.update(format!("{:?}{:?}", feature.rows, feature.target).as_bytes());
    }
    hash.finalize().to_hex().to_string()
}
