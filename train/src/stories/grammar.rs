//! English morphology, as far as the stories need it.

/// Plurals that follow no rule.
const PLURALS: &str = "\
    calf calves, child children, deer deer, echo echoes, elf elves, fish fish, foot feet, goose geese, \
    half halves, hero heroes, knife knives, leaf leaves, loaf loaves, man men, mango mangoes, \
    mouse mice, ox oxen, person people, potato potatoes, salmon salmon, scarf scarves, sheep sheep, \
    shelf shelves, thief thieves, tomato tomatoes, tooth teeth, trout trout, wife wives, wolf wolves, \
    woman women";

/// Past tenses that follow no rule.
const PASTS: &str = "\
    be was, bend bent, bite bit, blow blew, break broke, bring brought, build built, buy bought, \
    catch caught, come came, creep crept, cut cut, dig dug, do did, draw drew, drink drank, drive drove, \
    eat ate, fall fell, feed fed, feel felt, find found, fly flew, get got, give gave, go went, \
    grow grew, hang hung, have had, hear heard, hide hid, hold held, keep kept, know knew, leap leapt, \
    leave left, light lit, lose lost, make made, meet met, put put, read read, ride rode, ring rang, \
    run ran, say said, see saw, sew sewed, shake shook, shine shone, sing sang, sit sat, sleep slept, \
    slide slid, speak spoke, spin spun, stand stood, steal stole, sweep swept, swim swam, swing swung, \
    take took, teach taught, tell told, think thought, throw threw, wake woke, wear wore, weave wove, \
    win won, wind wound, write wrote";

/// Words that begin with a vowel letter but a consonant sound.
const CONSONANT_SOUNDS: &[&str] = &["uni", "use", "usual", "uku", "eu", "one", "once", "ewe"];

/// Words that begin with a silent `h`.
const SILENT_H: &[&str] = &["hour", "honest", "honour"];

fn is_vowel(letter: char) -> bool {
    matches!(letter.to_ascii_lowercase(), 'a' | 'e' | 'i' | 'o' | 'u')
}

/// The form that a table of `word form, word form` has for `word`.
fn irregular(table: &'static str, word: &str) -> Option<&'static str> {
    table
        .split(", ")
        .filter_map(|pair| pair.split_once(' '))
        .find(|(base, _)| *base == word)
        .map(|(_, form)| form)
}

/// The word without its last letter, where that is `y` after a consonant (`cherry`, `carry`).
fn before_consonant_y(word: &str) -> Option<&str> {
    let stem = word.strip_suffix('y')?;
    stem.chars().last().is_some_and(|c| !is_vowel(c)).then_some(stem)
}

/// Whether the last letter doubles before an ending: one syllable, consonant, vowel, consonant (`hop`, `trim`).
fn doubles(verb: &str) -> bool {
    let letters: Vec<char> = verb.chars().collect();
    let vowel_groups =
        letters.chunk_by(|a, b| is_vowel(*a) == is_vowel(*b)).filter(|g| is_vowel(g[0])).count();
    match letters[..] {
        [.., a, b, c] => {
            vowel_groups == 1 && !is_vowel(a) && is_vowel(b) && !is_vowel(c) && !matches!(c, 'w' | 'x' | 'y')
        }
        _ => false,
    }
}

/// Applies `inflect` to the verb of a verb phrase, its first word: `fly a kite` → `flew a kite`.
fn inflect_first(phrase: &str, inflect: impl Fn(&str) -> String) -> String {
    match phrase.split_once(' ') {
        Some((verb, rest)) => format!("{} {rest}", inflect(verb)),
        None => inflect(phrase),
    }
}

/// The plural of a noun; of a compound, that of its last word.
pub(super) fn plural(noun: &str) -> String {
    if let Some((first, last)) = noun.rsplit_once(' ') {
        return format!("{first} {}", plural(last));
    }
    if let Some(form) = irregular(PLURALS, noun) {
        form.to_owned()
    } else if ["s", "x", "z", "ch", "sh"].iter().any(|ending| noun.ends_with(ending)) {
        format!("{noun}es")
    } else if let Some(stem) = before_consonant_y(noun) {
        format!("{stem}ies")
    } else {
        format!("{noun}s")
    }
}

/// The past tense of a verb or verb phrase.
pub(super) fn past(phrase: &str) -> String {
    inflect_first(phrase, |verb| {
        if let Some(form) = irregular(PASTS, verb) {
            form.to_owned()
        } else if verb.ends_with('e') {
            format!("{verb}d")
        } else if let Some(stem) = before_consonant_y(verb) {
            format!("{stem}ied")
        } else {
            format!("{}ed", with_doubling(verb))
        }
    })
}

/// The -ing form of a verb or verb phrase.
pub(super) fn gerund(phrase: &str) -> String {
    inflect_first(phrase, |verb| match verb.strip_suffix('e') {
        Some(stem) if !verb.ends_with("ee") && verb != "be" => format!("{stem}ing"),
        _ => format!("{}ing", with_doubling(verb)),
    })
}

fn with_doubling(verb: &str) -> String {
    match verb.chars().last() {
        Some(last) if doubles(verb) => format!("{verb}{last}"),
        _ => verb.to_owned(),
    }
}

/// Whether `word` takes `an`.
pub(super) fn starts_with_vowel_sound(word: &str) -> bool {
    let word = word.trim_start_matches('"').to_ascii_lowercase();
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| word.starts_with(prefix));
    begins(SILENT_H) || (word.chars().next().is_some_and(is_vowel) && !begins(CONSONANT_SOUNDS))
}

