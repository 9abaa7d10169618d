//! Learning the pieces of a Unigram vocabulary: expectation maximisation over the segmentations of words,
//! starting from all frequent substrings and pruning the least useful (Kudo 2018, "Subword Regularization",
//! section 3.2; constants as in sentencepiece).
//!
//! The trainer of the `tokenizers` library looks for its first substrings in a list of distinct words by what
//! follows them; since every word ends alike it never finds whole words such as `▁also`, and its vocabularies
//! need a sixth more pieces for the same English text. Hence this one.

use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

/// Longest piece, `▁` included.
const MAX_PIECE_CHARS: usize = 16;
/// Substrings to start from.
const MAX_SEEDS: usize = 1_000_000;
/// Pieces of which fewer are expected in the text go.
const MIN_EXPECTED: f64 = 0.5;
/// What a round of pruning leaves.
const SHRINKING: f64 = 0.75;
/// Steps of expectation maximisation before each pruning.
const UPDATES_PER_ROUND: usize = 2;
/// Expectation ends with this much more than is wanted; the rest is cut by score.
const SURPLUS: f64 = 1.1;
/// Words are summed over in so many parts, in order: the result does not depend on the number of threads.
const PARTS: usize = 8;

/// Learns up to `size` pieces with their log-probabilities, likeliest first, from words with their counts.
/// Every character of a word is a piece; there must be no more of them than `size`, and each must be a word of
/// its own too. No word has more than 255 characters.
pub(super) fn learn(words: &[(String, u64)], size: usize) -> Vec<(String, f32)> {
    let mut learner = Learner::new(words);
    let wanted = (size as f64 * SURPLUS) as usize;
    loop {
        for _ in 0..UPDATES_PER_ROUND {
            learner.update();
        }
        let alive = learner.alive().count();
        if alive <= wanted {
            break;
        }
        learner.prune(wanted.max((alive as f64 * SHRINKING) as usize));
    }
    let mut learnt: Vec<_> = learner.alive().map(|id| &learner.pieces[id]).collect();
    // Characters first, since none may be missing; then by score.
    learnt.sort_by(|a, b| {
        (a.length > 1).cmp(&(b.length > 1)).then(b.score.total_cmp(&a.score)).then(a.text.cmp(b.text))
    });
    learnt.truncate(size);
    learnt.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.text.cmp(b.text)));
    learnt.into_iter().map(|piece| (piece.text.to_owned(), piece.score as f32)).collect()
}

/// All pieces of the start, and each word as the graph of its segmentations into them.
struct Learner<'w> {
    pieces: Vec<Piece<'w>>,
    words: Vec<Word>,
    edges: Vec<Edge>,
}

struct Piece<'w> {
    text: &'w str,
    /// In characters.
    length: u8,
    /// Log-probability; −∞ once the piece is given up.
    score: f64,
    /// A word that has it, and the character where: its own segmentations are part of that word's.
    example: (u32, u8),
}

struct Word {
    count: f64,
    length: u8,
    edges: Range<usize>,
}

/// A piece in a word, from one character to another. In a word's list by start.
#[derive(Clone, Copy)]
struct Edge {
    piece: u32,
    start: u8,
    end: u8,
}

impl<'w> Learner<'w> {
    fn new(words: &'w [(String, u64)]) -> Self {
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for (word, count) in words {
            for (text, _) in substrings(word) {
                *counts.entry(text).or_default() += count;
            }
        }
        let mut seeds: Vec<_> = counts
            .into_iter()
            .map(|(text, count)| (text, text.chars().count(), count))
            .filter(|&(_, length, count)| length == 1 || count > 1)
            .map(|(text, length, count)| (text, length as u8, count * length as u64))
            .collect();
        seeds.sort_unstable_by_key(|&(text, length, mass)| (length > 1, Reverse(mass), text));
        seeds.truncate(MAX_SEEDS);

        let total = seeds.iter().map(|&(.., mass)| mass as f64).sum::<f64>().ln();
        let ids: HashMap<&str, u32> = (0..).zip(&seeds).map(|(id, seed)| (seed.0, id)).collect();
        let mut pieces: Vec<_> = seeds
            .iter()
            .map(|&(text, length, mass)| Piece {
                text,
                length,
                score: (mass as f64).ln() - total,
                example: (0, 0),
            })
            .collect();
        let mut edges = Vec::new();
        let words = (0..).zip(words).map(|(number, (word, count))| {
            let first = edges.len();
            for (text, range) in substrings(word) {
                if let Some(&piece) = ids.get(text) {
                    pieces[piece as usize].example = (number, range.start);
                    edges.push(Edge { piece, start: range.start, end: range.end });
                }
            }
            Word { count: *count as f64, length: word.chars().count() as u8, edges: first..edges.len() }
        });
        let words = words.collect();
        Self { pieces, words, edges }
    }

    fn alive(&self) -> impl Iterator<Item = usize> {
        (0..self.pieces.len()).filter(|&id| self.pieces[id].score > f64::NEG_INFINITY)
    }

