//! Where sentences end in prose.
//!
//! A rule of thumb, not a parser. Three kinds of marks end sentences:
//!
//! - Those of scripts in which no space need follow (Unicode's Sentence_Terminal outside Latin): wherever they stand.
//! - `!`, `?`, `…` and the like: where white space follows, and after it nothing in lower case. `!` and `?` also between
//!   letters of scripts without spaces, whose texts often have them in place of their wide forms.
//! - The full stop: as these, but not after a title, an abbreviation or an initial, and after a small number (an ordinal in
//!   many languages) only if a word follows that sentences often begin with. Between letters of scripts without spaces it ends
//!   nothing: there it stands between the parts of a foreign name (约翰.史密斯) at least as often as in place of `。`.

use super::abbreviations::{ABBREVIATIONS, BEFORE_NUMBERS, BEGINNINGS, OFTEN_LAST, TERMINALS};
use super::scripts::is_unspaced_letter;

/// Marks that still belong to the sentence they follow.
const CLOSERS: [char; 20] = [
    '"', '\'', '”', '’', '“', '‘', '»', '«', '›', '‹', ')', ']', '}', '」', '』', '）', '】', '》', '〉', '*',
];
/// Marks before the first letter of a sentence.
const OPENERS: [char; 22] = [
    '"', '\'', '“', '‘', '„', '‚', '«', '»', '‹', '(', '[', '{', '「', '『', '（', '—', '–', '-', '¿', '¡',
    '*', '•',
];

/// What a mark says about the end of a sentence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Nothing.
    No,
    /// It may end one.
    Weak,
    /// It ends one.
    Strong,
}

fn mark(c: char) -> Mark {
    match c {
        '.' | '!' | '?' | '…' | '\u{2024}' | '\u{203C}' | '\u{203D}' | '\u{2047}'..='\u{2049}' => {
            Mark::Weak
        }
        c if c < '\u{0589}' => Mark::No,
        c => {
            let place = TERMINALS.partition_point(|&(_, last)| last < c);
            let inside = TERMINALS.get(place).is_some_and(|&(first, _)| first <= c);
            if inside { Mark::Strong } else { Mark::No }
        }
    }
}

/// Divides a paragraph into its sentences, without the white space around them.
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

/// Whether a piece of a vocabulary is only marks that end sentences.
pub(crate) fn is_sentence_end(piece: &str) -> bool {
    let marks = piece.trim_start_matches('\u{2581}');
    !marks.is_empty() && marks.chars().all(|c| mark(c) != Mark::No)
}

/// Where the first sentence of `text` ends, in bytes.
pub(super) fn first_end(text: &str) -> usize {
    let mut search = 0;
    while let Some(found) = text[search..].find(|c| mark(c) != Mark::No) {
        let start = search + found;
        let rest = &text[start..];
        let run = rest.find(|c| mark(c) == Mark::No && !CLOSERS.contains(&c)).unwrap_or(rest.len());
        // French sets a space before what closes a quotation.
        let spaced = rest[run..].trim_start_matches([' ', '\u{A0}', '\u{202F}']);
        let end =
            if spaced.starts_with('»') { text.len() - spaced.len() + '»'.len_utf8() } else { start + run };
        if ends_here(&text[..start], &text[start..end], &text[end..]) {
            return end;
        }
        search = end;
    }
    text.len()
}

