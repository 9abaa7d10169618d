//! Tasks that a pre-trained model is fine-tuned for: from files of examples to features, and from what the model says to
//! scores and prediction files.
//!
//! ```text
//! files ─ Task::read ─▶ Example ─ Task::features ─▶ Feature ─ the model ─▶ Output ─▶ Answer ─▶ Task::score, Task::write
//! ```
//!
//! [`task`] finds a task by its name; a new kind of task is one file that implements [`Task`].

mod answering;
pub mod answers;
mod batch;
mod data;
mod doubts;
mod error;
pub mod features;
mod job;
mod objective;
mod predictor;
mod published;
mod results;
mod seeds;
pub mod squad;
pub mod submission;
mod task;
pub mod tasks;

pub use answering::{Answering, head};
pub use answers::{Answer, AnswerLimits, BeamEntry, Candidate, Output};
pub use data::{TaskData, classes_in_table, read_split, the_task};
pub use doubts::doubts;
pub use error::TaskError;
pub use features::{Feature, FeatureTarget, Limits, Sequence, Window};
pub use job::{FinetuningJob, look_at};
pub use objective::{Examined, Finetuning};
pub use predictor::{Predictor, Purpose};
pub use results::{Results, ResultsRow, ResultsTable, RunResult, find_results, tables};
pub use seeds::{SeedResult, SeedSummary};
pub use task::{
    Example, Examples, Figures, FileReport, GoldAnswer, Input, Kind, Split, Target, Task, baseline,
};
pub use tasks::{UnknownTask, task};
