//! The words of a text with their counts, as vocabularies are learnt from.

use super::substrings::MAX_CHARS;
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ops::Range;
use unicode_normalization::char::is_combining_mark;
use unicode_script::{Script, UnicodeScript};

use super::normalizer::SPACE;

/// A longer sentence is looked at in stretches of about so many bytes.
const STRETCH: usize = 4096;

/// Bytes that a sentence takes beside its own.
const PER_SENTENCE: usize = 64;

/// Reservoir sampling of a text: every sentence is as likely to be kept as any other.
pub(super) struct Sample {
    /// What is kept, by the numbers drawn; the greatest goes first.
    kept: BinaryHeap<(u64, u64, Box<str>)>,
    seed: u64,
    seen: u64,
    bytes: usize,
    max_sentences: usize,
    max_bytes: usize,
}

impl Sample {
    pub fn new(seed: u64, max_sentences: usize, max_bytes: usize) -> Self {
        Self { kept: BinaryHeap::new(), seed, seen: 0, bytes: 0, max_sentences, max_bytes }
    }

    pub fn add(&mut self, sentence: &str) {
        let mut rest = sentence;
        while !rest.is_empty() {
            let (stretch, after) = rest.split_at(stretch(rest));
            rest = after;
            let draw = mix(self.seed ^ mix(self.seen));
            self.bytes += stretch.len() + PER_SENTENCE;
            self.kept.push((draw, self.seen, stretch.into()));
            self.seen += 1;
            while self.kept.len() > self.max_sentences || self.bytes > self.max_bytes {
                let Some((.., dropped)) = self.kept.pop() else { return };
                self.bytes -= dropped.len() + PER_SENTENCE;
            }
        }
    }

    /// What was kept, in random order, and how much there was.
    pub fn finish(self) -> (Vec<Box<str>>, u64) {
        let sentences = self.kept.into_sorted_vec();
        (sentences.into_iter().map(|(.., sentence)| sentence).collect(), self.seen)
    }
}

/// How much of a text makes a stretch: to the last space of it, or where there is none to a character that is no mark.
fn stretch(text: &str) -> usize {
    if text.len() <= STRETCH {
        return text.len();
    }
    let longest = text.floor_char_boundary(STRETCH);
    let space = text[..longest].rfind(char::is_whitespace).filter(|&place| place > 0);
    let whole =
        || text[..longest].char_indices().rev().find(|&(place, c)| place > 0 && !is_combining_mark(c));
    space.or_else(|| whole().map(|(place, _)| place)).unwrap_or(longest)
}

/// SplitMix64's output function: a good hash of one number.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

pub(super) type Counts = HashMap<String, u64>;

/// Counts the words of sentences until the different ones have `max_chars` characters; gives how many sentences that
/// took. `visit` calls its second argument with each word of a sentence.
pub(super) fn count(
    sentences: &[Box<str>],
    max_chars: usize,
    visit: impl Fn(&str, &mut dyn FnMut(&str)) + Sync,
) -> (Counts, usize) {
    /// Sentences after which the size is looked at, if not before; and in how many parts they are counted.
    const BLOCK: usize = 8192;
    const PARTS: usize = 8;
    // Text without spaces may be new words throughout: little of it is taken at a time.
    let most_bytes = max_chars / PARTS;
    let (mut counts, mut chars, mut done) = (Counts::new(), 0, 0);
    while done < sentences.len() {
        let mut bytes = 0;
        let fitting = sentences[done..].iter().take(BLOCK).take_while(|sentence| {
            bytes += sentence.len();
            bytes <= most_bytes
        });
        let length = fitting.count().max(1);
        let block = &sentences[done..done + length];
        let parts = block.par_chunks(BLOCK / PARTS).map(|sentences| {
            let mut counts = Counts::new();
            for sentence in sentences {
                visit(sentence, &mut |word| {
                    for range in runs(word) {
                        match counts.get_mut(&word[range.clone()]) {
                            Some(count) => *count += 1,
                            None => drop(counts.insert(word[range].to_owned(), 1)),
                        }
                    }
                });
            }
            counts
        });
        for (word, count) in parts.collect::<Vec<_>>().into_iter().flatten() {
            match counts.get_mut(&word) {
                Some(sum) => *sum += count,
                None => {
                    chars += word.chars().count() + 1;
                    counts.insert(word, count);
                }
            }
        }
        done += block.len();
        if chars > max_chars {
            break;
        }
    }
    (counts, done)
}

/// What a character is, where words are split: letters by their script, digits, others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter(Script),
    Digit,
    Other,
}

