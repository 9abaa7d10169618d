//! The settings of `finetune`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pretrain::{LOG_EVERY, MOST_SEQUENCES, MOST_TOKENS, check_device, check_moments, check_saving};
use super::recipe::{Recipe, Size};
use super::{
    DeviceSettings, Implied, Interval, KeyHelp, LearningSettings, Objections, Recompute, Settings, Span,
};
use crate::hub::is_of_hub;
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

/// `[task]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskSettings {
    /// Its name.
    pub task: String,
    /// Its files.
    pub data: Option<PathBuf>,
    /// The file to learn from, where it is not that of `data`.
    pub train: Option<PathBuf>,
    /// The file to measure on, where it is not that of `data`.
    pub dev: Option<PathBuf>,
    /// Of a table of one's own: the column of the text, or of the list of words.
    pub text: String,
    /// The column of a second text.
    pub pair: Option<String>,
    /// The column of the label.
    pub label: String,
    /// What that is: `class`, `value` or `tags`.
    pub kind: TableKind,
    /// Of SQuAD 2.0: how a question is answered.
    pub head: AnswerHead,
    /// Of SQuAD 2.0: the largest null score at which a question is answered; `None` to search it on the dev set.
    pub null_threshold: Option<f64>,
    /// Of RACE: which passages.
    pub level: RaceLevel,
    /// Of RACE and files like it: options of each question.
    pub options: usize,
    /// Examples learnt from; `None` for all.
    pub train_examples: Option<usize>,
    /// Examples measured on; `None` for all.
    pub eval_examples: Option<usize>,
}

/// What is to be found out about a row of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Its class.
    #[default]
    Class,
    /// Its value, a number.
    Value,
    /// The class of each of its words.
    Tags,
}

/// How a question that may have no answer is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerHead {
    /// As the reference does in version 2.0: the end given the start, and whether there is an answer.
    #[default]
    Answerable,
    /// As in version 1.1, the first token standing for no answer, so that the result works in other programs.
    Span,
}

/// How hard the passages of RACE are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RaceLevel {
    /// All.
    #[default]
    Both,
    /// For pupils of middle schools.
    Middle,
    /// For pupils of high schools.
    High,
}

impl Default for TaskSettings {
    fn default() -> Self {
        Self {
            task: "table".into(),
            data: None,
            train: None,
            dev: None,
            text: "text".into(),
            pair: None,
            label: "label".into(),
            kind: TableKind::Class,
            head: AnswerHead::Answerable,
            null_threshold: None,
            level: RaceLevel::Both,
            options: 4,
            train_examples: None,
            eval_examples: None,
        }
    }
}

impl TaskSettings {
    /// Where what is learnt from lies, and where what is measured on.
    pub fn sources(&self) -> [Option<&Path>; 2] {
        let [data, train, dev] = [&self.data, &self.train, &self.dev].map(|path| path.as_deref());
        [train.or(data), dev.or(data).or(train)]
    }

    /// Whether both are one file that nobody said how to divide.
    pub fn is_one_file(&self) -> bool {
        let [training, held_out] = self.sources();
        self.dev.is_none() && training == held_out && training.is_some_and(Path::is_file)
    }
}

/// `[start]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartSettings {
    /// The pre-trained model.
    pub model: Option<PathBuf>,
    /// Its tokenizer; `None` for the one in the model's directory.
    pub tokenizer: Option<PathBuf>,
    /// The size whose recipes it is trained by; `None` before the model was looked at.
    pub size: Option<Size>,
    /// Its longest sequence; `None` before the model was looked at.
    pub positions: Option<usize>,
    /// Beginnings of the names of encoder weights that its files may lack, and that then begin at random.
    pub allow_missing: Vec<String>,
    /// Dropout within the head.
    pub head_dropout: Option<f64>,
    /// Dropout after the embeddings and in each layer; `None` for that of the model's configuration.
    pub hidden_dropout: Option<f64>,
    /// Dropout of the attention probabilities; `None` for that of the model's configuration.
    pub attention_dropout: Option<f64>,
}

/// `[sequences]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SequenceSettings {
    /// Largest number of tokens in a sequence; `None` only before the recipe is applied.
    pub max_seq_length: Option<usize>,
    /// Most tokens of a question about a passage; `None` for the reference's.
    pub max_question_length: Option<usize>,
    /// Tokens from the beginning of one window of a long passage to that of the next.
    pub doc_stride: Option<usize>,
}

