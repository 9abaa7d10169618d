//! Tasks whose examples are the rows of a table: a text or two and a class or a value, or words with a class each.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::score::Score;
use super::{files, words};
use crate::files::{Disk, replace};
use crate::finetuning::answers::Answer;
use crate::finetuning::features::{Feature, FeatureTarget, Limits, Sequence};
use crate::finetuning::task::{Example, Examples, Figures, FileReport, Input, Kind, Split, Target, Task};
use crate::tables::{self, Cell, Format, InputError, Row};
use crate::tokenizer::Encoder;
use crate::visible::visible;

/// The names of the columns that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The text, or the first of two; the list of words where each word has a class.
    pub first: String,
    /// The second text.
    pub second: Option<String>,
    /// What is to be found out.
    pub label: String,
}

impl From<[&str; 3]> for Columns {
    /// The second name may be empty.
    fn from([first, second, label]: [&str; 3]) -> Self {
        let second = (!second.is_empty()).then(|| second.to_owned());
        Self { first: first.to_owned(), second, label: label.to_owned() }
    }
}

impl Columns {
    /// Whether a row has no label.
    pub(super) fn is_unlabelled(&self, row: &Row<'_>) -> bool {
        match row.cell(&self.label) {
            None | Some(Cell::Missing) => true,
            Some(Cell::Text(text)) => text.trim().is_empty(),
            Some(Cell::List(list)) => list.is_empty(),
            Some(Cell::Other(_)) => false,
        }
    }
}

/// What is to be found out about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its class.
    Classes,
    /// Its value.
    Value,
    /// The class of each of its words.
    WordClasses,
}

/// One official file of a task.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The split that it belongs to.
    pub split: Split,
    /// Its group where a split has several.
    pub group: &'static str,
    /// Its name on the site.
    pub file: &'static str,
    /// The beginning of its name on the Hub.
    pub hub: &'static str,
    /// How many examples it has.
    pub rows: usize,
    /// The name, without `.tsv`, under which the site wants its predictions.
    pub submission: &'static str,
}

/// A task on a table.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) name: String,
    /// The folders in which its files are looked for, besides the one that is named.
    pub(super) folders: &'static [&'static str],
    /// The columns of its text files, and of its Parquet files.
    pub(super) columns: [Columns; 2],
    /// The names of the columns of labelled text files without a line of names.
    pub(super) names: Option<&'static [&'static str]>,
    /// Whether lines with too few columns are left out, as the reference does where line feeds within texts made them.
    pub(super) skip_short: bool,
    pub(super) wanted: Wanted,
    /// The classes in the order of the model's outputs.
    pub(super) labels: Vec<String>,
    /// The classes in the order of the numbers in Parquet files.
    pub(super) hub_labels: Vec<String>,
    /// The official files; none for a table of one's own.
    pub(super) parts: &'static [Part],
    pub(super) scores: Vec<Score>,
    /// The figure by which the best model is chosen.
    pub(super) selection: String,
}

/// The columns that may number the rows.
const IDS: [&str; 3] = ["index", "id", "idx"];