    /// One step of expectation maximisation, with the sparse prior of a Dirichlet process: the logarithm of a
    /// count is replaced by its digamma.
    fn update(&mut self) {
        let expected = self.sum_over_words(|word, expected| {
            let edges = &self.edges[word.edges.clone()];
            let length = usize::from(word.length);
            let mut before = [f64::NEG_INFINITY; 256];
            let mut after = [f64::NEG_INFINITY; 256];
            before[0] = 0.0;
            after[length] = 0.0;
            for edge in edges {
                let through = before[usize::from(edge.start)] + self.score(edge);
                add_log(&mut before[usize::from(edge.end)], through);
            }
            for edge in edges.iter().rev() {
                let through = after[usize::from(edge.end)] + self.score(edge);
                add_log(&mut after[usize::from(edge.start)], through);
            }
            for edge in edges {
                let path = before[usize::from(edge.start)] + self.score(edge) + after[usize::from(edge.end)];
                expected[edge.piece as usize] += word.count * (path - before[length]).exp();
            }
        });
        let kept = |expected: f64| expected >= MIN_EXPECTED;
        let total = digamma(expected.iter().copied().filter(|&count| kept(count)).sum());
        for (piece, count) in self.pieces.iter_mut().zip(expected) {
            piece.score = if kept(count) { digamma(count) - total } else { f64::NEG_INFINITY };
        }
    }

    /// Gives up all but `size` pieces: those stay whose replacement by their next best segmentation would cost
    /// the text the most likelihood, and all characters.
    fn prune(&mut self, size: usize) {
        let counts = self.sum_over_words(|word, counts| {
            let edges = &self.edges[word.edges.clone()];
            for piece in self.best_path(edges, 0..word.length, None) {
                counts[piece as usize] += word.count;
            }
        });
        let total: f64 = counts.iter().sum();
        let alive: Vec<usize> = self.alive().collect();
        let loss = |&id: &usize| {
            let piece = &self.pieces[id];
            if piece.length == 1 {
                return f64::INFINITY;
            }
            let count = counts[id];
            if count == 0.0 {
                return 0.0;
            }
            let (word, start) = piece.example;
            let edges = &self.edges[self.words[word as usize].edges.clone()];
            let instead = self.best_path(edges, start..start + piece.length, Some(id as u32));
            let new_total = (total + count * (instead.len() as f64 - 1.0)).ln();
            let replaced: f64 =
                instead.iter().map(|&id| (counts[id as usize] + count).ln() - new_total).sum();
            count * (count.ln() - total.ln() - replaced)
        };
        let mut losses: Vec<_> = alive.par_iter().map(|id| (loss(id), *id)).collect();
        losses.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let characters = losses.iter().take_while(|(loss, _)| *loss == f64::INFINITY).count();
        for &(_, id) in losses.iter().skip(size.max(characters)) {
            self.pieces[id].score = f64::NEG_INFINITY;
        }
    }

    /// The pieces of the likeliest segmentation of a stretch of a word, last first, without the piece `but`.
    fn best_path(&self, edges: &[Edge], range: Range<u8>, but: Option<u32>) -> Vec<u32> {
        let mut best = [(f64::NEG_INFINITY, Edge { piece: 0, start: 0, end: 0 }); 256];
        best[usize::from(range.start)].0 = 0.0;
        let first = edges.partition_point(|edge| edge.start < range.start);
        for &edge in edges[first..].iter().take_while(|edge| edge.start < range.end) {
            let score = best[usize::from(edge.start)].0 + self.score(&edge);
            let end = &mut best[usize::from(edge.end)];
            if edge.end <= range.end && Some(edge.piece) != but && score > end.0 {
                *end = (score, edge);
            }
        }
        let mut path = Vec::new();
        let mut end = range.end;
        while end > range.start {
            let edge = best[usize::from(end)].1;
            path.push(edge.piece);
            end = edge.start;
        }
        path
    }

    fn score(&self, edge: &Edge) -> f64 {
        self.pieces[edge.piece as usize].score
    }

    /// A number per piece, to which every word adds.
    fn sum_over_words(&self, add: impl Fn(&Word, &mut [f64]) + Sync) -> Vec<f64> {
        let parts = self.words.par_chunks(self.words.len().div_ceil(PARTS).max(1)).map(|words| {
            let mut sum = vec![0.0; self.pieces.len()];
            words.iter().for_each(|word| add(word, &mut sum));
            sum
        });
        let parts: Vec<_> = parts.collect();
        let mut sum = vec![0.0; self.pieces.len()];
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        sum
    }
}

/// The substrings that could be pieces, with the characters they cover, by start.
fn substrings(word: &str) -> impl Iterator<Item = (&str, Range<u8>)> {
    word.char_indices().zip(0u8..).flat_map(move |((from, _), start)| {
        let ends = word[from..].char_indices().map(move |(i, c)| from + i + c.len_utf8());
        ends.take(MAX_PIECE_CHARS).zip(start + 1..).map(move |(to, end)| (&word[from..to], start..end))
    })
}