/// `[training]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneTraining {
    /// Optimizer steps; `None` where `epochs` says how long.
    pub steps: Option<u64>,
    /// Passes over the data.
    pub epochs: Option<f64>,
    /// Examples of an optimizer step; `None` only before the recipe is applied.
    pub batch: Option<usize>,
    /// Share of the steps over which the learning rate rises, where `warmup_steps` does not say how many.
    pub warmup_share: Option<f64>,
    /// Most tokens computed at a time.
    pub micro_tokens: usize,
    /// What backward computes again instead of keeping it.
    pub recompute: Recompute,
    /// Steps between evaluations; `None` for twenty in all, each after 25 steps at least.
    pub eval_every: Option<u64>,
    /// Evaluations without a better one after which the run ends; `None` to do all steps.
    pub patience: Option<u64>,
    /// Steps that a line of the journal is the mean of.
    pub log_every: u64,
    /// Keep TensorBoard's event files too.
    pub tensorboard: bool,
    /// Steps or time between checkpoints.
    pub save_every: Interval,
    /// Checkpoints kept besides the best.
    pub keep: usize,
    /// Decides the head's initial weights, order of examples and dropout.
    pub seed: u64,
    /// Stop, with a checkpoint, after this time.
    pub max_time: Option<Span>,
}

impl Default for FinetuneTraining {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            batch: None,
            warmup_share: None,
            micro_tokens: 4096,
            recompute: Recompute::None,
            eval_every: None,
            patience: None,
            log_every: LOG_EVERY,
            tensorboard: true,
            save_every: Interval::Time(Duration::from_secs(30 * 60)),
            keep: 2,
            seed: 1,
            max_time: None,
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
        let start = self.optimizer.start_warmup_step;
        start.saturating_add(self.warmup_steps(steps)) <= steps && (start == 0 || start < steps)
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
            ("task.text", "for a table of your own: the column of the text, or of the list of words"),
            ("task.pair", "for a table of your own: the column of a second text"),
            ("task.label", "for a table of your own: the column of the label"),
            (
                "task.kind",
                "for a table of your own, what the label is: class, value, or tags (one for each word)",
            ),
            (
                "task.head",
                "for SQuAD 2.0: answerable (as ALBERT does it), or span (as in 1.1, works in transformers' pipeline)",
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
        for path in [data, train, dev, model, tokenizer].into_iter().flatten() {
            if !is_of_hub(path)
                && let Ok(absolute) = std::path::absolute(&path)
                && absolute.to_str().is_some()
            {
                *path = absolute;
            }
        }
    }

    fn check(&self, objections: &mut Objections) {
        let training = &self.training;
        if let (Some(longest), Some(positions)) = (self.sequences.max_seq_length, self.start.positions)
            && longest > positions
        {
            objections.add(
                "sequences.max_seq_length",
                format!("sequences of {longest} tokens are longer than the model's {positions} positions"),
                format!("at most {positions}"),
            );
        }
        let longest = self.sequences.max_seq_length.unwrap_or(usize::MAX);
        objections.require(longest >= 8, "sequences.max_seq_length", longest, "at least 8");
        if let Some(question) = self.sequences.max_question_length {
            let fits = question > 0 && question.saturating_add(3) < longest;
            objections.require(
                fits,
                "sequences.max_question_length",
                question,
                "less than the sequence less 3",
            );
        }
        for (key, value) in [
            ("training.steps", training.steps),
            ("training.batch", training.batch.map(|batch| batch as u64)),
            ("training.micro_tokens", Some(training.micro_tokens as u64)),
            ("training.log_every", Some(training.log_every)),
            ("training.patience", training.patience),
            ("task.train_examples", self.task.train_examples.map(|examples| examples as u64)),
            ("task.eval_examples", self.task.eval_examples.map(|examples| examples as u64)),
            ("task.options", Some(self.task.options as u64)),
            ("sequences.doc_stride", self.sequences.doc_stride.map(|stride| stride as u64)),
        ] {
            objections.require(value != Some(0), key, 0, "at least 1");
        }
        for (key, value, most) in [
            ("training.batch", self.batch(), MOST_SEQUENCES),
            ("training.micro_tokens", training.micro_tokens, MOST_TOKENS),
            ("task.options", self.task.options, MOST_OPTIONS),
        ] {
            objections.require(value <= most, key, value, format!("at most {most}"));
        }
        let epochs = training.epochs.unwrap_or(1.0);
        objections.require(epochs > 0.0 && epochs <= 1e6, "training.epochs", epochs, "more than 0");
        let share = training.warmup_share.unwrap_or_default();
        objections.require((0.0..=1.0).contains(&share), "training.warmup_share", share, "from 0 to 1");
        for (key, dropout) in [
            ("start.head_dropout", self.start.head_dropout),
            ("start.hidden_dropout", self.start.hidden_dropout),
            ("start.attention_dropout", self.start.attention_dropout),
        ] {
            let dropout = dropout.unwrap_or_default();
            objections.require((0.0..1.0).contains(&dropout), key, dropout, "from 0 up to, not including, 1");
        }
        if let Some(rate) = self.optimizer.learning_rate {
            let help = format!("recipe {} has {:e}", self.recipe().name, self.recipe().learning_rate);
            objections.require(rate > 0.0 && rate <= 1.0, "optimizer.learning_rate", rate, help);
        }
        check_moments(&self.optimizer, objections);
        check_saving(training.save_every, training.keep, training.max_time, objections);
        check_device(&self.device, objections);
    }
}