impl Table {
    /// Reads one file; where it is one of several of its part, that began with example number `first`.
    fn read_file(
        &self,
        path: &Path,
        part: Option<&Part>,
        split: Split,
        first: usize,
        examples: &mut Vec<Example>,
    ) -> Result<FileReport, InputError> {
        let format = Format::of(path)?;
        let names = self.names.filter(|_| split != Split::Test && format == Format::Tsv);
        let is_hub = format == Format::Parquet;
        let columns = &self.columns[usize::from(is_hub)];
        let before = examples.len();
        let (mut empty, mut unknown, mut first_unknown) = (0, 0, None);
        // Every row of a test set has to be answered.
        let options = tables::Options { names, skip_short: self.skip_short && split != Split::Test };
        let left_out = tables::read(path, format, &options, &mut |row| {
            let input = self.input(row, columns)?;
            empty += usize::from(matches!(&input, Input::Texts { first, .. } if first.trim().is_empty()));
            let id = match IDS.iter().find_map(|name| row.cell(name)) {
                Some(Cell::Text(id)) => id.clone().into_owned(),
                _ => (examples.len() - first).to_string(),
            };
            let target = match self.target(row, columns, is_hub, split, &input) {
                // What is right need not be known of a test set.
                Err(error) if split == Split::Test => {
                    unknown += 1;
                    first_unknown.get_or_insert(error);
                    None
                }
                target => target?,
            };
            examples.push(Example { id, group: part.map_or("", |part| part.group), input, target });
            Ok(())
        });
        let left_out = left_out.map_err(|error| match error {
            InputError::Content { path, line, problem, advice }
                if self.skip_short && split == Split::Test =>
            {
                let advice = format!("{advice} (if it is a development set: --split dev)");
                InputError::Content { path, line, problem, advice }
            }
            error => error,
        })?;
        let mut remarks = Vec::new();
        if left_out.short > 0 {
            remarks.push(format!(
                "{} lines with too few columns are left out, as in the reference: line feeds within questions made them",
                left_out.short
            ));
        }
        if left_out.empty > 0 {
            remarks.push(format!("{} empty lines are no examples", left_out.empty));
        }
        if empty > 0 {
            remarks.push(format!("{empty} examples have an empty text"));
        }
        if split == Split::Train
            && !self.is_official()
            && self.wanted == Wanted::Classes
            && are_values(&self.labels)
        {
            remarks.push(format!(
                "its labels are numbers, learnt as {} classes: --kind value learns them as numbers",
                self.labels.len()
            ));
        }
        if let Some(error) = first_unknown {
            remarks.push(format!(
                "{unknown} examples are answered, but not judged, for want of a label ({error})"
            ));
        }
        let rows = examples.len() - before;
        Ok(FileReport { path: path.to_path_buf(), rows, official: part.map(|part| part.rows), remarks })
    }

    /// Whether it is one of GLUE's, and not a table of one's own, whose labels may be anything.
    fn is_official(&self) -> bool {
        !self.parts.is_empty()
    }

    fn input(&self, row: &Row<'_>, columns: &Columns) -> Result<Input, InputError> {
        if self.wanted == Wanted::WordClasses {
            return Ok(Input::Words(row.list(&columns.first)?.to_vec()));
        }
        let first = row.text(&columns.first)?.to_owned();
        let second = columns.second.as_deref().map(|second| row.text(second)).transpose()?;
        Ok(Input::Texts { first, second: second.map(str::to_owned) })
    }

    /// What is right for a row; nothing where the label of a row of a test set is kept back or empty.
    fn target(
        &self,
        row: &Row<'_>,
        columns: &Columns,
        is_hub: bool,
        split: Split,
        input: &Input,
    ) -> Result<Option<Target>, InputError> {
        if split == Split::Test && columns.is_unlabelled(row) {
            return Ok(None);
        }
        match (self.wanted, input) {
            (Wanted::Value, _) => {
                let text = row.text(&columns.label)?;
                let value = text.trim().parse::<f32>().ok().filter(|value| value.is_finite());
                let value = value.ok_or_else(|| {
                    row.error(
                        format!("{} in column {:?} is no number", tables::excerpt(text), columns.label),
                        "each row needs a number there, such as 3.8",
                    )
                })?;
                // The Hub marks values that are kept back so.
                let kept_back = self.is_official() && split == Split::Test && value == -1.0;
                Ok((!kept_back).then_some(Target::Value(value)))
            }
            (Wanted::Classes, _) => {
                let text = row.text(&columns.label)?;
                if self.is_official() && split == Split::Test && text == "-1" {
                    return Ok(None);
                }
                Ok(Some(Target::Class(self.class(text, row, columns, is_hub)?)))
            }
            (Wanted::WordClasses, input) => {
                let tags = row.list(&columns.label)?;
                let words = if let Input::Words(words) = input { words.len() } else { 0 };
                if tags.len() != words {
                    return Err(row.error(
                        format!(
                            "{words} words in {:?} and {} in {:?}",
                            columns.first,
                            tags.len(),
                            columns.label
                        ),
                        "every word needs one class",
                    ));
                }
                let classes =
                    tags.iter().map(|tag| self.class(tag, row, columns, is_hub)).collect::<Result<_, _>>()?;
                Ok(Some(Target::Classes(classes)))
            }
        }
    }

