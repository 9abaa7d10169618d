//! Files of questions: articles, their paragraphs, the questions about each.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::finetuning::task::{Example, GoldAnswer, Input, Split, Target};
use crate::tables::{InputError, excerpt, reason, whole};

/// The whole of a file.
#[derive(Debug, Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Debug, Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Debug, Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Debug, Deserialize)]
struct Question {
    id: String,
    question: String,
    answers: Option<Vec<AnswerText>>,
    is_impossible: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct AnswerText {
    text: String,
    /// In characters (code points) of the paragraph.
    answer_start: i64,
}

/// The questions of a file.
#[derive(Debug)]
pub struct Questions {
    /// One for each, in order; questions about one paragraph share its text.
    pub examples: Vec<Example>,
    /// Whether the file says of each question if it has an answer, as version 2.0 does.
    pub is_version2: bool,
    /// What is odd about it, in words.
    pub remarks: Vec<String>,
    /// What to say where an answer to each question has to be told by its id, and two have the same.
    pub repeated: Option<InputError>,
}

impl Questions {
    /// As the official program of version 2.0 has it: where others have answers, a question without any has none, whether its file
    /// says so or not.
    pub fn take_missing_answers_for_none(&mut self) {
        let is_answered =
            |example: &Example| matches!(&example.target, Some(Target::Answers(gold)) if !gold.is_empty());
        if self.examples.iter().any(is_answered) {
            for example in &mut self.examples {
                example.target.get_or_insert_with(|| Target::Answers(Vec::new()));
            }
        }
    }
}

/// Reads a file of questions.
///
/// # Errors
/// If it is no such file, an answer that is to be learned from does not stand at its place, or a question of the training
/// set has neither an answer nor says that it has none.
pub fn read(path: &Path, split: Split) -> Result<Questions, InputError> {
    let (text, file): (String, File) = read_json(path, "a file of questions as SQuAD's are")?;
    let is_version2 = file
        .data
        .iter()
        .flat_map(|article| &article.paragraphs)
        .flat_map(|paragraph| &paragraph.qas)
        .any(|question| question.is_impossible.is_some());
    let (mut examples, mut displaced, mut contradictory) = (Vec::new(), 0, 0);
    let (mut ids, mut repeated) = (HashSet::new(), None);
    for paragraph in file.data.into_iter().flat_map(|article| article.paragraphs) {
        let passage: Arc<str> = paragraph.context.into();
        for question in paragraph.qas {
            let fault = |problem: String, advice: &str| {
                let problem = format!("question {}: {problem}", excerpt(&question.id));
                let place = usize::from(ids.contains(&question.id));
                InputError::content(path, Some(line_of(&text, &question.id, place)), problem, advice)
            };
            if ids.contains(&question.id) && repeated.is_none() {
                let advice = "predictions go by the ids: give each question one of its own";
                repeated = Some(fault("another question has this id".to_owned(), advice));
            }
            let mut answers = Vec::new();
            let given = question.answers.as_deref().unwrap_or_default();
            let is_impossible = question.is_impossible == Some(true);
            contradictory += usize::from(is_impossible && !given.is_empty());
            // What is learnt of such a question is that it has no answer; what it is judged by are its answers, as in the
            // official program.
            for answer in given.iter().filter(|_| !is_impossible || split != Split::Train) {
                if split == Split::Train && answers.is_empty() && answer.text.trim().is_empty() {
                    return Err(fault(
                        "the answer to learn is empty".to_owned(),
                        "a question that the context does not answer has no \"answers\", and \"is_impossible\": true (SQuAD 2.0)",
                    ));
                }
                let start = byte_of(&passage, answer.answer_start)
                    .filter(|&start| passage[start..].starts_with(&answer.text));
                // To score an answer its text is enough; to learn it, its place must be known.
                if start.is_none() && split == Split::Train && answers.is_empty() {
                    let at = answer.answer_start;
                    return Err(fault(
                        format!("the answer {} does not stand at character {at}", excerpt(&answer.text)),
                        "answer_start counts the characters of the context, not bytes, from 0: mend it, or leave the question out",
                    ));
                }
                displaced += usize::from(start.is_none());
                answers.push(GoldAnswer { text: answer.text.clone(), start });
            }
            let is_known = is_impossible || !answers.is_empty();
            if !is_known && split == Split::Train {
                return Err(fault(
                    "it has no answer to learn from".to_owned(),
                    "give it \"answers\", or \"is_impossible\": true (SQuAD 2.0) if the context does not answer it",
                ));
            }
            // Nothing is known about a question whose labels were taken out, as those of a test set may be in part.
            let is_labelled = question.is_impossible == Some(false) && split != Split::Test;
            let target = (is_known || is_labelled).then_some(Target::Answers(answers));
            ids.insert(question.id.clone());
            let input = Input::Question { question: question.question, passage: Arc::clone(&passage) };
            examples.push(Example { id: question.id, group: "", input, target });
        }
    }
    if examples.is_empty() {
        return Err(InputError::content(path, None, "the file has no question", "fetch or write it again"));
    }
    let mut remarks = Vec::new();
    if displaced > 0 {
        remarks.push(format!(
            "{displaced} answers do not stand at their answer_start; only their texts are used here"
        ));
    }
    if contradictory > 0 {
        let how = match split {
            Split::Train => "learnt as questions without one",
            Split::Dev | Split::Test => "judged by their answers, as the official program does",
        };
        remarks.push(format!(
            "{contradictory} questions have answers and are said to have none: they are {how}"
        ));
    }
    Ok(Questions { examples, is_version2, remarks, repeated })
}

/// The text of a JSON file, and what it says.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<(String, T), InputError> {
    let text = whole(path)?;
    let content = serde_json::from_str(&text).map_err(|error| {
        let advice = match error.is_eof() {
            true => "the file ends too early: fetch it again",
            false => "fetch the file again, or mend this place",
        };
        let problem = format!("not {what} (column {}: {})", error.column(), reason(&error));
        InputError::content(path, Some(error.line() as u64), problem, advice)
    })?;
    Ok((text, content))
}

/// The byte at which a character of a text begins; its end counts as the place of one more.
fn byte_of(text: &str, character: i64) -> Option<usize> {
    let character = usize::try_from(character).ok()?;
    if text.is_ascii() {
        return (character <= text.len()).then_some(character);
    }
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(character)
}

/// The line at which a question's name stands, for the first time or for that which `place` counts from it.
fn line_of(text: &str, id: &str, place: usize) -> u64 {
    let before = text.match_indices(&format!("\"{id}\"")).nth(place).map_or("", |(at, _)| &text[..at]);
    before.bytes().filter(|&byte| byte == b'\n').count() as u64 + 1
}
