//! The sections of [`Finetune`](super::Finetune) that it has for itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::pretrain::LOG_EVERY;
use super::super::recipe::Size;
use super::super::{Interval, Recompute, Span};

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

impl TableKind {
    /// The columns of the text and of the label where nobody names others.
    pub fn columns(self) -> [&'static str; 2] {
        match self {
            Self::Class | Self::Value => ["text", "label"],
            Self::Tags => ["tokens", "tags"],
        }
    }
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
        let kind = TableKind::default();
        let [text, label] = kind.columns().map(str::to_owned);
        Self {
            task: "table".into(),
            data: None,
            train: None,
            dev: None,
            text,
            pair: None,
            label,
            kind,
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

#[cfg(test)]
mod tests {
    use crate::config::{Finetune, Layers};

    /// Columns have the names that the kind of table usually has, unless somebody says others, or did when the run was begun.
    #[test]
    fn columns_are_called_as_the_kind_has_them() {
        let columns = |toml: &str| {
            let mut layers = Layers::<Finetune>::new();
            layers.toml(toml, "table.toml".as_ref());
            let task = layers.resolve().unwrap().settings.task;
            [task.text, task.label]
        };
        assert_eq!(columns("task.kind = 'value'"), ["text", "label"]);
        assert_eq!(columns("task.kind = 'tags'"), ["tokens", "tags"]);
        assert_eq!(columns("[task]\nkind = 'tags'\ntext = 'text'"), ["text", "tags"]);
    }
}
