//! A story together with what it tells of: what questions about it are made from.

use super::cast::Gender;
use super::narrator;
use super::script::{self, Verb};
use super::words::{self, Kind};
use super::{Split, draws};

/// Lists of good feelings; the others are bad ones.
const GOOD: [&str; 3] = ["glad", "proud", "grateful"];

/// A story, and what it tells of.
#[derive(Clone, Debug)]
pub struct Tale {
    /// Its sentences.
    pub sentences: Vec<String>,
    /// Those of its people and animals that have a name, in the order of the plot.
    pub heroes: Vec<Hero>,
    /// The feelings that are named, in order.
    pub feelings: Vec<Feeling>,
}

/// Somebody who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hero {
    /// The name, one word.
    pub name: &'static str,
    /// Whether she is called *she*.
    pub is_she: bool,
    /// Whether it is an animal.
    pub is_animal: bool,
}

/// A feeling that the story names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feeling {
    /// The word, as it stands in the sentence.
    pub word: &'static str,
    /// Whether it is good to feel so.
    pub is_good: bool,
    /// The sentence with the word.
    pub sentence: usize,
    /// Who feels so: a place in [`Tale::heroes`], if it has a name.
    pub who: Option<usize>,
}

/// Story number `index`, which is the same as [`story`](super::story), and what it tells of.
pub fn tale(seed: u64, split: Split, index: u64) -> Tale {
    let mut draws = draws(seed, split, index);
    let plot = draws.pick(script::plots());
    let telling = narrator::tell(plot, &mut draws);
    let mut heroes = Vec::new();
    // The place of each role among the heroes.
    let places: Vec<Option<usize>> = (telling.portraits.iter())
        .map(|portrait| {
            let name = portrait.name?;
            let (is_she, is_animal) = (portrait.gender == Gender::She, portrait.kind == Kind::Creature);
            heroes.push(Hero { name, is_she, is_animal });
            Some(heroes.len() - 1)
        })
        .collect();
    let is_good = |word: &str| {
        GOOD.iter().any(|&list| words::list(list).entries.iter().any(|entry| entry.text == word))
    };
    let feelings = (telling.told.iter())
        .filter(|(told, _)| told.verb == Verb::Feel)
        .filter_map(|(told, sentences)| {
            // Not every phrasing has the word itself.
            let has_word = |&at: &usize| has_word(&telling.sentences[at], told.mood);
            let sentence = sentences.clone().find(has_word)?;
            let who = told.roles.first().and_then(|&role| places[role]);
            Some(Feeling { word: told.mood, is_good: is_good(told.mood), sentence, who })
        })
        .collect();
    Tale { sentences: telling.sentences, heroes, feelings }
}

/// Whether a word stands in a sentence, by itself.
fn has_word(sentence: &str, word: &str) -> bool {
    !word.is_empty()
        && sentence.match_indices(word).any(|(at, _)| {
            let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
            !is_letter(sentence[..at].chars().next_back())
                && !is_letter(sentence[at + word.len()..].chars().next())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tale_is_the_story_and_tells_the_truth_about_it() {
        let (mut good, mut bad, mut heroes) = (0, 0, 0);
        for index in 0..500 {
            let tale = tale(3, Split::Training, index);
            assert_eq!(tale.sentences, super::super::story(3, Split::Training, index));
            for feeling in &tale.feelings {
                assert!(
                    has_word(&tale.sentences[feeling.sentence], feeling.word),
                    "{feeling:?}: {:?}",
                    tale.sentences
                );
                *(if feeling.is_good { &mut good } else { &mut bad }) += 1;
            }
            let text = tale.sentences.join(" ");
            heroes += tale.heroes.iter().filter(|hero| text.contains(hero.name)).count();
        }
        assert!(good > 50 && bad > 50 && heroes > 400, "{good} good, {bad} bad, {heroes} heroes");
    }

    #[test]
    fn a_word_by_itself() {
        assert!(has_word("She was glad, at last.", "glad"));
        assert!(!has_word("She smiled gladly.", "glad"));
        assert!(!has_word("A light-hearted song.", "light"));
    }
}
