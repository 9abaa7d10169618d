//! The settings of `finetune`.

mod check;
mod sections;

use serde::{Deserialize, Serialize};
use serde_json::json;

pub use sections::{
    AnswerHead, FinetuneTraining, RaceLevel, SequenceSettings, StartSettings, TableKind, TaskSettings,
};

use super::recipe::Recipe;
use super::{DeviceSettings, Implied, KeyHelp, LearningSettings, Objections, Recompute, Settings};
use crate::files::is_address;
use crate::hub::is_model_name;
use crate::optimization::{OptimizerKind, Schedule};

/// Everything a fine-tuning run can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Finetune {
    /// What is learnt.
    pub task: TaskSettings,
    /// What it is learnt by.
    pub start: StartSettings,
    /// How long sequences are.
    pub sequences: SequenceSettings,
    /// How weights move.
    pub optimizer: LearningSettings,
    /// How long, how much at a time, what is kept.
    pub training: FinetuneTraining,
    /// Where it is computed.
    pub device: DeviceSettings,
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            task: TaskSettings::default(),
            start: StartSettings::default(),
            sequences: SequenceSettings::default(),
            optimizer: LearningSettings { kind: OptimizerKind::Adamw, ..LearningSettings::default() },
            training: FinetuneTraining::default(),
            device: DeviceSettings::default(),
        }
    }
}

/// Options of a question: each has a letter.
pub const MOST_OPTIONS: usize = 26;

/// Evaluations of a run that nobody gave an interval.
const EVALUATIONS: u64 = 20;
/// Steps between them at least.
const FEWEST_STEPS: u64 = 25;

impl Finetune {
    /// The recipe that is followed where nothing else is said.
    pub fn recipe(&self) -> Recipe {
        Recipe::of(&self.task.task, self.start.size)
    }

    /// Optimizer steps of a run on so many features.
    pub fn steps(&self, features: usize) -> u64 {
        match (self.training.steps, self.training.epochs) {
            (Some(steps), _) => steps,
            (None, epochs) => {
                let batches = features as f64 / self.batch() as f64;
                ((epochs.unwrap_or(1.0) * batches).ceil() as u64).max(1)
            }
        }
    }

    /// Examples of an optimizer step.
    pub fn batch(&self) -> usize {
        self.training.batch.unwrap_or(1)
    }

    /// Steps between evaluations in a run of so many.
    pub fn evaluate_every(&self, steps: u64) -> u64 {
        let spread = (steps.div_ceil(EVALUATIONS)).max(FEWEST_STEPS);
        self.training.eval_every.unwrap_or(spread).min(steps)
    }

    /// The learning rate over a run of so many steps.
    pub fn schedule(&self, steps: u64) -> Schedule {
        Schedule {
            learning_rate: self.optimizer.learning_rate.unwrap_or_default(),
            steps,
            warmup_steps: self.warmup_steps(steps).min(steps),
            start_warmup_step: self.optimizer.start_warmup_step,
            poly_power: self.optimizer.poly_power,
        }
    }

    /// Steps over which the learning rate rises in a run of so many.
    pub fn warmup_steps(&self, steps: u64) -> u64 {
        let share = self.training.warmup_share.unwrap_or(0.0);
        self.optimizer.warmup_steps.unwrap_or((share * steps as f64).floor() as u64)
    }

    /// Whether the learning rate comes to its height within a run of so many steps.
    pub fn warms_up_in_time(&self, steps: u64) -> bool {
        Schedule { warmup_steps: self.warmup_steps(steps), ..self.schedule(steps) }.reaches_its_height()
    }
}

