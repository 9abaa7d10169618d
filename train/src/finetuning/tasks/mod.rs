//! The tasks by their names.
//!
//! | file | what a reader finds there |
//! |---|---|
//! | `table` | one kind of task for all tables: classes, values, word classes |
//! | `words` | sentences whose words have a class each |
//! | `score` | GLUE's scores |
//! | `glue` | the ten tables of GLUE |
//! | `own` | a table of one's own |
//! | `race` | RACE |
//! | `stories` | tasks about the built-in stories |
//! | `files` | where the files are |

mod files;
mod glue;
mod own;
mod race;
mod score;
mod stories;
mod table;
mod words;

pub use glue::{GLUE, Glue};
pub use race::{Level, Race};
pub use score::Score;
pub use stories::{STORIES, Stories};
pub use table::{Columns, Part, Table, Wanted};

use super::squad::{Squad, SquadHead, Version};
use super::task::Task;
use crate::exit::{Classify, ExitCode};

/// The name of every task with files of its own, in the order of the published tables.
const TASKS: [&str; 13] = [
    "cola",
    "sst-2",
    "mrpc",
    "sts-b",
    "qqp",
    "mnli",
    "qnli",
    "rte",
    "wnli",
    "ax",
    "squad-1.1",
    "squad-2.0",
    "race",
];

/// The seed of the stories that questions are asked about.
const STORIES_SEED: u64 = 1;

/// There is no task of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no task `{name}`; the tasks are {}, {}", TASKS.join(", "), STORIES.join(", "))]
pub struct UnknownTask {
    /// What was asked for.
    name: String,
}

impl Classify for UnknownTask {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// The task of a name; case, hyphens and dots do not matter (`SST2` is `sst-2`). Version 2.0 of SQuAD has its own head; another
/// choice is [`Squad::new`]'s, and that of passages [`Race::new`]'s.
///
/// # Errors
/// If there is none.
pub fn task(name: &str) -> Result<Box<dyn Task>, UnknownTask> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', '.'], "");
    let wanted = plain(name);
    if let Some(row) = GLUE.iter().find(|row| plain(row.name) == wanted) {
        return Ok(Box::new(row.table()));
    }
    let about_stories = STORIES.iter().find(|name| plain(name) == wanted);
    if let Some(task) = about_stories.and_then(|name| Stories::find(name, STORIES_SEED)) {
        return Ok(Box::new(task));
    }
    match wanted.as_str() {
        "squad" | "squad1" | "squad11" => Ok(Box::new(Squad::new(Version::One, SquadHead::Span))),
        "squad2" | "squad20" => Ok(Box::new(Squad::new(Version::Two, SquadHead::Answerable))),
        "race" => Ok(Box::new(Race::new(Level::Both))),
        _ => Err(UnknownTask { name: name.to_owned() }),
    }
}
