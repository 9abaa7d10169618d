//! Tasks about the built-in stories, whose world knows what is right: one for every head, with no file needed.
//!
//! | task | what is asked | head |
//! |---|---|---|
//! | `stories-mood` | is the feeling at the end good or bad? | classes |
//! | `stories-pair` | do two sentences speak of like feelings? | classes of pairs |
//! | `stories-similarity` | how alike are two beginnings, 0 to 5? | value |
//! | `stories-ending` | which of four sentences goes on with the story? | choice |
//! | `stories-people` | which words are names? | classes of words |
//! | `stories-name` | what is the hero's name? | span |
//! | `stories-question` | the name or the feeling, if the excerpt tells it | answerable span |
//!
//! An example is a pure function of the seed, the split and its number. What is learned from comes from the stories of the
//! training half of the corpus, what is measured with from the other half.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Columns, Level, Race, Table, Wanted};
use crate::draws::{Draws, Purpose};
use crate::finetuning::answers::Answer;
use crate::finetuning::features::{Feature, Limits};
use crate::finetuning::squad::{Squad, SquadHead, Version};
use crate::finetuning::task::{
    Example, Examples, Figures, FileReport, GoldAnswer, Input, Kind, Split, Target, Task,
};
use crate::stories::{self, Feeling, Hero, Tale, tale};
use crate::tables::InputError;
use crate::tokenizer::Encoder;

/// The names of the tasks about stories.
pub const STORIES: [&str; 7] = [
    "stories-mood",
    "stories-pair",
    "stories-similarity",
    "stories-ending",
    "stories-people",
    "stories-name",
    "stories-question",
];

/// How many examples a split has: to learn from, to choose by, to be judged by.
const EXAMPLES: [usize; 3] = [4000, 400, 400];

/// Stories that one example takes from, so that examples share none.
const STORIES_EACH: u64 = 64;

/// A task about stories: examples from the generator, judged as files of the same kind are.
pub struct Stories {
    name: &'static str,
    seed: u64,
    judge: Box<dyn Task>,
}

impl Stories {
    /// The task of one of the names of [`STORIES`].
    pub fn find(name: &str, seed: u64) -> Option<Self> {
        let name = STORIES.into_iter().find(|known| *known == name)?;
        let table = |wanted, labels: &[&str]| {
            let columns = Columns::from(["text", "", "label"]);
            let labels = labels.iter().map(|&label| label.to_owned()).collect();
            Box::new(Table::of(name, columns, wanted, labels)) as Box<dyn Task>
        };
        let judge: Box<dyn Task> = match name {
            "stories-mood" => table(Wanted::Classes, &["bad", "good"]),
            "stories-pair" => table(Wanted::Classes, &["different", "same"]),
            "stories-similarity" => table(Wanted::Value, &[]),
            "stories-people" => table(Wanted::WordClasses, &["O", "B-PER"]),
            "stories-ending" => Box::new(Race::new(Level::Both)),
            "stories-name" => Box::new(Squad::new(Version::One, SquadHead::Span)),
            _ => Box::new(Squad::new(Version::Two, SquadHead::Answerable)),
        };
        Some(Self { name, seed, judge })
    }

    /// Example number `number` of a split.
    fn example(&self, split: Split, number: u64) -> Example {
        let half = if split == Split::Train { stories::Split::Training } else { stories::Split::HeldOut };
        // The two held-out splits share no story either.
        let number_of_all = if split == Split::Test { number + EXAMPLES[1] as u64 } else { number };
        let tales = (0..STORIES_EACH).map(|at| tale(self.seed, half, number_of_all * STORIES_EACH + at));
        let purpose =
            if split == Split::Train { Purpose::TrainingQuestion } else { Purpose::HeldOutQuestion };
        let mut draws = Draws::of_story(self.seed, purpose, number_of_all);
        let (input, target) = match self.name {
            "stories-mood" => mood(tales),
            "stories-pair" => pair(tales, &mut draws),
            "stories-similarity" => similarity(tales),
            "stories-ending" => ending(tales, &mut draws),
            "stories-people" => people(tales),
            "stories-name" => name(tales),
            _ => question(tales, &mut draws),
        };
        Example { id: number.to_string(), group: "", input, target: Some(target) }
    }
}

/// The first feeling of the first of `tales` that names one of somebody with a name, where `wanted` likes it.
fn feeling(
    tales: &mut impl Iterator<Item = Tale>,
    wanted: impl Fn(&Hero, &Feeling) -> bool,
) -> (Tale, Hero, Feeling) {
    let mut last = None;
    for tale in tales {
        let found = tale.feelings.iter().find_map(|feeling| {
            let hero = tale.heroes.get(feeling.who?)?;
            Some((hero.clone(), feeling.clone()))
        });
        if let Some((hero, feeling)) = found {
            let is_wanted = wanted(&hero, &feeling);
            last = Some((tale, hero, feeling));
            if is_wanted {
                break;
            }
        }
    }
    last.expect("of many stories some speak of feelings, as a test makes sure")
}

