//! The tasks by their names.
//!
//! | file | what a reader finds there |
//! |---|---|
//! | `table` | one kind of task for all tables: classes, values, word classes, with GLUE's scores |
//! | `glue` | the ten tables of GLUE |
//! | `own` | a table of one's own |
//! | `files` | where the files are |

mod files;
mod glue;
mod own;
mod table;

pub use glue::{GLUE, Glue};
pub use table::{Columns, Part, Score, Table, Wanted};

use super::task::Task;

/// The name of every task, in the order of the published tables.
pub const TASKS: [&str; 10] = ["cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte", "wnli", "ax"];

/// There is no task of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no task `{name}`; the tasks are {}", TASKS.join(", "))]
pub struct UnknownTask {
    /// What was asked for.
    name: String,
}

/// The task of a name; case and hyphens do not matter (`SST2` is `sst-2`).
///
/// # Errors
/// If there is none.
pub fn task(name: &str) -> Result<Box<dyn Task>, UnknownTask> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_'], "");
    let wanted = plain(name);
    let glue = GLUE.iter().find(|row| plain(row.name) == wanted);
    glue.map(|row| Box::new(row.table()) as Box<dyn Task>)
        .ok_or_else(|| UnknownTask { name: name.to_owned() })
}