impl Class {
    fn of(c: char) -> Self {
        if c.is_alphabetic() {
            // Japanese writes three together.
            Self::Letter(match c.script() {
                Script::Hiragana | Script::Katakana => Script::Han,
                _ if c == 'ー' => Script::Han,
                script => script,
            })
        } else if c.is_numeric() {
            Self::Digit
        } else {
            Self::Other
        }
    }
}

/// Splits a word between letters of different scripts, digits and other characters. A leading `▁` stays with what
/// follows it; a mark, whatever its class, and a joiner stay with what stands before them.
fn runs(word: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    let mut current = None;
    let mut ends = word.char_indices().filter_map(move |(i, c)| {
        if c == SPACE || is_combining_mark(c) || matches!(c, '\u{200C}' | '\u{200D}') {
            return None;
        }
        let class = Class::of(c);
        let common = |class| matches!(class, Class::Letter(Script::Common | Script::Inherited));
        let border = current.is_some_and(|current| {
            current != class
                && !(matches!((current, class), (Class::Letter(_), Class::Letter(_)))
                    && (common(current) || common(class)))
        });
        current = Some(class);
        border.then_some(i)
    });
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let end = ends.next().unwrap_or_else(|| {
            done = true;
            word.len()
        });
        Some(std::mem::replace(&mut start, end)..end)
    })
}

