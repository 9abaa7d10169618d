//! The word lists: `words/*.txt`, parsed once.
//!
//! A list opens with `[name kind | adjective lists]` and goes on to the next header; its entries stand apart by
//! spaces, with `_` for the space inside one (`_` alone is no word at all). Frequent words come first. The kinds:
//!
//! | kind | entries are | example |
//! |---|---|---|
//! | `word` | anything that is only ever dropped into a sentence | `[colours word]` |
//! | `person` | nouns for people and creatures without a name | `[workers person \| traits]` |
//! | `creature` | nouns for creatures that get a name | `[animals creature \| traits]` |
//! | `thing` | countable nouns for things that can be held | `[toys thing \| colours looks]` |
//! | `place in` | nouns for places, with their preposition | `[wild place on \| scenery]` |
//!
//! A name may open several times (`[wild place in]`, `[wild place on]`): the lists are joined.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What the entries of a list can be cast as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Person,
    Creature,
    Thing,
    Place,
}

/// One word of a list.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) text: String,
    /// `in`, `at` or `on` for places, else empty.
    pub(super) preposition: &'static str,
}

/// A named list of words.
#[derive(Debug)]
pub(super) struct List {
    pub(super) kind: Kind,
    /// The lists that adjectives for these nouns come from.
    pub(super) adjectives: Vec<&'static str>,
    pub(super) entries: Vec<Entry>,
}

const FILES: [&str; 6] = [
    include_str!("words/people.txt"),
    include_str!("words/creatures.txt"),
    include_str!("words/things.txt"),
    include_str!("words/food.txt"),
    include_str!("words/places.txt"),
    include_str!("words/language.txt"),
];

static LISTS: LazyLock<BTreeMap<&'static str, List>> = LazyLock::new(|| {
    let mut lists = BTreeMap::new();
    FILES.into_iter().for_each(|file| parse(file, &mut lists));
    lists
});

/// The list called `name`.
pub(super) fn find(name: &str) -> Result<&'static List, String> {
    LISTS.get(name).ok_or_else(|| format!("no word list is called `{name}`"))
}

/// The list called `name`, which a plot or a header names and so must exist.
pub(super) fn list(name: &str) -> &'static List {
    find(name).unwrap_or_else(|fault| panic!("{fault}"))
}

fn parse(file: &'static str, lists: &mut BTreeMap<&'static str, List>) {
    let mut current: Option<(&'static str, &'static str)> = None;
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let (head, adjectives) = header.split_once('|').unwrap_or((header, ""));
            let mut head = head.split_whitespace();
            let (name, kind) = (head.next().unwrap_or(""), head.next().unwrap_or(""));
            let kind = match kind {
                "word" => Kind::Word,
                "person" => Kind::Person,
                "creature" => Kind::Creature,
                "thing" => Kind::Thing,
                "place" => Kind::Place,
                _ => panic!("`[{header}]`: `{kind}` is not a kind of list"),
            };
            let adjectives = adjectives.split_whitespace().collect();
            lists.entry(name).or_insert(List { kind, adjectives, entries: Vec::new() });
            current = Some((name, head.next().unwrap_or("")));
        } else if let Some((name, preposition)) = current
            && let Some(list) = lists.get_mut(name)
        {
            let texts = line.split_whitespace().map(|word| word.replace('_', " ").trim().to_owned());
            list.entries.extend(texts.map(|text| Entry { text, preposition }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_list_is_sound() {
        for (name, list) in LISTS.iter() {
            assert!(!list.entries.is_empty(), "[{name}] is empty");
            let distinct: BTreeSet<&str> = list.entries.iter().map(|entry| entry.text.as_str()).collect();
            for entry in &list.entries {
                let times = list.entries.iter().filter(|other| other.text == entry.text).count();
                assert_eq!(times, 1, "[{name}] has `{}` {times} times", entry.text);
                assert_eq!(list.kind == Kind::Place, !entry.preposition.is_empty(), "[{name}]");
            }
            assert_eq!(distinct.len(), list.entries.len());
            for adjectives in &list.adjectives {
                assert_eq!(super::list(adjectives).kind, Kind::Word, "[{name} | {adjectives}]");
            }
        }
    }
}
