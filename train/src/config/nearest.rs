//! The known word that a misspelt one was probably meant to be.

use std::borrow::Cow;

/// No setting, preset or section has a longer name: what is longer is no misspelling, and is not repeated in full.
const LONGEST_NAME: usize = 64;

/// The candidate nearest to `word`, if it is near enough to be worth suggesting: at most a third of its letters wrong
/// (inserted, removed, replaced, or exchanged with their neighbour).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().nth(LONGEST_NAME).is_some() {
        return None; // comparing takes time in proportion to the length of both
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= candidate.chars().count().div_ceil(3))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// A name from outside as a message repeats it: whole, or its beginning.
pub(super) fn abridged(name: &str) -> Cow<'_, str> {
    beginning(name, LONGEST_NAME)
}

/// All of `text`, or its first `most` characters.
pub(super) fn beginning(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let known = ["seed", "steps", "save_every"];
        assert_eq!(nearest("step", known), Some("steps"));
        assert_eq!(nearest("setps", known), Some("steps"));
        assert_eq!(nearest("savevery", known), Some("save_every"));
        assert_eq!(nearest("dropout", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_name_without_end_is_neither_compared_nor_repeated() {
        let name = "é".repeat(1 << 20);
        assert_eq!(nearest(&name, ["seed", &name]), None);
        assert_eq!(abridged(&name), format!("{}… (2097152 bytes)", "é".repeat(LONGEST_NAME)));
        assert_eq!(abridged("seed"), "seed");
    }
}