    /// The class of a label: its name or, in Parquet files of the Hub, its number there.
    fn class(&self, label: &str, row: &Row<'_>, columns: &Columns, is_hub: bool) -> Result<u32, InputError> {
        let place = |label: &str| self.labels.iter().position(|known| known == label);
        let number = label.parse::<usize>().ok().filter(|_| is_hub);
        let found = match number.and_then(|number| self.hub_labels.get(number)) {
            Some(name) => place(name),
            None => place(label).or_else(|| place(label.trim())),
        };
        found.map(|class| class as u32).ok_or_else(|| {
            row.error(
                format!("unknown label {} in column {:?}", tables::excerpt(label), columns.label),
                format!("the labels of {} are {}", self.name, listed(&self.labels)),
            )
        })
    }

    /// An answer as it stands in a prediction file.
    fn written(&self, answer: &Answer) -> String {
        match answer {
            Answer::Value(value) => {
                let is_glue = !self.parts.is_empty();
                format!("{:.3}", if is_glue { value.clamp(0.0, 5.0) } else { *value })
            }
            answer => {
                let class = answer.class().and_then(|class| self.labels.get(class as usize));
                class.cloned().unwrap_or_default()
            }
        }
    }
}

/// Whether labels are numbers with parts, which hardly ever are classes.
fn are_values(labels: &[String]) -> bool {
    let numbers: Option<Vec<f64>> = labels.iter().map(|label| label.parse().ok()).collect();
    numbers.is_some_and(|numbers| numbers.iter().any(|number| number.fract() != 0.0))
}

/// Names for a message.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut list: Vec<&str> = names.iter().map(String::as_str).take(SHOWN).collect();
    if names.len() > SHOWN {
        list.push("…");
    }
    visible(&list.join(", "))
}

impl Task for Table {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> Kind {
        match self.wanted {
            Wanted::Classes => Kind::Classes(self.labels.len()),
            Wanted::Value => Kind::Value,
            Wanted::WordClasses => Kind::TokenClasses(self.labels.len()),
        }
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn read(&self, source: &Path, split: Split) -> Result<Examples, InputError> {
        let mut read = Examples::default();
        if self.parts.is_empty() {
            let path = files::own(source, split)?;
            read.files.push(self.read_file(&path, None, split, 0, &mut read.examples)?);
            return Ok(read);
        }
        let parts: Vec<&Part> = self.parts.iter().filter(|part| part.split == split).collect();
        let Some(&first) = parts.first() else {
            return Err(InputError::missing(
                source,
                format!("{} has no {} set", self.name, split.name()),
                "it is a test set only: fine-tune `mnli`, whose classes are the same, and predict this one with that model",
            ));
        };
        if source.is_file() {
            let named = files::named(source, &parts);
            let mut report =
                self.read_file(source, Some(named.unwrap_or(first)), split, 0, &mut read.examples)?;
            if named.is_none() {
                report
                    .remarks
                    .push(format!("taken for {} examples, since its name does not say", first.group));
            }
            read.files.push(report);
            return Ok(read);
        }
        for part in parts {
            match files::official(source, self.folders, part) {
                Ok(paths) => {
                    let first = read.examples.len();
                    for path in paths {
                        let report = self.read_file(&path, Some(part), split, first, &mut read.examples)?;
                        read.files.push(report);
                    }
                }
                // What there is can be judged without the other group, but not silently.
                Err(missing) => match read.files.last_mut() {
                    Some(report) => {
                        report.remarks.push(format!("without the {} examples: {missing}", part.group))
                    }
                    None => return Err(missing),
                },
            }
        }
        Ok(read)
    }

