//! What a task is learnt from and measured on: its settings to examples and features.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use model::{AlbertConfig, Fresh, Origin, config_in, weights_in};

use super::answering::head;
use super::error::TaskError;
use super::features::{self, Feature, Limits, expect_segments};
use super::objective::Examined;
use super::squad::{Recovery, Squad, SquadHead, Version};
use super::task::{Example, Input, Split, Task};
use super::tasks::{Columns, Level, Race, STORIES, Table, Wanted};
use crate::config::{AnswerHead, Finetune, RaceLevel, TableKind, TaskSettings};
use crate::hub::is_of_hub;
use crate::run::directory::{model_in, tokenizer_of};
use crate::tables::excerpt;
use crate::tokenizer::{LoadOptions, Tokenizer};
use crate::training::SessionError;
use crate::visible::shown;

/// What a fine-tuning run learns from, and the model that it begins with.
pub struct TaskData {
    /// What is learnt.
    pub task: Arc<dyn Task>,
    /// What it is learnt from, and what it is measured on.
    pub splits: [Arc<Examined>; 2],
    /// Text to ids.
    pub tokenizer: Arc<Tokenizer>,
    /// What the pre-trained model is called: the end of its path, or its name on the Hub.
    pub model: String,
    /// Where its files are.
    pub origin: Origin,
    /// What it computes.
    pub config: AlbertConfig,
    /// A hash of its weights.
    pub weights: String,
    /// What was read, in words.
    pub reports: Vec<String>,
}

impl TaskData {
    /// Reads and encodes what `settings` name, and looks at the model.
    ///
    /// # Errors
    /// If files are not as they should be, there is nothing to learn, or data, tokenizer and model do not belong together.
    pub(super) fn read(settings: &Finetune, say: &dyn Fn(&str)) -> Result<Self, SessionError> {
        let given = settings.start.model.as_deref().ok_or(TaskError::NoModel)?;
        let model = model_in(given)?;
        let origin = Origin::of(&model)?;
        let no_files = STORIES.contains(&settings.task.task.as_str()).then_some(Path::new(""));
        let [training, held_out] = settings.task.sources().map(|source| source.or(no_files));
        let sources = [training.ok_or(TaskError::NoData)?, held_out.ok_or(TaskError::NoData)?];
        let tokenizer = match &settings.start.tokenizer {
            Some(path) => Tokenizer::load(&tokenizer_of(path)?, &LoadOptions::default())?,
            None => Tokenizer::load(origin.folder(), &LoadOptions::default())?,
        };
        let tokenizer = Arc::new(tokenizer);
        let task = the_task(settings, None)?;
        // Before the data, which take their time.
        let fresh = Fresh::Head { seed: settings.training.seed, allowed: &settings.start.allow_missing };
        model::expect_head(origin.path(), &head(task.kind(), 0.0), fresh)?;
        let mut limits = Limits::new(settings.sequences.max_seq_length.unwrap_or(512));
        limits.question = settings.sequences.max_question_length.unwrap_or(limits.question);
        limits.option = settings.sequences.max_question_length.unwrap_or(limits.option);
        limits.stride = settings.sequences.doc_stride.unwrap_or(limits.stride);
        let most = [settings.task.train_examples, settings.task.eval_examples];
        let mut reports = Vec::new();
        let mut splits = Vec::new();
        let mut learnt = HashSet::new();
        let is_one_file = settings.task.is_one_file();
        for (index, split) in [Split::Train, Split::Dev].into_iter().enumerate() {
            let mut tell = |report: String| {
                say(&report);
                reports.push(report);
            };
            let examples = match is_one_file {
                true => part_of_file(&*task, sources[index], split, &mut tell)?,
                false => examples_in(&*task, sources[index], split, &mut tell)?,
            };
            let mut examined = examine(&*task, examples, split, most[index], &tokenizer, &limits, &mut tell);
            if split == Split::Train {
                inexact(&examined).for_each(&mut tell);
                learnt.extend(examined.examples.iter().filter_map(passage).cloned());
                // The features hold it as token ids; what is right is asked again, to know what a constant answer scores.
                examined.examples.iter_mut().for_each(|example| example.input = Input::Words(Vec::new()));
            } else {
                shared_passages(&learnt, &examined.examples).into_iter().for_each(&mut tell);
            }
            splits.push(Arc::new(examined));
        }
        let splits = <[Arc<Examined>; 2]>::try_from(splits).expect("two splits");
        for (split, examined) in ["train", "dev"].iter().zip(&splits) {
            let has_target = |feature: &Feature| feature.target.is_some();
            let can_be_learnt = examined.features.iter().all(has_target);
            let can_be_measured = examined.examples.iter().any(|example| example.target.is_some());
            if examined.features.is_empty() || *split == "train" && !can_be_learnt || !can_be_measured {
                let source_path = sources[usize::from(*split == "dev")].to_path_buf();
                return Err(TaskError::NothingToLearn { split, source_path }.into());
            }
        }
        let (config, weights) = (config_in(origin.path())?, weights_in(origin.path())?);
        splits.iter().try_for_each(|split| expect_segments(&config, &split.features))?;
        Ok(Self { task, splits, tokenizer, model: called(given), origin, config, weights, reports })
    }
}

