//! RACE: passages with questions, the best of several options each. Files of the same form with other numbers of options (DREAM's
//! three, two) are read as well; they lie in a folder for each split, or are one file for each.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::files;
use crate::files::{Disk, names, replace};
use crate::finetuning::answers::Answer;
use crate::finetuning::features::{Feature, FeatureTarget, Ids, Limits, Sequence};
use crate::finetuning::task::{Example, Examples, Figures, FileReport, Input, Kind, Split, Target, Task};
use crate::tables::{InputError, excerpt, reason, whole};
use crate::tokenizer::Encoder;

/// How hard the passages are: for pupils of middle or of high schools.
const LEVELS: [&str; 2] = ["middle", "high"];

/// Ends of the names of files of passages.
const ENDS: [&str; 3] = [".txt", ".json", ".jsonl"];

/// Which passages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Those of middle schools.
    Middle,
    /// Those of high schools.
    High,
    /// Both.
    #[default]
    Both,
}

/// RACE as a task.
#[derive(Clone, Debug)]
pub struct Race {
    level: Level,
    options: usize,
}

/// A passage as the files have it: one a file, or one a line.
#[derive(Debug, Deserialize)]
struct Passage {
    article: String,
    questions: Vec<String>,
    options: Vec<Vec<String>>,
    #[serde(default)]
    answers: Vec<String>,
    /// What it is called; in files that do not say so, after its file.
    #[serde(default)]
    id: String,
}

impl Race {
    /// RACE with the passages of a level, four options to each question.
    pub fn new(level: Level) -> Self {
        Self { level, options: 4 }
    }

    /// The same for questions with another number of options.
    pub fn with_options(self, options: usize) -> Self {
        Self { options, ..self }
    }

    fn levels(&self) -> &'static [&'static str] {
        match self.level {
            Level::Middle => &LEVELS[..1],
            Level::High => &LEVELS[1..],
            Level::Both => &LEVELS,
        }
    }

    /// How many questions the official split has, of one level.
    fn official(split: Split, level: &str) -> Option<usize> {
        Some(match (split, level) {
            (Split::Train, "middle") => 25_421,
            (Split::Train, "high") => 62_445,
            (Split::Dev, "middle") => 1436,
            (Split::Dev, "high") => 3451,
            (Split::Test, "middle") => 1436,
            (Split::Test, "high") => 3498,
            _ => return None,
        })
    }

    /// The examples of one file: a passage, or one in every line.
    fn read_file(
        &self,
        path: &Path,
        group: &'static str,
        split: Split,
        examples: &mut Vec<Example>,
    ) -> Result<(), InputError> {
        let text = whole(path)?;
        let (mut at, mut line, mut number, before) = (0, 1, 0, examples.len());
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut passages = serde_json::Deserializer::from_str(&text).into_iter::<Passage>();
        let text = text.as_bytes();
        loop {
            let rest = &text[at..];
            let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
            let begins = line + blank.filter(|&&byte| byte == b'\n').count() as u64;
            let Some(passage) = passages.next() else { break };
            let mut passage = passage.map_err(|error| {
                InputError::content(
                    path,
                    Some(error.line() as u64),
                    format!("no passage as RACE's are (column {}: {})", error.column(), reason(&error)),
                    "a passage is a JSON object with article, questions, options and answers; fetch the file again",
                )
            })?;
            let end = passages.byte_offset();
            line += text[at..end].iter().filter(|&&byte| byte == b'\n').count() as u64;
            at = end;
            number += 1;
            if passage.id.is_empty() {
                passage.id = if number == 1 { stem.to_string() } else { format!("{stem}.{number}") };
            }
            self.add(passage, path, begins, group, split, examples)?;
        }
        if examples.len() == before {
            return Err(InputError::content(
                path,
                None,
                "the file has no question",
                "fetch it again, or remove it",
            ));
        }
        Ok(())
    }

    /// Adds the questions of a passage.
    fn add(
        &self,
        passage: Passage,
        path: &Path,
        line: u64,
        group: &'static str,
        split: Split,
        examples: &mut Vec<Example>,
    ) -> Result<(), InputError> {
        let fault =
            |problem: String, advice: &str| Err(InputError::content(path, Some(line), problem, advice));
        let questions = passage.questions.len();
        if passage.options.len() != questions {
            let problem = format!("{questions} questions with {} lists of options", passage.options.len());
            return fault(problem, "every question needs its own list of options");
        }
        let is_unlabelled = split == Split::Test && passage.answers.is_empty();
        if passage.answers.len() != questions && !is_unlabelled {
            let problem = format!("{questions} questions with {} answers", passage.answers.len());
            return fault(problem, "every question needs one answer, a letter");
        }
        let name = passage.id;
        let article: Arc<str> = passage.article.into();
        for (number, (question, options)) in passage.questions.iter().zip(passage.options).enumerate() {
            if options.len() != self.options {
                let problem = format!(
                    "question {} of {name} has {} options, {} are expected",
                    number + 1,
                    options.len(),
                    self.options
                );
                return fault(
                    problem,
                    "all questions need the same number of options: --options says which, or mend this one",
                );
            }
            let target = match passage.answers.get(number).map(String::as_str) {
                None => None,
                Some(letter) => match letter.trim().to_ascii_uppercase().as_bytes() {
                    [letter] if usize::from(letter.wrapping_sub(b'A')) < self.options => {
                        Some(Target::Class(u32::from(letter - b'A')))
                    }
                    _ => {
                        let last = char::from(b'A' + self.options as u8 - 1);
                        let problem =
                            format!("question {} of {name}: unknown answer {}", number + 1, excerpt(letter));
                        return fault(problem, &format!("an answer is one letter, A to {last}"));
                    }
                },
            };
            let options = options.iter().map(|option| question_with(question, option)).collect();
            let input = Input::Options { passage: Arc::clone(&article), options };
            examples.push(Example { id: format!("{name}-{number}"), group, input, target });
        }
        Ok(())
    }
}

