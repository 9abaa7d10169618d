//! Tasks that a pre-trained model is fine-tuned for: from files of examples to features, and from what the model says to
//! scores and prediction files.
//!
//! ```text
//! files ─ Task::read ─▶ Example ─ Task::features ─▶ Feature ─ the model ─▶ Output ─▶ Answer ─▶ Task::score, Task::write
//! ```
//!
//! [`task`] finds a task by its name; a new kind of task is one file that implements [`Task`].

pub mod answers;
pub mod features;
pub mod squad;
mod task;
pub mod tasks;

pub use answers::{Answer, AnswerLimits, BeamEntry, Candidate, Output};
pub use features::{Feature, FeatureTarget, Limits, Sequence, Window};
pub use task::{
    Example, Examples, Figures, FileReport, GoldAnswer, Input, Kind, Split, Target, Task, baseline,
};
pub use tasks::{TASKS, UnknownTask, task};
