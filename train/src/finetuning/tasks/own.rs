//! A table of your own.

use std::collections::BTreeSet;
use std::path::Path;

use super::files;
use super::score::Score;
use super::table::{Columns, Table, Wanted};
use crate::finetuning::task::Split;
use crate::tables::{self, Cell, Format, InputError};

/// More classes than this are no classes but texts.
const MOST_CLASSES: usize = 1000;

impl Table {
    /// A task on a table of one's own, called `table`. Its classes are those that stand in the training set, in the order of
    /// their numbers if all are numbers, else of the alphabet; or `labels`, if a model has them already.
    ///
    /// # Errors
    /// If the training set cannot be read, or has one class only.
    pub fn own(
        columns: Columns,
        wanted: Wanted,
        labels: Option<Vec<String>>,
        training: &Path,
    ) -> Result<Self, InputError> {
        let labels = match (wanted, labels) {
            (Wanted::Value, _) => Vec::new(),
            (_, Some(labels)) => labels,
            (_, None) => labels_in(&files::own(training, Split::Train)?, &columns)?,
        };
        Ok(Self::of("table", columns, wanted, labels))
    }

    /// A task on a table without official files, with these classes.
    pub(super) fn of(name: &str, columns: Columns, wanted: Wanted, labels: Vec<String>) -> Self {
        let scores = match wanted {
            Wanted::Value => vec![Score::Pearson, Score::Spearman],
            Wanted::Classes if labels.len() == 2 => vec![Score::Accuracy, Score::F1, Score::Matthews],
            Wanted::Classes => vec![Score::Accuracy],
            // Classes that mark no beginnings, such as parts of speech, make no entities.
            Wanted::WordClasses if labels.iter().any(|label| label.starts_with("B-")) => {
                vec![Score::Entities, Score::Accuracy]
            }
            Wanted::WordClasses => vec![Score::Accuracy],
        };
        Self {
            name: name.to_owned(),
            folders: &[],
            columns: [columns.clone(), columns],
            names: None,
            skip_short: false,
            wanted,
            hub_labels: Vec::new(),
            labels,
            parts: &[],
            selection: scores[0].name().to_owned(),
            scores,
        }
    }
}

/// All labels in a file, in order.
fn labels_in(path: &Path, columns: &Columns) -> Result<Vec<String>, InputError> {
    let mut found = BTreeSet::new();
    tables::read(path, Format::of(path)?, &tables::Options::default(), &mut |row| {
        match row.cell(&columns.label) {
            Some(Cell::List(list)) => found.extend(list.iter().cloned()),
            _ => drop(found.insert(row.text(&columns.label)?.trim().to_owned())),
        }
        match found.len() > MOST_CLASSES {
            false => Ok(()),
            true => Err(row.error(
                format!("more than {MOST_CLASSES} different labels in column {:?}", columns.label),
                "name the column of the classes; numbers to be predicted as such are a regression",
            )),
        }
    })?;
    if found.len() < 2 {
        return Err(InputError::content(
            path,
            None,
            format!(
                "column {:?} holds one label only ({})",
                columns.label,
                found.iter().next().map_or("", |l| l)
            ),
            "a model learns nothing from examples that are all alike: give it examples of at least two classes",
        ));
    }
    let mut labels: Vec<String> = found.into_iter().collect();
    if labels.iter().all(|label| label.parse::<i64>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
    }
    Ok(labels)
}