/// A question with one of its options: in place of its gaps, or behind it.
fn question_with(question: &str, option: &str) -> String {
    if question.contains('_') { question.replace('_', option) } else { format!("{question} {option}") }
}

/// The files of a folder: `all.txt` if it is there, else every `.txt`, in the order of the numbers that they are called by.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, InputError> {
    let all = folder.join("all.txt");
    if all.is_file() {
        return Ok(vec![all]);
    }
    let mut found: Vec<String> = (names(folder).map_err(InputError::io("list", folder))?.iter())
        .filter_map(|name| name.to_str())
        .filter(|name| ENDS.iter().any(|end| name.ends_with(end)) && !name.starts_with('.'))
        .map(str::to_owned)
        .collect();
    let number =
        |name: &str| name.split('.').next().and_then(|stem| stem.parse::<u64>().ok()).unwrap_or(u64::MAX);
    found.sort_by(|a, b| number(a).cmp(&number(b)).then(a.cmp(b)));
    Ok(found.into_iter().map(|name| folder.join(name)).collect())
}

impl Task for Race {
    fn name(&self) -> &str {
        "race"
    }

    fn kind(&self) -> Kind {
        Kind::Choice(self.options)
    }

    fn labels(&self) -> &[String] {
        &[]
    }

    fn read(&self, source: &Path, split: Split) -> Result<Examples, InputError> {
        let mut read = Examples::default();
        let folder = match source.join("RACE") {
            inner if inner.is_dir() => inner.join(split.name()),
            _ => source.join(split.name()),
        };
        let whole = files::own(source, split).ok().filter(|file| file.is_file() && !folder.is_dir());
        if let Some(path) = whole {
            self.read_file(&path, "", split, &mut read.examples)?;
            let rows = read.examples.len();
            read.files.push(FileReport { path, rows, official: None, remarks: Vec::new() });
            return Ok(read);
        }
        let mut places: Vec<(&'static str, PathBuf)> =
            self.levels().iter().map(|&level| (level, folder.join(level))).collect();
        // Files of the same form that are not RACE's tell no levels apart.
        if self.level == Level::Both && !places.iter().any(|(_, place)| place.is_dir()) {
            places = vec![("", folder.clone())];
        }
        let mut missing = Vec::new();
        for (level, place) in places {
            let files = if place.is_dir() { files_in(&place)? } else { Vec::new() };
            if files.is_empty() {
                missing.push(level);
                continue;
            }
            let before = read.examples.len();
            for file in &files {
                self.read_file(file, level, split, &mut read.examples)?;
            }
            let rows = read.examples.len() - before;
            let remarks = vec![format!("{} files", files.len())];
            read.files.push(FileReport {
                path: place,
                rows,
                official: Self::official(split, level),
                remarks,
            });
        }
        match (read.files.last_mut(), &missing[..]) {
            (None, _) => {
                return Err(InputError::missing(
                    &folder,
                    format!(
                        "the {} set is not there (no passages in {} of it)",
                        split.name(),
                        self.levels().join(" or ")
                    ),
                    "name the folder that holds train, dev and test, each with middle and high or with files of no level, or name a \
                     file itself",
                ));
            }
            (Some(report), [level, ..]) => report.remarks.push(format!("there are no {level} passages")),
            _ => {}
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
        let mut last: Option<(Arc<str>, Arc<[u32]>)> = None;
        for (number, example) in (first..).zip(examples) {
            let Input::Options { passage, options } = &example.input else { continue };
            let mut encode = |text: &str| {
                let mut ids = Vec::new();
                encoder.encode(text, &mut ids);
                ids
            };
            let ids = match last.take().filter(|(text, _)| Arc::ptr_eq(text, passage)) {
                Some((_, ids)) => ids,
                None => encode(passage).into(),
            };
            let mut is_cut = false;
            let sequences = (options.iter())
                .map(|option| {
                    let option = encode(option);
                    let longest = limits.option.min(limits.length.saturating_sub(3));
                    let kept = option.len().min(longest);
                    let room = limits.length.saturating_sub(kept + 3);
                    is_cut |= kept < option.len() || room < ids.len();
                    let passage = Ids::new(Arc::clone(&ids), 0..ids.len().min(room));
                    // The option stands at the end, so the beginning is what can be missed.
                    let option = Ids::from(option[option.len() - kept..].to_vec());
                    Sequence { first: passage, second: Some(option) }
                })
                .collect();
            let target = match example.target {
                Some(Target::Class(class)) => Some(FeatureTarget::Class(class)),
                _ => None,
            };
            into.push(Feature { example: number, sequences, rows: Vec::new(), window: None, target, is_cut });
            last = Some((Arc::clone(passage), ids));
        }
    }

    fn score(&self, examples: &[Example], answers: &[Answer]) -> Figures {
        let accuracy = |group: Option<&str>| {
            let known = (examples.iter().zip(answers))
                .filter(|(example, _)| group.is_none_or(|group| example.group == group))
                .filter_map(|(example, answer)| match example.target {
                    Some(Target::Class(right)) => Some(answer.class() == Some(right)),
                    _ => None,
                });
            let (right, total) =
                known.fold((0u64, 0u64), |(right, total), hit| (right + u64::from(hit), total + 1));
            (total > 0).then(|| right as f64 / total as f64)
        };
        let mut figures: Figures =
            accuracy(None).map(|figure| (Cow::Borrowed("accuracy"), figure)).into_iter().collect();
        for (level, name) in LEVELS.into_iter().zip(["accuracy_middle", "accuracy_high"]) {
            figures.extend(accuracy(Some(level)).map(|figure| (Cow::Borrowed(name), figure)));
        }
        figures
    }

    fn selection(&self) -> &str {
        "accuracy"
    }

    /// One file, `predictions.tsv`, with the letter of the best option of every question: RACE has no site to submit to.
    fn write(
        &self,
        examples: &[Example],
        answers: &[Answer],
        _split: Split,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, InputError> {
        let mut content = String::from("index\tprediction\n");
        for (example, answer) in examples.iter().zip(answers) {
            let letter = answer.class().map_or('?', |class| char::from(b'A' + class as u8));
            content += &files::row(&example.id, letter.encode_utf8(&mut [0; 1]));
        }
        let path = folder.join("predictions.tsv");
        replace(&Disk, &path, content.as_bytes()).map_err(InputError::io("write", &path))?;
        Ok(vec![path])
    }
}
