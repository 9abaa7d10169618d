//! The built-in corpus: small English stories, made up as they are asked for.
//!
//! A story is a plot played by a drawn cast. The plots (`plots/*.txt`) are short scripts of what happens; a small
//! world checks that it can happen (who is where, who holds what, which door is shut), and a narrator puts it
//! into words (names and pronouns, `a kite` and then `the kite`). So a missing word can be told from its context,
//! and the order of two parts of a story from what they say: what a model is to learn in pre-training.
//!
//! [`story`] is a pure function; the corpus has 2^64 stories per seed and split, in any order, at no cost in
//! memory. The text is part of what a run can be compared by, so tests pin it.

mod cast;
mod grammar;
mod narrator;
mod script;
mod tale;
mod template;
#[cfg(test)]
mod tests;
mod words;
mod world;

pub use tale::{Feeling, Hero, Tale, tale};

use crate::draws::{Draws, Purpose};

/// The two disjoint halves of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Stories to learn from.
    Training,
    /// Stories to measure with.
    HeldOut,
}

/// The sentences of story number `index`: capitalised, each ending with `.`, `!` or `?`.
pub fn story(seed: u64, split: Split, index: u64) -> Vec<String> {
    let mut draws = draws(seed, split, index);
    let plot = draws.pick(script::plots());
    narrator::tell(plot, &mut draws).sentences
}

/// The random choices of a story. Splits have purposes of their own, so they share no stream.
fn draws(seed: u64, split: Split, index: u64) -> Draws {
    let purpose = match split {
        Split::Training => Purpose::TrainingStory,
        Split::HeldOut => Purpose::HeldOutStory,
    };
    Draws::of_story(seed, purpose, index)
}

/// The stories of a split from the first on, without end: take as many as you need.
pub fn documents(seed: u64, split: Split) -> impl Iterator<Item = Vec<String>> {
    (0..).map(move |index| story(seed, split, index))
}