/// Up to two sentences before the one with the feeling, and this.
fn around(tale: &Tale, feeling: &Feeling) -> String {
    tale.sentences[feeling.sentence.saturating_sub(2)..=feeling.sentence].join(" ")
}

fn texts(first: String, second: Option<String>) -> Input {
    Input::Texts { first, second }
}

fn mood(mut tales: impl Iterator<Item = Tale>) -> (Input, Target) {
    let (tale, _, found) = feeling(&mut tales, |_, _| true);
    (texts(around(&tale, &found), None), Target::Class(u32::from(found.is_good)))
}

fn pair(mut tales: impl Iterator<Item = Tale>, draws: &mut Draws) -> (Input, Target) {
    let (first, _, one) = feeling(&mut tales, |_, _| true);
    let same = draws.coin();
    let (second, _, other) = feeling(&mut tales, |_, feeling| (feeling.is_good == one.is_good) == same);
    let text = |tale: &Tale, feeling: &Feeling| tale.sentences[feeling.sentence].clone();
    let is_same = one.is_good == other.is_good;
    (texts(text(&first, &one), Some(text(&second, &other))), Target::Class(u32::from(is_same)))
}

/// 3 for like feelings, 2 for heroes that are both animals or both not.
fn similarity(mut tales: impl Iterator<Item = Tale>) -> (Input, Target) {
    let (first, hero, one) = feeling(&mut tales, |_, _| true);
    let (second, rival, other) = feeling(&mut tales, |_, _| true);
    let text = |tale: &Tale, hero: &Hero, feeling: &Feeling| {
        let introduction = tale.sentences.iter().find(|sentence| sentence.contains(hero.name));
        let place = introduction.filter(|sentence| **sentence != tale.sentences[feeling.sentence]);
        let sentences = place.into_iter().chain([&tale.sentences[feeling.sentence]]);
        sentences.map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    let value = f32::from(u8::from(one.is_good == other.is_good)) * 3.0
        + f32::from(u8::from(hero.is_animal == rival.is_animal)) * 2.0;
    (texts(text(&first, &hero, &one), Some(text(&second, &rival, &other))), Target::Value(value))
}

/// The first sentence that names the first hero, and another one that does.
fn beginning(tale: &Tale) -> Option<(&Hero, &String, &String)> {
    let hero = tale.heroes.first()?;
    let mut named = tale.sentences.iter().filter(|sentence| sentence.contains(hero.name));
    let (first, last) = (named.next()?, named.next_back()?);
    // Nobody else may be in the two sentences.
    let is_alone =
        tale.heroes[1..].iter().all(|other| !first.contains(other.name) && !last.contains(other.name));
    is_alone.then_some((hero, first, last))
}

/// The other endings are of heroes with other names, who are called *he* if this one is called *she*.
fn ending(mut tales: impl Iterator<Item = Tale>, draws: &mut Draws) -> (Input, Target) {
    let found = tales.find(|tale| beginning(tale).is_some());
    let found = found.expect("of many stories some name a hero twice, as a test makes sure");
    let (hero, first, last) = beginning(&found).expect("this was asked for");
    let right = draws.below(4);
    let mut options: Vec<String> = Vec::with_capacity(4);
    for tale in tales {
        if options.len() == 3 {
            break;
        }
        if let Some((other, _, sentence)) = beginning(&tale).filter(|(other, ..)| other.is_she != hero.is_she)
        {
            debug_assert_ne!(other.name, hero.name);
            options.push(sentence.clone());
        }
    }
    options.resize(3, String::new());
    options.insert(right, last.clone());
    (Input::Options { passage: first.as_str().into(), options }, Target::Class(right as u32))
}

fn people(mut tales: impl Iterator<Item = Tale>) -> (Input, Target) {
    let tale = tales.find(|tale| !tale.heroes.is_empty()).expect("as a test makes sure, some have names");
    let sentences = tale.sentences[..tale.sentences.len().min(3)].join(" ");
    let words: Vec<String> = sentences.split(' ').map(str::to_owned).collect();
    let bare =
        |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).trim_end_matches("'s").to_owned();
    let is_name = |word: &String| tale.heroes.iter().any(|hero| hero.name == bare(word));
    let classes = words.iter().map(|word| u32::from(is_name(word))).collect();
    (Input::Words(words), Target::Classes(classes))
}

/// A question about an excerpt, and its answer, or none.
fn asked(question: &str, passage: &str, answer: Option<&str>) -> (Input, Target) {
    let gold = answer.and_then(|answer| {
        let start = passage.find(answer)?;
        Some(GoldAnswer { text: answer.to_owned(), start: Some(start) })
    });
    let input = Input::Question { question: question.to_owned(), passage: Arc::from(passage) };
    (input, Target::Answers(gold.into_iter().collect()))
}