/// What the model is called that was given as `model`: as it is on the Hub, or as its folder or run is.
fn called(model: &Path) -> String {
    let name = if is_of_hub(model) { Some(model.as_os_str()) } else { model.file_name() };
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The task that settings name; `labels` are those that a model has already.
///
/// # Errors
/// If there is none of this name, or the table that it is of cannot be read.
pub fn the_task(settings: &Finetune, labels: Option<Vec<String>>) -> Result<Arc<dyn Task>, SessionError> {
    let of = &settings.task;
    Ok(match of.task.as_str() {
        "table" => {
            let source = of.sources()[0].ok_or(TaskError::NoData)?;
            let columns = columns(of);
            let wanted = match of.kind {
                TableKind::Class => Wanted::Classes,
                TableKind::Value => Wanted::Value,
                TableKind::Tags => Wanted::WordClasses,
            };
            Arc::new(Table::own(columns, wanted, labels, source)?)
        }
        "squad-2.0" => {
            let head = match of.head {
                AnswerHead::Answerable => SquadHead::Answerable,
                AnswerHead::Span => SquadHead::Span,
            };
            let squad = Squad::new(Version::Two, head);
            Arc::new(match of.null_threshold {
                Some(threshold) => squad.with_threshold(threshold),
                None => squad,
            })
        }
        "race" => {
            let level = match of.level {
                RaceLevel::Middle => Level::Middle,
                RaceLevel::High => Level::High,
                RaceLevel::Both => Level::Both,
            };
            Arc::new(Race::new(level).with_options(of.options))
        }
        name => super::tasks::task(name)?.into(),
    })
}

/// The columns of a table of one's own.
fn columns(of: &TaskSettings) -> Columns {
    Columns { first: of.text.clone(), second: of.pair.clone(), label: of.label.clone() }
}

/// Names for the classes of a model that gives them none, and calls them `nameless`: those in the table that it is measured on,
/// or in the training set beside it where that table lacks some, in the order in which they would be learnt.
///
/// # Errors
/// If the table cannot be read, or has not as many classes.
pub fn classes_in_table(
    of: &TaskSettings,
    source: &Path,
    split: Split,
    nameless: &[String],
) -> Result<Vec<String>, SessionError> {
    Ok(Table::names_of_classes(&columns(of), source, split, nameless)?)
}

/// Reads and encodes a split, at most the first `most` examples.
///
/// # Errors
/// If the files are not as they should be.
pub fn read_split(
    task: &dyn Task,
    source: &Path,
    split: Split,
    most: Option<usize>,
    tokenizer: &Tokenizer,
    limits: &Limits,
    say: &mut dyn FnMut(String),
) -> Result<Examined, SessionError> {
    let examples = examples_in(task, source, split, say)?;
    Ok(examine(task, examples, split, most, tokenizer, limits, say))
}

fn examples_in(
    task: &dyn Task,
    source: &Path,
    split: Split,
    say: &mut dyn FnMut(String),
) -> Result<Vec<Example>, SessionError> {
    let read = task.read(source, split)?;
    read.files.iter().for_each(|file| say(format!("{}: {file}", split.name())));
    Ok(read.examples)
}

/// What to say where several examples have one id, by which predictions are told apart.
fn repeated_ids(examples: &[Example]) -> Option<String> {
    let mut seen = HashSet::new();
    let mut repeated = examples.iter().filter(|example| !seen.insert((example.group, example.id.as_str())));
    let first = repeated.next()?;
    let others = repeated.count();
    Some(format!(
        "{} of {} examples have the id of an earlier one, such as {}: prediction files do not tell them apart",
        others + 1,
        examples.len(),
        excerpt(&first.id)
    ))
}

/// What to say where examples do not fit, and are cut as the reference cuts them.
fn cut(examined: &Examined, limits: &Limits) -> Option<String> {
    let mut cut: Vec<usize> =
        examined.features.iter().filter(|feature| feature.is_cut).map(|feature| feature.example).collect();
    cut.dedup();
    (!cut.is_empty()).then(|| {
        format!(
            "{} of {} examples are cut: they do not fit whole into sequences of {} tokens, or their questions are too long",
            cut.len(),
            examined.examples.len(),
            limits.length
        )
    })
}

/// What to say where questions that are measured are about passages that are `learnt` from with other questions.
fn shared_passages(learnt: &HashSet<Arc<str>>, held_out: &[Example]) -> Option<String> {
    let shared = held_out.iter().filter_map(passage).filter(|passage| learnt.contains(*passage)).count();
    (shared > 0).then(|| {
        format!(
            "warning: dev: the passages of {shared} of {} questions are in the training set too: answers about passages that are \
             not will be worse; --dev names a file with others",
            held_out.len()
        )
    })
}

/// What a question is about.
fn passage(example: &Example) -> Option<&Arc<str>> {
    match &example.input {
        Input::Question { passage, .. } | Input::Options { passage, .. } => Some(passage),
        Input::Texts { .. } | Input::Words(_) => None,
    }
}

/// What to say where something else is learnt than the answers: windows are too short, or too far apart, to hold them, or pieces are
/// longer than they are.
fn inexact(training: &Examined) -> impl Iterator<Item = String> {
    let Recovery { nowhere, wider, .. } = Recovery::of(&training.examples, &training.features);
    let nowhere = nowhere.first().map(|first| {
        format!(
            "warning: train: no window holds the whole answer of {} questions, such as {}: they are learnt as if they had none; a \
             smaller --doc-stride or a larger --max-seq-length helps",
            nowhere.len(),
            excerpt(first)
        )
    });
    let wider = wider.first().map(|first| {
        format!(
            "train: {} answers begin or end within a piece, such as that of {}: they are learnt with the rest of the piece",
            wider.len(),
            excerpt(first)
        )
    });
    nowhere.into_iter().chain(wider)
}

/// Of data that are one file, one example in so many is held out.
const HELD_OUT_EVERY: usize = 10;

/// A split of data that are one file: every tenth example is measured on, the others are learnt from.
fn part_of_file(
    task: &dyn Task,
    file: &Path,
    split: Split,
    say: &mut dyn FnMut(String),
) -> Result<Vec<Example>, SessionError> {
    let read = task.read(file, split)?;
    if split == Split::Train {
        read.files.iter().for_each(|file| say(file.to_string()));
    }
    let all = read.examples;
    if all.len() < HELD_OUT_EVERY {
        return Err(TaskError::TooFewToDivide { file: file.to_path_buf(), examples: all.len() }.into());
    }
    let is_held_out = |index: usize| index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1;
    let of_split = |index: usize| is_held_out(index) == (split == Split::Dev);
    let examples: Vec<Example> = all
        .into_iter()
        .enumerate()
        .filter_map(|(index, example)| of_split(index).then_some(example))
        .collect();
    say(format!(
        "{}: {} examples of {}, of which one in {HELD_OUT_EVERY} is held out",
        split.name(),
        examples.len(),
        shown(file)
    ));
    Ok(examples)
}

/// Encodes the first `most` examples of a split, and says what is odd about them.
fn examine(
    task: &dyn Task,
    mut examples: Vec<Example>,
    split: Split,
    most: Option<usize>,
    tokenizer: &Tokenizer,
    limits: &Limits,
    say: &mut dyn FnMut(String),
) -> Examined {
    keep_first(&mut examples, most);
    if split != Split::Train
        && let Some(words) = repeated_ids(&examples)
    {
        say(format!("warning: {}: {words}", split.name()));
    }
    let features = features::build(task, &examples, tokenizer, limits, &|| false).expect("nobody stops it");
    let examined = Examined { examples, features };
    if let Some(words) = cut(&examined, limits) {
        say(format!("{}: {words}", split.name()));
    }
    examined
}

/// Keeps the first `most` examples, where there are several groups the same number of each; all where nobody said how many.
fn keep_first(examples: &mut Vec<Example>, most: Option<usize>) {
    let Some(most) = most else { return };
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for example in &*examples {
        if !groups.iter().any(|(group, _)| *group == example.group) {
            groups.push((example.group, 0));
        }
    }
    let of_each = most.div_ceil(groups.len().max(1));
    examples.retain(|example| {
        let group = groups.iter_mut().find(|(group, _)| *group == example.group).expect("seen above");
        group.1 += 1;
        group.1 <= of_each
    });
}