impl Settings for Finetune {
    const KEYS: &'static [&'static [KeyHelp]] = &[
        &[
            ("task.task", "what is learnt; the command says it"),
            ("task.data", "the task's files: a folder with the official ones, or a file"),
            ("task.train", "the file to learn from, whatever it is called; not set: that of --data"),
            (
                "task.dev",
                "the file to measure on, whatever it is called; not set: that of --data, or every tenth example of the one file",
            ),
            (
                "task.text",
                "for a table of your own: the column of the text, or of the list of words (with --kind tags: tokens, unless given)",
            ),
            ("task.pair", "for a table of your own: the column of a second text"),
            (
                "task.label",
                "for a table of your own: the column of the label (with --kind tags: tags, unless given)",
            ),
            (
                "task.kind",
                "for a table of your own, what the label is: class, value, or tags (one for each word)",
            ),
            (
                "task.head",
                "for SQuAD 2.0: answerable (as ALBERT does it), or span (as in 1.1, works in transformers)",
            ),
            (
                "task.null_threshold",
                "for SQuAD 2.0: the largest null score of an answered question; not set: the best on the dev set",
            ),
            ("task.level", "for RACE: middle, high or both"),
            ("task.options", "for RACE and files like it: options of each question"),
            ("task.train_examples", "learn from the first N examples only; not set: from all"),
            ("task.eval_examples", "measure on the first N examples only; not set: on all"),
            ("start.model", "the pre-trained model: a model directory, a run, or hf:owner/name"),
            ("start.tokenizer", "tokenizer file or folder; not set: the one in the model's directory"),
            (
                "start.size",
                "the size whose recipe is followed; not set: the first preset that is as wide as the model",
            ),
            ("start.positions", "the longest sequence that the model takes; the model says it"),
            (
                "start.allow_missing",
                "encoder weights that the model's files may lack, and that then begin at random: beginnings of their names, such as \
             albert.pooler, which models for masked words, tags or spans lack",
            ),
            ("start.head_dropout", "dropout within the head"),
            (
                "start.hidden_dropout",
                "dropout after the embeddings and in each layer; not set: as the model has it",
            ),
            (
                "start.attention_dropout",
                "dropout of the attention probabilities; not set: as the model has it",
            ),
            ("sequences.max_seq_length", "largest number of tokens in a sequence"),
            (
                "sequences.max_question_length",
                "largest number of tokens in a question about a passage; for RACE, in a question with one of its options",
            ),
            ("sequences.doc_stride", "tokens from one window of a long passage to the next"),
            ("optimizer.optimizer", "lamb or adamw"),
            ("optimizer.learning_rate", "highest learning rate; auto: the recipe's"),
            (
                "optimizer.warmup_steps",
                "steps over which the learning rate rises; not set: a share of the steps",
            ),
        ],
        LearningSettings::KEYS,
        &[
            ("training.steps", "optimizer steps of the whole run; not set: as --epochs says"),
            ("training.epochs", "passes over the examples, where no steps are given"),
            ("training.batch", "examples of an optimizer step"),
            ("training.warmup_share", "share of the steps over which the learning rate rises"),
            ("training.micro_tokens", "tokens computed at a time: the same result up to rounding"),
            Recompute::KEY,
            (
                "training.eval_every",
                "steps between evaluations; 0: only one at the end; not set: about twenty in all",
            ),
            ("training.patience", "end the run after N evaluations without a better one"),
            ("training.log_every", "steps that each line of metrics.jsonl averages"),
            (
                "training.tensorboard",
                "keep the same for TensorBoard, as events.out.tfevents files in the run directory",
            ),
            ("training.save_every", "steps (1000) or time (30m) between checkpoints"),
            ("training.keep", "number of newest checkpoints to keep (at least 2), besides the best"),
            ("training.seed", "seed of the head's initial weights, order and dropout"),
            ("training.max_time", "save and stop after this time, for example 7h50m"),
        ],
        DeviceSettings::KEYS,
    ];

    const LENGTHS: &'static [(&'static str, &'static [u64])] =
        &[("training.steps", &[]), ("training.epochs", &[])];

    fn implied(&self) -> Vec<Implied> {
        let recipe = self.recipe();
        let reason = || format!("recipe {}", recipe.name);
        let positions = self.start.positions.unwrap_or(recipe.max_seq_length);
        let length = recipe.max_seq_length.min(positions);
        let imply = |key, value| Implied { key, value, reason: reason() };
        let mut implied = vec![
            imply("optimizer.learning_rate", json!(recipe.learning_rate)),
            imply("optimizer.clip_norm", json!(recipe.clip_norm)),
            imply("training.batch", json!(recipe.batch)),
            imply("training.warmup_share", json!(recipe.warmup_share)),
            imply("start.head_dropout", json!(recipe.head_dropout)),
            Implied {
                key: "sequences.max_seq_length",
                value: json!(length),
                reason: if length < recipe.max_seq_length {
                    format!("the model's {positions} positions")
                } else {
                    reason()
                },
            },
        ];
        if self.task.kind == TableKind::Tags {
            let [text, label] = self.task.kind.columns();
            let of_tags = |key, column| Implied { key, value: json!(column), reason: "kind tags".into() };
            implied.extend([of_tags("task.text", text), of_tags("task.label", label)]);
        }
        if let Some(dropout) = recipe.hidden_dropout {
            implied.push(imply("start.hidden_dropout", json!(dropout)));
            implied.push(imply("start.attention_dropout", json!(dropout)));
        }
        match (self.training.epochs, recipe.steps) {
            (None, Some(steps)) => implied.push(imply("training.steps", json!(steps))),
            (None, None) if self.training.steps.is_none() => {
                implied.push(imply("training.epochs", json!(recipe.epochs)));
            }
            _ => {}
        }
        implied
    }

    /// Makes paths absolute, so that the saved configuration means the same in any folder.
    fn normalize(&mut self) {
        let TaskSettings { data, train, dev, .. } = &mut self.task;
        let StartSettings { model, tokenizer, .. } = &mut self.start;
        let models = [model, tokenizer].into_iter().flatten().filter(|path| !is_model_name(path));
        for path in [data, train, dev].into_iter().flatten().chain(models) {
            if !is_address(path)
                && let Ok(absolute) = std::path::absolute(&path)
                && absolute.to_str().is_some()
            {
                *path = absolute;
            }
        }
    }

    fn check(&self, objections: &mut Objections) {
        self.check_all(objections);
    }
}