/// An excerpt with the words `called NAME`, and that name.
fn introduction(tale: &Tale) -> Option<(String, &'static str)> {
    let place = |hero: &Hero| {
        let words = format!("called {}", hero.name);
        tale.sentences.iter().position(|sentence| sentence.contains(&words))
    };
    let (hero, at) = tale.heroes.iter().find_map(|hero| Some((hero, place(hero)?)))?;
    let excerpt = tale.sentences[at.saturating_sub(1)..tale.sentences.len().min(at + 2)].join(" ");
    // The name must not stand before its introduction.
    let is_first =
        excerpt.find(hero.name)? == excerpt.find(&format!("called {}", hero.name))? + "called ".len();
    is_first.then_some((excerpt, hero.name))
}

const NAME: &str = "What is the name?";
const FEELING: &str = "How does it feel?";

fn name(mut tales: impl Iterator<Item = Tale>) -> (Input, Target) {
    let found = tales.find_map(|tale| introduction(&tale));
    let (excerpt, name) = found.expect("of many stories some introduce somebody, as a test makes sure");
    asked(NAME, &excerpt, Some(name))
}

fn question(mut tales: impl Iterator<Item = Tale>, draws: &mut Draws) -> (Input, Target) {
    let (about_name, tells_name) = (draws.coin(), draws.coin());
    let (excerpt, answer) = if tells_name {
        let found = tales.find_map(|tale| introduction(&tale).filter(|_| tale.feelings.is_empty()));
        found.expect("of many stories some introduce somebody and name no feeling, as a test makes sure")
    } else {
        let tale = tales.find(|tale| {
            tale.feelings.first().is_some_and(|feeling| !around(tale, feeling).contains("called "))
        });
        let tale = tale.expect("of many stories some name a feeling without a name, as a test makes sure");
        let feeling = tale.feelings[0].clone();
        (around(&tale, &feeling), feeling.word)
    };
    let is_told = about_name == tells_name;
    asked(if about_name { NAME } else { FEELING }, &excerpt, is_told.then_some(answer))
}

impl Task for Stories {
    fn name(&self) -> &str {
        self.name
    }

    fn kind(&self) -> Kind {
        self.judge.kind()
    }

    fn labels(&self) -> &[String] {
        self.judge.labels()
    }

    /// The generator is the source, whatever `source` says.
    fn read(&self, _source: &Path, split: Split) -> Result<Examples, InputError> {
        let rows = EXAMPLES[split as usize];
        let examples = (0..rows as u64).map(|number| self.example(split, number)).collect();
        let path = PathBuf::from(format!("built-in stories ({})", split.name()));
        Ok(Examples { examples, files: vec![FileReport { path, rows, official: None, remarks: Vec::new() }] })
    }

    fn features(
        &self,
        examples: &[Example],
        first: usize,
        encoder: &mut Encoder<'_>,
        limits: &Limits,
        into: &mut Vec<Feature>,
    ) {
        self.judge.features(examples, first, encoder, limits, into);
    }

    fn score(&self, examples: &[Example], answers: &[Answer]) -> Figures {
        self.judge.score(examples, answers)
    }

    fn selection(&self) -> &str {
        self.judge.selection()
    }

    fn write(
        &self,
        examples: &[Example],
        answers: &[Answer],
        split: Split,
        folder: &Path,
    ) -> Result<Vec<PathBuf>, InputError> {
        self.judge.write(examples, answers, split, folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetuning::baseline;

    #[test]
    fn every_task_has_sound_examples_and_a_weak_baseline() {
        for name in STORIES {
            let task = Stories::find(name, 1).unwrap();
            let sample =
                |split: Split| (0..150).map(|number| task.example(split, number)).collect::<Vec<_>>();
            let (training, held_out) = (sample(Split::Train), sample(Split::Dev));
            assert_eq!(training, sample(Split::Train), "{name} is a pure function");
            for example in training.iter().chain(&held_out) {
                match (&example.input, example.target.as_ref().unwrap()) {
                    (Input::Question { passage, .. }, Target::Answers(gold)) => {
                        for gold in gold {
                            assert!(
                                gold.start.is_some_and(|start| passage[start..].starts_with(&gold.text)),
                                "{example:?}"
                            );
                        }
                        assert!(name == "stories-question" || gold.len() == 1, "{example:?}");
                    }
                    (Input::Options { options, .. }, Target::Class(right)) => {
                        assert!(
                            options.len() == 4 && options.iter().all(|option| !option.is_empty()),
                            "{example:?}"
                        );
                        assert!(*right < 4);
                    }
                    (Input::Words(words), Target::Classes(classes)) => assert_eq!(words.len(), classes.len()),
                    (Input::Texts { first, second }, _) => {
                        assert!(!first.is_empty());
                        assert_eq!(second.is_some(), name != "stories-mood");
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
            let figures = baseline(&task, &training, &held_out);
            let (_, value) = figures.iter().find(|(figure, _)| figure == task.selection()).unwrap();
            let most = if name.ends_with("question") || name.ends_with("name") { 75.0 } else { 0.75 };
            assert!(*value <= most, "{name}: a constant answer scores {value}");
        }
    }
}
