//! A table of your own.

use std::collections::BTreeSet;
use std::path::Path;

use super::files;
use super::score::Score;
use super::table::{Columns, Table, Wanted};
use crate::finetuning::task::Split;
use crate::tables::{self, Cell, Format, InputError};
use crate::visible::visible;

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
            (_, None) => labels_to_learn(&files::own(training, Split::Train)?, &columns)?,
        };
        Ok(Self::of("table", columns, wanted, labels))
    }

    /// Names for the classes of a model that gives them none, and calls them `nameless`: the labels of the table that it is
    /// measured on, or of the training set beside it where that table lacks some, in the order in which they would be learnt.
    pub(in crate::finetuning) fn names_of_classes(
        columns: &Columns,
        source: &Path,
        split: Split,
        nameless: &[String],
    ) -> Result<Vec<String>, InputError> {
        let mut path = files::own(source, split)?;
        let mut found = labels_in(&path, columns, split)?;
        if found.len() != nameless.len()
            && let Ok(training) = files::own(source, Split::Train)
            && training != path
        {
            found = labels_in(&training, columns, Split::Train)?;
            path = training;
        }
        if found.iter().all(|label| nameless.contains(label)) {
            return Ok(nameless.to_vec());
        }
        if found.len() != nameless.len() {
            return Err(InputError::content(
                &path,
                None,
                format!(
                    "column {:?} holds {} different labels, and the model has {} classes without names",
                    columns.label,
                    found.len(),
                    nameless.len()
                ),
                "name the model's classes in its config.json (id2label), in the order of its outputs",
            ));
        }
        Ok(found)
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

/// All labels in the file of a split, in order. Rows of a test set may have none.
fn labels_in(path: &Path, columns: &Columns, split: Split) -> Result<Vec<String>, InputError> {
    let mut found = BTreeSet::new();
    tables::read(path, Format::of(path)?, &tables::Options::default(), &mut |row| {
        // A row whose label was forgotten, or lost by another program, is no example of a class without a name.
        let named = |label: &str| match label.trim() {
            "" => Err(row.error(
                format!("there is no label in column {:?}", columns.label),
                "give the row one, or leave it out",
            )),
            label => Ok(label.to_owned()),
        };
        match row.cell(&columns.label) {
            _ if split == Split::Test && columns.is_unlabelled(row) => {}
            Some(Cell::List(list)) => {
                for label in list {
                    found.insert(named(label)?);
                }
            }
            _ => drop(found.insert(named(row.text(&columns.label)?)?)),
        }
        match found.len() > MOST_CLASSES {
            false => Ok(()),
            true => Err(row.error(
                format!("more than {MOST_CLASSES} different labels in column {:?}", columns.label),
                "name the column of the classes; numbers to be predicted as such are a regression",
            )),
        }
    })?;
    let mut labels: Vec<String> = found.into_iter().collect();
    if labels.iter().all(|label| label.parse::<i64>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
    }
    Ok(labels)
}

/// The same of a training set, which needs two.
fn labels_to_learn(path: &Path, columns: &Columns) -> Result<Vec<String>, InputError> {
    let labels = labels_in(path, columns, Split::Train)?;
    if labels.len() < 2 {
        return Err(InputError::content(
            path,
            None,
            format!(
                "column {:?} holds one label only ({})",
                columns.label,
                labels.first().map_or_else(String::new, |label| visible(label))
            ),
            "a model learns nothing from examples that are all alike: give it examples of at least two classes",
        ));
    }
    Ok(labels)
}