/// Takes out the rarest characters, as many as make up no more than 1 − `coverage` of the text. In order, so that all that
/// follows is determined.
pub(super) fn cover(counts: Counts, coverage: f64) -> Vec<(String, u64)> {
    let mut characters: HashMap<char, u64> = HashMap::new();
    for (word, count) in &counts {
        for c in word.chars() {
            *characters.entry(c).or_default() += count;
        }
    }
    let total: u64 = characters.values().sum();
    let mut by_count: Vec<_> = characters.into_iter().collect();
    by_count.sort_unstable_by_key(|&(c, count)| (Reverse(count), c));
    let mut covered = 0;
    let kept = by_count.into_iter().take_while(|(_, count)| {
        let more = (covered as f64) < coverage * total as f64;
        covered += count;
        more
    });
    let kept: HashSet<char> = kept.map(|(c, _)| c).collect();

    let mut parts = Counts::new();
    for (word, count) in counts {
        for part in word.split(|c| !kept.contains(&c)).filter(|part| !part.is_empty()) {
            match parts.get_mut(part) {
                Some(sum) => *sum += count,
                None => drop(parts.insert(part.to_owned(), count)),
            }
        }
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.par_sort_unstable_by(|a, b| a.0.cmp(&b.0));
    parts
}

/// Words as numbers, one after the other.
pub(super) struct Words {
    /// The characters in order of their code; that of code n is at n − 1.
    pub alphabet: Vec<char>,
    /// The words' codes, a 0 after each.
    pub text: Vec<u16>,
    /// How often each word occurs.
    pub counts: Vec<u64>,
    /// Where each begins.
    pub starts: Vec<u32>,
}

impl Words {
    /// There are fewer than 2¹⁶ − 1 different characters in all words, and no word is empty.
    pub fn new(words: &[(String, u64)]) -> Self {
        let mut alphabet: Vec<char> =
            words.iter().flat_map(|(word, _)| word.chars()).collect::<HashSet<_>>().into_iter().collect();
        alphabet.sort_unstable();
        let codes: HashMap<char, u16> = alphabet.iter().copied().zip(1..).collect();
        let mut text = Vec::new();
        let mut starts = Vec::with_capacity(words.len());
        for (word, _) in words {
            starts.push(text.len() as u32);
            text.extend(word.chars().map(|c| codes[&c]));
            text.push(0);
        }
        Self { alphabet, text, counts: words.iter().map(|(_, count)| *count).collect(), starts }
    }

    /// The places of a word.
    pub fn range(&self, word: usize) -> Range<usize> {
        let end = self.starts.get(word + 1).map_or(self.text.len(), |&start| start as usize);
        self.starts[word] as usize..end - 1
    }

    /// What begins at a place: to the end of its word, and no more than a piece can have.
    pub fn at(&self, place: u32) -> &[u16] {
        let place = place as usize;
        let longest = &self.text[place..self.text.len().min(place + MAX_CHARS)];
        let end = longest.iter().position(|&code| code == 0).unwrap_or(longest.len());
        &longest[..end]
    }

    /// How often the word of a place occurs.
    pub fn count_at(&self, place: u32) -> u64 {
        self.counts[self.starts.partition_point(|&start| start <= place) - 1]
    }

    /// So many characters from a place on.
    pub fn text_of(&self, place: u32, length: u8) -> String {
        let codes = &self.text[place as usize..place as usize + usize::from(length)];
        codes.iter().map(|&code| self.alphabet[usize::from(code) - 1]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_kind() {
        let runs = |word: &str| runs(word).map(|range| word[range].to_owned()).collect::<Vec<_>>();
        assert_eq!(runs("▁don't"), ["▁don", "'", "t"]);
        assert_eq!(runs("▁2014,x"), ["▁2014", ",", "x"]);
        assert_eq!(runs("क\u{94d}ष!"), ["क\u{94d}ष", "!"]);
        // Marks of class 0 that are not alphabetic: Thai maitaikhu and thanthakhat, Khmer bantoc.
        assert_eq!(runs("▁เป\u{e47}นสถานีย\u{e4c}"), ["▁เป\u{e47}นสถานีย\u{e4c}"]);
        assert_eq!(runs("ក\u{17cb}ខ1"), ["ក\u{17cb}ខ", "1"]);
        assert_eq!(runs("iPhone手机カメラー"), ["iPhone", "手机カメラー"]);
        assert_eq!(runs("▁"), ["▁"]);
        assert_eq!(runs("▁..."), ["▁..."]);
    }

    #[test]
    fn words_without_spaces_end_at_the_limit_too() {
        // Sentences of one word each, all different.
        let sentences: Vec<Box<str>> = (0..4000).map(|index| format!("{index:0>100}").into()).collect();
        let visit = |sentence: &str, visit: &mut dyn FnMut(&str)| visit(sentence);
        let chars = |counts: &Counts| counts.keys().map(|word| word.len() + 1).sum::<usize>();
        for most in [1000, 20_000] {
            let (counts, looked_at) = count(&sentences, most, visit);
            assert!(chars(&counts) > most && chars(&counts) < most + most / 4, "{most}: {}", chars(&counts));
            assert_eq!(counts.len(), looked_at);
        }
        assert_eq!(count(&sentences, 1 << 20, visit).1, 4000, "there is room for all");
    }

    fn sample(
        texts: impl Iterator<Item = String>,
        sentences: usize,
        bytes: usize,
        seed: u64,
    ) -> Vec<Box<str>> {
        let mut sample = Sample::new(seed, sentences, bytes);
        texts.for_each(|text| sample.add(&text));
        sample.finish().0
    }

    #[test]
    fn a_sample_is_fair_and_repeatable() {
        let draw = |seed| sample((0..1000).map(|i| i.to_string()), 100, usize::MAX, seed);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        // Each of 1000 is drawn with probability 1/10: over 400 draws 40 times, standard deviation 6.
        let mut drawn = [0i32; 1000];
        for seed in 0..400 {
            draw(seed).iter().for_each(|i| drawn[i.parse::<usize>().unwrap()] += 1);
        }
        assert!(drawn.iter().all(|n| (40 - n).abs() < 6 * 6), "{drawn:?}");
    }

    #[test]
    fn nothing_of_a_long_line_is_lost() {
        for unit in ["é", "one two ", "ก\u{e47}"] {
            let line = unit.repeat(5 * STRETCH);
            let mut parts = sample([line.clone()].into_iter(), usize::MAX, usize::MAX, 0);
            assert!(
                parts.len() > 5
                    && parts.iter().all(|part| part.len() <= STRETCH && !part.starts_with('\u{e47}'))
            );
            parts.sort_unstable();
            let mut letters: Vec<char> = parts.concat().chars().collect();
            let mut expected: Vec<char> = line.chars().collect();
            letters.sort_unstable();
            expected.sort_unstable();
            assert!(letters == expected, "{unit}");
        }
        let some = sample((0..1000).map(|_| "x".repeat(1000)), usize::MAX, 100_000, 0);
        assert!((90..=94).contains(&some.len()), "{}", some.len());
    }

    #[test]
    fn counting_ends_when_there_is_enough() {
        let sentences: Vec<Box<str>> = (0..30_000).map(|i| format!("w{i}").into()).collect();
        let (counts, done) = count(&sentences, 10_000, |sentence, visit| visit(sentence));
        let chars: usize = counts.keys().map(|word| word.len() + 1).sum();
        assert!(chars > 10_000 && chars < 10_000 + 10_000 / 4, "{chars}");
        assert_eq!(counts.len(), done + 1, "letters and digits apart");
        let (counts, done) = count(&sentences, usize::MAX, |sentence, visit| visit(sentence));
        assert_eq!((counts.len(), counts["w"], done), (30_001, 30_000, 30_000));
    }

    #[test]
    fn rare_characters_are_left_out() {
        let words = [("▁aaaa", 100), ("▁aéa", 1), ("ü", 1)];
        let found = cover(words.map(|(word, count)| (word.to_owned(), count)).into(), 0.99);
        let expected = [("a", 1), ("▁a", 1), ("▁aaaa", 100)];
        assert_eq!(found, expected.map(|(word, count)| (word.to_owned(), count)));
    }
}
