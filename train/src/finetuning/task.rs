//! What a task is: examples, what is to be found out about them, and how well it was found out.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::answers::Answer;
use super::features::{Feature, Limits};
use crate::tables::InputError;
use crate::tokenizer::Encoder;
use crate::visible::shown;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// To learn from.
    Train,
    /// With labels, to choose the best model by.
    Dev,
    /// To be judged by; its labels are often kept by somebody else.
    Test,
}

impl Split {
    /// `train`, `dev` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }
}

/// What is asked of the model: the head that answers it follows from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of so many classes for a text or a pair of texts.
    Classes(usize),
    /// A number for a text or a pair of texts.
    Value,
    /// The best of so many options.
    Choice(usize),
    /// One of so many classes for every word.
    TokenClasses(usize),
    /// Where in a passage the answer stands (SQuAD 1.1).
    Span,
    /// The same, and whether there is an answer at all (SQuAD 2.0).
    AnswerableSpan,
}

/// What an example shows to the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A text, or two.
    Texts {
        /// The text, or the first of the two.
        first: String,
        /// The second.
        second: Option<String>,
    },
    /// The words of a sentence.
    Words(Vec<String>),
    /// A passage, and what might follow from it: the question with one option each.
    Options {
        /// The passage; examples about one passage share it.
        passage: Arc<str>,
        /// Question and option, in order.
        options: Vec<String>,
    },
    /// A question about a passage.
    Question {
        /// The question.
        question: String,
        /// The passage; questions about one passage share it.
        passage: Arc<str>,
    },
}

/// What is right for an example.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The class, or the option.
    Class(u32),
    /// The number.
    Value(f32),
    /// The class of every word.
    Classes(Vec<u32>),
    /// All answers that count as right, the first of them to learn from; none where the question has no answer.
    Answers(Vec<GoldAnswer>),
}

/// A right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldAnswer {
    /// The text.
    pub text: String,
    /// The byte of the passage at which it begins; `None` where it does not stand where its file says.
    pub start: Option<usize>,
}

/// One example of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Its name in prediction files.
    pub id: String,
    /// Which of several groups of the split it belongs to (`matched`, `middle`, …); empty where there is one group only.
    pub group: &'static str,
    /// What the model is shown.
    pub input: Input,
    /// What is right, where that is known.
    pub target: Option<Target>,
}

/// How much a file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its examples.
    pub rows: usize,
    /// How many the official file has, where that is known.
    pub official: Option<usize>,
    /// What a user should know about it, in words.
    pub remarks: Vec<String>,
}

impl std::fmt::Display for FileReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} examples", shown(&self.path), self.rows)?;
        match self.official {
            Some(official) if official == self.rows => write!(f, ", as in the official file")?,
            Some(official) => {
                write!(f, "; the official file has {official}, so this is another or a part of it")?
            }
            None => {}
        }
        self.remarks.iter().try_for_each(|remark| write!(f, "; {remark}"))
    }
}

/// The examples of a split, and the files that they come from.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// All of them, in the order of the files.
    pub examples: Vec<Example>,
    /// What was read.
    pub files: Vec<FileReport>,
}

/// Figures by name, all of them numbers. A larger one is better, but for a threshold by which others were reached.
pub type Figures = Vec<(Cow<'static, str>, f64)>;

/// A kind of work that a pre-trained model is fine-tuned for.
///
/// A task is a pure description: it reads, encodes and judges, and knows nothing of training.
pub trait Task: Send + Sync {
    /// The name by which it is called, such as `mrpc`.
    fn name(&self) -> &str;

    /// What is asked of the model.
    fn kind(&self) -> Kind;

    /// The names of the classes, in the order of the model's outputs; none where there are no classes with names.
    fn labels(&self) -> &[String];

    /// Reads a split from the folder or file that the user named.
    ///
    /// # Errors
    /// If the split is not there, or anything in it is not as it should be: nothing is left out silently.
    fn read(&self, source: &Path, split: Split) -> Result<Examples, InputError>;

    /// Appends the features of `examples`, which are number `first` and following of their split: one for most kinds, several
    /// where a passage is longer than the model's input.
    fn features(
        &self,
        examples: &[Example],
        first: usize,
        encoder: &mut Encoder<'_>,
        limits: &Limits,
        into: &mut Vec<Feature>,
    );

    /// How well the answers, one for each example, fit what is right. Examples whose target is not known do not count;
    /// where none is, there is no figure.
    fn score(&self, examples: &[Example], answers: &[Answer]) -> Figures;

    /// The name of the figure by which the best model is chosen.
    fn selection(&self) -> &str;

    /// Writes the answers as the task's official prediction files into a folder, and says which files these are.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn write(
        &self,
        examples: &[Example],
        answers: &[Answer],
        split: Split,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, InputError>;
}

/// What the best constant answer scores on `examples`: the majority of the classes in `training`, the mean of its values,
/// silence. Whatever learned something does better.
pub fn baseline(task: &dyn Task, training: &[Example], examples: &[Example]) -> Figures {
    let constant = Answer::constant(task.kind(), training);
    let answers: Vec<Answer> = (examples.iter())
        .map(|example| match (&constant, &example.input) {
            (Answer::Words(classes), Input::Words(words)) => {
                Answer::Words(vec![classes.first().copied().unwrap_or(0); words.len()])
            }
            _ => constant.clone(),
        })
        .collect();
    task.score(examples, &answers)
}