    fn features(
        &self,
        examples: &[Example],
        first: usize,
        encoder: &mut Encoder<'_>,
        limits: &Limits,
        into: &mut Vec<Feature>,
    ) {
        for (number, example) in (first..).zip(examples) {
            match &example.input {
                Input::Texts { first, second } => {
                    let mut encode = |text: &str| {
                        let mut ids = Vec::new();
                        encoder.encode(text, &mut ids);
                        ids
                    };
                    // An empty second text makes a single-sequence input, as in the reference.
                    let (first, second) = (encode(first), second.as_deref().map(&mut encode));
                    let second = second.filter(|ids| !ids.is_empty());
                    let target = match example.target {
                        Some(Target::Class(class)) => Some(FeatureTarget::Class(class)),
                        Some(Target::Value(value)) => Some(FeatureTarget::Value(value)),
                        _ => None,
                    };
                    let whole = 2 + first.len() + second.as_ref().map_or(0, |ids| ids.len() + 1);
                    let sequence = Sequence::pair(first, second, limits.length);
                    let is_cut = sequence.len() < whole;
                    into.push(Feature { is_cut, ..Feature::of(number, sequence, target) });
                }
                Input::Words(words) => into.push(words::feature(number, words, example, encoder, limits)),
                _ => {}
            }
        }
    }

    fn score(&self, examples: &[Example], answers: &[Answer]) -> Figures {
        let known = |group: &str| -> Vec<(&Target, &Answer)> {
            (examples.iter().zip(answers))
                .filter(|(example, _)| example.group == group)
                .filter_map(|(example, answer)| Some((example.target.as_ref()?, answer)))
                .collect()
        };
        let mut groups: Vec<&'static str> = Vec::new();
        for example in examples.iter().filter(|example| example.target.is_some()) {
            if !groups.contains(&example.group) {
                groups.push(example.group);
            }
        }
        let mut figures = Figures::new();
        for &score in &self.scores {
            for &group in &groups {
                let name = match group {
                    "" => Cow::Borrowed(score.name()),
                    group => Cow::Owned(format!("{}_{group}", score.name())),
                };
                figures.push((name, score.of(self.wanted, &self.labels, &known(group))));
            }
        }
        figures
    }

    fn selection(&self) -> &str {
        &self.selection
    }

    fn write(
        &self,
        examples: &[Example],
        answers: &[Answer],
        split: Split,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, InputError> {
        let mut written = Vec::new();
        let mut groups: Vec<(&str, &str)> = (self.parts.iter())
            .filter(|part| part.split == split && !part.submission.is_empty())
            .map(|part| (part.group, part.submission))
            .collect();
        if groups.is_empty() {
            groups.push(("", "predictions"));
        }
        for (group, name) in groups {
            let mut rows =
                (examples.iter().zip(answers)).filter(|(example, _)| example.group == group).peekable();
            if rows.peek().is_none() {
                continue;
            }
            let path = folder
                .join(format!("{name}.{}", if self.wanted == Wanted::WordClasses { "jsonl" } else { "tsv" }));
            let content = match self.wanted {
                Wanted::WordClasses => {
                    rows.map(|(example, answer)| words::line(&self.labels, example, answer)).collect()
                }
                _ => rows.fold(String::from("index\tprediction\n"), |mut text, (example, answer)| {
                    text += &files::row(&example.id, &self.written(answer));
                    text
                }),
            };
            replace(&Disk, &path, content.as_bytes()).map_err(InputError::io("write", &path))?;
            written.push(path);
        }
        Ok(written)
    }
}