/// Adds a probability to a probability, both as logarithms.
fn add_log(sum: &mut f64, term: f64) {
    let (high, low) = if *sum > term { (*sum, term) } else { (term, *sum) };
    *sum = if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() };
}

/// The digamma function for positive numbers: recurrence up to 7, then the asymptotic series around x − ½
/// (error below 1e-9).
fn digamma(mut x: f64) -> f64 {
    let mut result = 0.0;
    while x < 7.0 {
        result -= 1.0 / x;
        x += 1.0;
    }
    let y = (x - 0.5).powi(-2);
    let series = y * (1.0 / 24.0 - y * (7.0 / 960.0 - y * (31.0 / 8064.0 - y * (127.0 / 30720.0))));
    result + (x - 0.5).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_characters(words: &[(&str, u64)]) -> Vec<(String, u64)> {
        let characters: std::collections::BTreeSet<char> =
            words.iter().flat_map(|(word, _)| word.chars()).collect();
        let characters = characters.into_iter().map(|c| (c.to_string(), 1));
        characters.chain(words.iter().map(|(word, count)| ((*word).to_owned(), *count))).collect()
    }

    #[test]
    fn digamma_is_right() {
        const EULER: f64 = 0.577_215_664_901_532_9;
        for (x, expected) in [
            (1.0, -EULER),
            (0.5, -EULER - 2.0 * std::f64::consts::LN_2),
            (2.0, 1.0 - EULER),
            (10.0, 2.251_752_589_066_721),
            (1e9, 1e9_f64.ln() - 5e-10),
        ] {
            assert!((digamma(x) - expected).abs() < 1e-9, "digamma({x}) = {}", digamma(x));
        }
    }

    /// Expectations against the enumeration of all segmentations.
    #[test]
    fn an_update_is_expectation_maximisation() {
        let words = with_characters(&[("ab", 5), ("aab", 3)]);
        let mut learner = Learner::new(&words);
        let scores: HashMap<&str, f64> =
            learner.pieces.iter().map(|piece| (piece.text, piece.score.exp())).collect();
        assert_eq!(scores.len(), 5, "a, b, ab, aa, aab");
        let mut expected: HashMap<&str, f64> = [("a", 1.0), ("b", 1.0)].into();
        for (count, segmentations) in [
            (5.0, vec![vec!["ab"], vec!["a", "b"]]),
            (3.0, vec![vec!["aab"], vec!["aa", "b"], vec!["a", "ab"], vec!["a", "a", "b"]]),
        ] {
            let weight = |pieces: &Vec<&str>| pieces.iter().map(|piece| scores[piece]).product::<f64>();
            let total: f64 = segmentations.iter().map(weight).sum();
            for segmentation in &segmentations {
                for piece in segmentation {
                    *expected.entry(piece).or_default() += count * weight(segmentation) / total;
                }
            }
        }
        learner.update();
        let kept = || expected.values().copied().filter(|&count| count >= MIN_EXPECTED);
        let total = digamma(kept().sum());
        assert_eq!(learner.alive().count(), kept().count());
        for piece in learner.alive().map(|id| &learner.pieces[id]) {
            let score = digamma(expected[piece.text]) - total;
            assert!((piece.score - score).abs() < 1e-12, "{}: {} for {score}", piece.text, piece.score);
        }
    }

    #[test]
    fn whole_words_are_learnt() {
        let words = with_characters(&[("▁also", 1000), ("▁the", 3000), ("▁then", 200), ("▁aorta", 1)]);
        let learnt = learn(&words, 12);
        let texts: Vec<_> = learnt.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts[..2], ["▁the", "▁also"]);
        assert_eq!(learnt.len(), 12);
        for c in ["▁", "a", "l", "s", "o", "t", "h", "e", "n", "r"] {
            assert!(texts.contains(&c), "{c} is missing in {texts:?}");
        }
    }

    proptest! {
        #[test]
        fn any_words_give_a_vocabulary(
            words in prop::collection::btree_map("[a-dé▁]{1,30}", 1..1000u64, 1..40),
            extra in 0..60usize,
        ) {
            let words: Vec<_> = words.iter().map(|(word, count)| (word.as_str(), *count)).collect();
            let words = with_characters(&words);
            let characters: std::collections::BTreeSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
            let learnt = learn(&words, characters.len() + extra);
            prop_assert!(learnt.len() <= characters.len() + extra);
            prop_assert!(learnt.iter().all(|(_, score)| score.is_finite() && *score <= 0.0));
            prop_assert!(learnt.is_sorted_by(|a, b| a.1 >= b.1));
            let singles = learnt.iter().filter(|(text, _)| text.chars().count() == 1).count();
            prop_assert_eq!(singles, characters.len());
            let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            prop_assert_eq!(one_thread.install(|| learn(&words, characters.len() + extra)), learnt);
        }
    }
}