/// Turns every indefinite article of `sentence` into the form the next word asks for.
pub(super) fn agree_articles(sentence: &str) -> String {
    let words: Vec<&str> = sentence.split(' ').collect();
    let agreed: Vec<&str> = words
        .iter()
        .enumerate()
        .map(|(i, &word)| match (word, words.get(i + 1)) {
            ("a", Some(next)) if starts_with_vowel_sound(next) => "an",
            ("A", Some(next)) if starts_with_vowel_sound(next) => "An",
            _ => word,
        })
        .collect();
    agreed.join(" ")
}

/// Capitalises the first letter of `sentence` and of whatever is quoted in it.
pub(super) fn capitalise(sentence: &str) -> String {
    let (mut capital_next, mut quoted) = (true, false);
    sentence
        .chars()
        .map(|letter| {
            if letter == '"' {
                quoted = !quoted;
                capital_next |= quoted;
            } else if capital_next && letter.is_alphabetic() {
                capital_next = false;
                return letter.to_ascii_uppercase();
            }
            letter
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals() {
        for (noun, expected) in [
            ("kite", "kites"),
            ("fox", "foxes"),
            ("cherry", "cherries"),
            ("toy", "toys"),
            ("brush", "brushes"),
            ("mouse", "mice"),
            ("apple tree", "apple trees"),
            ("polar wolf", "polar wolves"),
        ] {
            assert_eq!(plural(noun), expected);
        }
    }

    #[test]
    fn past_tenses() {
        for (verb, expected) in [
            ("walk", "walked"),
            ("carry", "carried"),
            ("play", "played"),
            ("hop", "hopped"),
            ("open", "opened"),
            ("bake", "baked"),
            ("fix", "fixed"),
            ("wait", "waited"),
            ("go", "went"),
            ("ride a horse", "rode a horse"),
        ] {
            assert_eq!(past(verb), expected);
        }
    }

    #[test]
    fn gerunds() {
        for (verb, expected) in [
            ("bake", "baking"),
            ("swim", "swimming"),
            ("see", "seeing"),
            ("fly a kite", "flying a kite"),
            ("sleep", "sleeping"),
        ] {
            assert_eq!(gerund(verb), expected);
        }
    }

    #[test]
    fn articles_agree_with_the_sound_that_follows() {
        assert_eq!(
            agree_articles("A owl had a egg, a hat, a uniform, a hour and a \"odd\" box."),
            "An owl had an egg, a hat, a uniform, an hour and an \"odd\" box."
        );
    }

    #[test]
    fn sentences_and_quotes_start_with_a_capital() {
        assert_eq!(capitalise("then \"come here,\" said Ann."), "Then \"Come here,\" said Ann.");
        assert_eq!(capitalise("\"is it you?\" she asked."), "\"Is it you?\" she asked.");
    }
}
