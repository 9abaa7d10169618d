//! Where sentences end in prose.

/// Marks that end a sentence where white space and something that can begin one follow.
const ENDS: [char; 6] = ['.', '!', '?', '…', '؟', '।'];
/// Marks that end a sentence whatever follows: in these scripts no space separates sentences.
const FULL_WIDTH_ENDS: [char; 4] = ['。', '！', '？', '｡'];
/// Marks that still belong to the sentence they follow.
const CLOSERS: [char; 12] = ['"', '\'', '”', '’', '»', ')', ']', '}', '」', '』', '）', '*'];
/// Marks before the first letter of a sentence.
const OPENERS: [char; 14] = ['"', '\'', '“', '‘', '«', '(', '[', '{', '「', '『', '（', '—', '–', '*'];

/// Words that a full stop follows without ending the sentence.
const TITLES: [&str; 40] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "messrs", "mme", "mlle", "capt", "col", "gen", "lt", "sgt", "cpl",
    "maj", "adm", "rev", "hon", "gov", "sen", "rep", "pres", "mt", "ft", "vs", "cf", "viz", "approx", "ca",
    "jan", "feb", "aug", "sept", "oct", "nov", "dec", "eds", "al", "dept",
];
/// Words that a full stop follows without ending the sentence if a number comes next.
const BEFORE_NUMBERS: [&str; 12] =
    ["no", "nos", "fig", "figs", "vol", "vols", "p", "pp", "ch", "sec", "art", "eq"];

/// Divides a paragraph into its sentences, without the white space around them.
///
/// A rule of thumb, not a parser: a mark that ends sentences, and any closing quotes, must be followed by white space
/// and by something that is not in lower case; a full stop after a title, an initial or an abbreviation with inner full
/// stops ends nothing.
pub(crate) fn sentences(paragraph: &str) -> impl Iterator<Item = &str> {
    let mut rest = paragraph.trim();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (sentence, after) = rest.split_at(first_end(rest));
        rest = after.trim_start();
        Some(sentence)
    })
}

/// Where the first sentence of `text` ends, in bytes.
fn first_end(text: &str) -> usize {
    let mut search = 0;
    while let Some(found) = text[search..].find(|c| ENDS.contains(&c) || FULL_WIDTH_ENDS.contains(&c)) {
        let mark = search + found;
        let run = text[mark..]
            .find(|c| !ENDS.contains(&c) && !FULL_WIDTH_ENDS.contains(&c) && !CLOSERS.contains(&c))
            .unwrap_or(text.len() - mark);
        let end = mark + run;
        if text[mark..end].contains(FULL_WIDTH_ENDS)
            || ends_here(&text[..mark], &text[mark..end], &text[end..])
        {
            return end;
        }
        search = end;
    }
    text.len()
}

/// Whether a sentence ends after `marks`.
fn ends_here(before: &str, marks: &str, after: &str) -> bool {
    if !after.starts_with(char::is_whitespace) {
        return after.is_empty();
    }
    let next = after.trim_start_matches(|c: char| c.is_whitespace() || OPENERS.contains(&c)).chars().next();
    if next.is_some_and(char::is_lowercase) {
        return false;
    }
    if marks != "." {
        return true;
    }
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default().trim_start_matches(OPENERS);
    let is_one_of = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    let initial = word != "I" && word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    let inner_stops = word.contains('.') && word.split('.').all(|part| part.chars().count() == 1);
    let numbered = next.is_some_and(char::is_numeric) && is_one_of(&BEFORE_NUMBERS);
    !(initial || inner_stops || numbered || is_one_of(&TITLES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text).collect()
    }

    #[test]
    fn sentences_end_where_a_reader_would_say() {
        for text in [
            "It was late.|The lamp was out.",
            "\"Who is there?\"|Nobody answered.",
            "\"Who is there?\" he asked.|Nobody answered.",
            "He met Mr. Smith and Dr. Jones at St. Paul's.|They left.",
            "J. R. R. Tolkien wrote it.|So did I.|Then we slept.",
            "The U.S. Army came.|It left at 5.30 p.m. on Monday, i.e. too late.",
            "See No. 5 and fig. 3.|He said no.|Then he went.",
            "Wait...|What?!|(Yes.)|[Really.]|“So it is.”|‘Fine.’",
            "version 1.2.3 of example.com is out",
            "She left—at last.|1984 came.",
            "今天天气很好。|我们去公园吧！|好吗？",
            "यह एक वाक्य है।|यह दूसरा है।",
            "No end",
        ] {
            let expected: Vec<&str> = text.split('|').collect();
            let joined = if text.contains('。') { expected.concat() } else { expected.join(" ") };
            assert_eq!(split(&joined), expected);
        }
        assert_eq!(split("  One.\n\tTwo\nlines.  "), ["One.", "Two\nlines."]);
        assert!(split(" \n ").is_empty());
    }

    proptest! {
        /// Nothing but white space between sentences is lost, whatever the text.
        #[test]
        fn no_text_is_lost(text in "[a-zA-Z .!?…。\"')\n]{0,80}|\\PC{0,40}") {
            let without_space = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            let sentences = split(&text);
            prop_assert_eq!(without_space(&sentences.concat()), without_space(&text));
            prop_assert!(sentences.iter().all(|sentence| !sentence.trim().is_empty()));
        }
    }
}