/// Whether a sentence ends after `marks`.
fn ends_here(before: &str, marks: &str, after: &str) -> bool {
    if marks.chars().any(|c| mark(c) == Mark::Strong) {
        let between_digits = || {
            before.chars().next_back().is_some_and(char::is_numeric)
                && after.chars().next().is_some_and(char::is_numeric)
        };
        return !["．", "﹒"].contains(&marks) || !between_digits();
    }
    if !after.starts_with(char::is_whitespace) {
        return after.is_empty()
            || marks.starts_with(['!', '?'])
                && before.ends_with(is_unspaced_letter)
                && after.starts_with(is_unspaced_letter);
    }
    let next = after.trim_start_matches(|c: char| c.is_whitespace() || OPENERS.contains(&c));
    let first = next.chars().next();
    if first.is_some_and(char::is_lowercase) {
        return false;
    }
    if marks != "." {
        return true;
    }
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default().trim_start_matches(OPENERS);
    let lower = word.to_lowercase();
    let is_one_of = |words: &[&str]| words.binary_search(&lower.as_str()).is_ok();
    if is_one_of(&ABBREVIATIONS)
        || first.is_some_and(char::is_numeric) && is_one_of(&BEFORE_NUMBERS)
        || is_initial(word)
    {
        return false;
    }
    if is_small_number(word) || is_abbreviated(word) || is_one_of(&OFTEN_LAST) {
        let following = next.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        return first.is_none() || BEGINNINGS.binary_search(&following.to_lowercase().as_str()).is_ok();
    }
    true
}

/// One capital letter, as in a name; `I` is a word.
fn is_initial(word: &str) -> bool {
    let mut letters = word.chars();
    word != "I" && letters.next().is_some_and(char::is_uppercase) && letters.next().is_none()
}

/// One small letter, or single letters with full stops between them: `z`, `p.m`, `U.S`.
fn is_abbreviated(word: &str) -> bool {
    word != "I"
        && word.split('.').all(|part| part.chars().count() == 1 && part.chars().all(char::is_alphabetic))
}

/// A number that may be an ordinal: two digits at most, or Roman.
fn is_small_number(word: &str) -> bool {
    let is_roman = || word.len() > 1 && word.bytes().all(|byte| b"IVXLC".contains(&byte));
    (1..=2).contains(&word.chars().count()) && word.chars().all(char::is_numeric) || is_roman()
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
            "यह एक वाक्य है।|यह दूसरा है।",
            "یہ پہلا جملہ ہے۔|یہ دوسرا جملہ ہے۔",
            "هل جاء؟|نعم.|حسنا!",
            "Բարեւ։|Նա գնաց։",
            "ይህ ነው።|ያ ነው።",
            "ဤသည်မှာ ပထမ။|ဤသည်မှာ ဒုတိယ။",
            "Am 3. Oktober 1990 kam die Einheit.|Der 1. FC Köln gewann.|Das war z. B. Absicht, d. h. gewollt.",
            "Ludwig XIV. August sah es.|„Ja.“|Dann ging er um 8.|Er kam im 19. Jahrhundert.",
            "Vive en la Av. Colón.|La Sra. Díaz vino.|¿Vino?|¡Sí!",
            "« Oui. »|Il partit avec M. Dupont et Mme. Durand.|Puis rien.",
            "He was 42.|She was 40.|It was 1984.|War came.|Acme Inc. Chairman Jones left Acme Inc.|He slept.",
            "Он жил на ул. Ленина в 1990 г. Москва росла.|Там были И. И. Иванов и др.|Он ушёл.",
            "Il sig. Rossi e la dott. Bianchi.|Poi basta.",
            "At 5 p.m. Smith left.|At 6 p.m.|He came back.",
            "No end",
        ] {
            let expected: Vec<&str> = text.split('|').collect();
            assert_eq!(split(&expected.join(" ")), expected);
        }
        for text in [
            "今天天气很好。|我们去公园吧！|好吗？",
            "他说：“你好！”|我走了。",
            "今天很好．|气温是３．５度．",
            "你好嗎﹖|我很好﹒|再見﹗",
            "你好吗?|我们走!|他问:'真的?!'|我……不知道.net是什么",
            "约翰.史密斯走了.他没有回来!|好。",
            "ไปไหน?|ไปตลาด!",
            "នេះជាប្រយោគ។|នេះជាប្រយោគទីពីរ៕",
            "ہے۔|یہ۔",
            "यह है।|वह है॥",
        ] {
            let expected: Vec<&str> = text.split('|').collect();
            assert_eq!(split(&expected.concat()), expected);
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
