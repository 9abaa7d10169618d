//! Learning the pieces of a Unigram vocabulary: expectation maximisation over the segmentations of words, starting from all
//! frequent substrings and pruning the least useful (Kudo 2018, "Subword Regularization", section 3.2; constants as in
//! sentencepiece).
//!
//! The trainer of the `tokenizers` library looks for its first substrings in a list of distinct words by what follows them;
//! since every word ends alike it never finds whole words such as `▁also`, and its vocabularies need more pieces for the
//! same English text. Hence this one.

use super::segmentations::{Segmentations, Work};
use super::substrings::{SortedPlaces, Substring};
use super::words::Words;
use rayon::prelude::*;

/// Substrings to start from, where memory allows.
pub(super) const MAX_SEEDS: usize = 1_000_000;
/// Pieces of which fewer are expected in the text go.
const MIN_EXPECTED: f64 = 0.5;
/// What a round of pruning leaves.
const SHRINKING: f64 = 0.75;
/// What the best segmentation of a word counts, beside all of them. It is the one that a text becomes: so pieces are
/// learnt that make fewer of it. Of 3 MB and 4,000 pieces, held-out text became with 0, with 0.5 and with sentencepiece:
/// random Latin words 763,574, 514,832, 689,900 pieces; unspaced Thai 74,410, 73,340, 99,455; English 289,568, 289,311,
/// 292,792.
const BEST: f64 = 0.5;
/// Below the least likely piece by so much is unknown text.
const UNKNOWN_PENALTY: f64 = 10.0;
/// Steps of expectation maximisation before each pruning.
const UPDATES_PER_ROUND: usize = 2;
/// Expectation ends with this much more than is wanted; the rest is cut by score.
const SURPLUS: f64 = 1.1;
/// Words are summed over in so many parts, in order: the result does not depend on the number of threads.
const PARTS: usize = 8;

/// Learns up to `size` pieces from at most `seeds` substrings, with their log-probabilities, likeliest first. Every
/// character is a piece; there must be no more of them than `size`.
pub(super) fn learn(words: &Words, size: usize, seeds: usize) -> Vec<(String, f32)> {
    let mut learner = Learner::new(words, seeds);
    let wanted = (size as f64 * SURPLUS) as usize;
    loop {
        for _ in 0..UPDATES_PER_ROUND {
            learner.update();
        }
        let alive = learner.alive();
        if alive <= wanted {
            break;
        }
        learner.prune(wanted, wanted.max((alive as f64 * SHRINKING) as usize));
    }
    let least = learner.least_score();
    let pieces = learner.pieces.iter().filter(|piece| piece.length == 1 || piece.is_alive());
    let mut learnt: Vec<_> = pieces
        .map(|piece| (words.text_of(piece.example, piece.length), piece.length, piece.score.max(least)))
        .collect();
    // Characters first, since none may be missing; then by score.
    learnt.sort_by(|a, b| (a.1 > 1).cmp(&(b.1 > 1)).then(b.2.total_cmp(&a.2)).then(a.0.cmp(&b.0)));
    learnt.truncate(size);
    learnt.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    learnt.into_iter().map(|(text, _, score)| (text, score as f32)).collect()
}

/// Pieces, and the words as graphs of their segmentations into them.
struct Learner<'w> {
    words: &'w Words,
    /// Words in parts of about the same length.
    parts: Vec<std::ops::Range<usize>>,
    pieces: Vec<Piece>,
    graph: Segmentations,
}

#[derive(Clone)]
struct Piece {
    /// In characters.
    length: u8,
    /// Log-probability; −∞ once the piece is given up. A character that is given up is unknown text until the end.
    score: f64,
    /// A place where it stands.
    example: u32,
}

impl Piece {
    fn is_alive(&self) -> bool {
        self.score > f64::NEG_INFINITY
    }
}

impl<'w> Learner<'w> {
    fn new(words: &'w Words, most: usize) -> Self {
        let sorted = SortedPlaces::new(words);
        let mut seeds = sorted.characters(words);
        let characters = seeds.len();
        seeds.extend(sorted.substrings(words, most.saturating_sub(characters)));
        let total = seeds.iter().map(|seed| seed.mass as f64).sum::<f64>().ln();
        let piece = |seed: &Substring| Piece {
            length: seed.length,
            score: (seed.mass as f64).ln() - total,
            example: sorted.places[seed.places.start as usize],
        };
        let pieces = seeds.iter().map(piece).collect();
        let graph = Segmentations::new(words, &sorted, &seeds);
        Self { words, parts: parts(words), pieces, graph }
    }

    fn alive(&self) -> usize {
        self.pieces.iter().filter(|piece| piece.is_alive()).count()
    }

    fn least_score(&self) -> f64 {
        self.pieces.iter().filter(|piece| piece.is_alive()).map(|piece| piece.score).fold(0.0, f64::min)
    }

    /// The score of each piece in a segmentation. Characters that nothing else covers are always there, as unknown text
    /// where they were given up.
    fn scores(&self) -> Vec<f64> {
        let unknown = self.least_score() - UNKNOWN_PENALTY;
        let score =
            |piece: &Piece| if piece.length == 1 && !piece.is_alive() { unknown } else { piece.score };
        self.pieces.iter().map(score).collect()
    }

    /// One step of expectation maximisation, with the sparse prior of a Dirichlet process: the logarithm of a count is
    /// replaced by its digamma. A part of each count is that of the best segmentations alone.
    fn update(&mut self) {
        let scores = self.scores();
        let probabilities: Vec<f64> = scores.iter().copied().map(f64::exp).collect();
        let expected = self.sum_over_words(|word, work, expected| {
            let (places, count) = (self.words.range(word), self.words.counts[word] as f64);
            self.graph.best_path(places.clone(), None, &scores, work);
            for &piece in &work.path {
                expected[piece as usize] += BEST * count;
            }
            self.graph.expect(places, (1.0 - BEST) * count, &probabilities, work, expected);
        });
        let kept = |(piece, expected): &(&Piece, &f64)| piece.is_alive() && **expected >= MIN_EXPECTED;
        let total =
            digamma(self.pieces.iter().zip(&expected).filter(kept).map(|(_, expected)| expected).sum());
        for (piece, expected) in self.pieces.iter_mut().zip(&expected) {
            let kept = kept(&(piece, expected));
            piece.score = if kept { digamma(*expected) - total } else { f64::NEG_INFINITY };
        }
    }

    /// Gives up all but `most` pieces: those stay whose replacement by their next best segmentation would cost the text
    /// the most likelihood, and all characters. Pieces that the best segmentations do without go too, down to `least`.
    fn prune(&mut self, least: usize, most: usize) {
        let scores = self.scores();
        let counts = self.sum_over_words(|word, work, counts| {
            self.graph.best_path(self.words.range(word), None, &scores, work);
            for &piece in &work.path {
                counts[piece as usize] += self.words.counts[word] as f64;
            }
        });
        let known = |id: usize| self.pieces[id].is_alive();
        let total: f64 = (0..counts.len()).filter(|&id| known(id)).map(|id| counts[id]).sum();
        let loss = |work: &mut Work, id: usize| {
            let (piece, count) = (&self.pieces[id], counts[id]);
            if piece.length == 1 {
                return f64::INFINITY;
            }
            if count == 0.0 {
                return f64::NEG_INFINITY;
            }
            let place = piece.example as usize;
            self.graph.best_path(place..place + usize::from(piece.length), Some(id as u32), &scores, work);
            let new_total = (total + count * (work.path.len() as f64 - 1.0)).ln();
            let replaced: f64 =
                work.path.iter().map(|&id| (counts[id as usize] + count).ln() - new_total).sum();
            count * (count.ln() - total.ln() - replaced)
        };
        let alive = (0..self.pieces.len()).filter(|&id| scores[id] > f64::NEG_INFINITY); // all characters too
        let mut losses: Vec<(f64, usize)> = alive.map(|id| (0.0, id)).collect();
        losses.par_iter_mut().for_each_init(Work::default, |work, (lost, id)| *lost = loss(work, *id));
        losses.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let characters = losses.iter().take_while(|(loss, _)| *loss == f64::INFINITY).count();
        let used = losses.partition_point(|(loss, _)| *loss > f64::NEG_INFINITY);
        losses.truncate(used.clamp(least, most).max(characters));
        losses.sort_unstable_by_key(|&(_, id)| id);
        let mut places = vec![None; self.pieces.len()];
        (0..).zip(&losses).for_each(|(new, &(_, old))| places[old] = Some(new));
        self.pieces = losses.iter().map(|&(_, id)| self.pieces[id].clone()).collect();
        self.graph.keep(&places, self.pieces.iter().map(|piece| piece.length).collect());
    }

    /// A number per piece, to which every word adds.
    fn sum_over_words(&self, add: impl Fn(usize, &mut Work, &mut [f64]) + Sync) -> Vec<f64> {
        let parts = self.parts.par_iter().map(|words| {
            let (mut sum, mut work) = (vec![0.0; self.pieces.len()], Work::default());
            words.clone().for_each(|word| add(word, &mut work, &mut sum));
            sum
        });
        let mut parts = parts.collect::<Vec<_>>().into_iter();
        let mut sum = parts.next().unwrap_or_default();
        for part in parts {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        sum
    }
}

fn parts(words: &Words) -> Vec<std::ops::Range<usize>> {
    let place = |part: usize| {
        let place = (words.text.len() * part / PARTS) as u32;
        words.starts.partition_point(|&start| start < place)
    };
    (0..PARTS)
        .map(|part| place(part)..if part + 1 == PARTS { words.starts.len() } else { place(part + 1) })
        .collect()
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
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    fn with_characters(words: &[(&str, u64)]) -> Words {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        for (word, count) in words {
            for c in word.chars() {
                all.entry(c.to_string()).or_insert(1);
            }
            *all.entry((*word).to_owned()).or_default() += count;
        }
        Words::new(&all.into_iter().collect::<Vec<_>>())
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

    /// Expectations against the enumeration of all segmentations, in words that need sums to be scaled too.
    #[test]
    fn an_update_is_expectation_maximisation() {
        /// The number of segmentations, and of those in which a piece stands, weighted.
        fn enumerate(word: &str, weights: &HashMap<String, f64>) -> (f64, HashMap<String, f64>) {
            let mut before = vec![0.0; word.len() + 1];
            let mut after = before.clone();
            (before[0], after[word.len()]) = (1.0, 1.0);
            let weight = |range: std::ops::Range<usize>| weights.get(&word[range]).copied().unwrap_or(0.0);
            for end in 1..=word.len() {
                before[end] = (0..end).map(|start| before[start] * weight(start..end)).sum();
            }
            for start in (0..word.len()).rev() {
                after[start] = (start + 1..=word.len()).map(|end| after[end] * weight(start..end)).sum();
            }
            let mut through = HashMap::new();
            for start in 0..word.len() {
                for end in start + 1..=word.len() {
                    let share = before[start] * weight(start..end) * after[end];
                    if share > 0.0 {
                        *through.entry(word[start..end].to_owned()).or_default() += share;
                    }
                }
            }
            (before[word.len()], through)
        }
        let long = "abcab".repeat(15);
        let list = [("ab", 5), ("aab", 3), ("cab", 4), (long.as_str(), 2)];
        let words = with_characters(&list);
        let mut learner = Learner::new(&words, MAX_SEEDS);
        let text = |piece: &Piece| words.text_of(piece.example, piece.length);
        let weights = learner.pieces.iter().map(|piece| (text(piece), piece.score.exp())).collect();
        let mut expected: HashMap<String, f64> = HashMap::new();
        for (word, count) in list.into_iter().chain([("a", 1), ("b", 1), ("c", 1)]) {
            let (total, through) = enumerate(word, &weights);
            for (piece, share) in through {
                *expected.entry(piece).or_default() += (1.0 - BEST) * count as f64 * share / total;
            }
        }
        let mut work = Work::default();
        for word in 0..words.counts.len() {
            learner.graph.best_path(words.range(word), None, &learner.scores(), &mut work);
            for &id in &work.path {
                *expected.entry(text(&learner.pieces[id as usize])).or_default() +=
                    BEST * words.counts[word] as f64;
            }
        }
        learner.update();
        let kept = || expected.values().copied().filter(|&count| count >= MIN_EXPECTED);
        let total = digamma(kept().sum());
        assert_eq!(learner.alive(), kept().count());
        for piece in learner.pieces.iter().filter(|piece| piece.is_alive()) {
            let score = digamma(expected[&text(piece)]) - total;
            assert!((piece.score - score).abs() < 1e-9, "{}: {} for {score}", text(piece), piece.score);
        }
    }

    #[test]
    fn whole_words_are_learnt() {
        let words = with_characters(&[("▁also", 1000), ("▁the", 3000), ("▁then", 200), ("▁aorta", 1)]);
        let learnt = learn(&words, 12, MAX_SEEDS);
        let texts: Vec<_> = learnt.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts[..2], ["▁the", "▁also"]);
        assert_eq!(learnt.len(), 12);
        for c in ["▁", "a", "l", "s", "o", "t", "h", "e", "n", "r"] {
            assert!(texts.contains(&c), "{c} is missing in {texts:?}");
        }
    }

    /// Long stretches without a space, all different.
    #[test]
    fn words_are_found_where_none_are_marked() {
        let lexicon = ["กิน", "ข้าว", "บ้าน", "น้ำ", "เดิน", "ทาง", "ไป", "มา"];
        let mut state = 1u64;
        let mut line = || {
            let draw = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                lexicon[(state >> 33) as usize % lexicon.len()]
            };
            (0..300).map(draw).collect::<String>()
        };
        let lines: Vec<String> = (0..20).map(|_| line()).collect();
        let words: Vec<(&str, u64)> = lines.iter().map(|line| (line.as_str(), 1)).collect();
        let words = with_characters(&words);
        let learnt = learn(&words, words.alphabet.len() + 16, MAX_SEEDS);
        // Pairs of them are as good, so that not all need be there.
        let found = lexicon.iter().filter(|word| learnt.iter().any(|(piece, _)| piece == *word)).count();
        assert!(found >= 5, "{found} words in {learnt:?}");
    }

    proptest! {
        #[test]
        fn any_words_give_a_vocabulary(
            words in prop::collection::btree_map("[a-dé▁]{1,80}", 1..1000u64, 1..40),
            extra in 0..60usize,
        ) {
            let words: Vec<_> = words.iter().map(|(word, count)| (word.as_str(), *count)).collect();
            let words = with_characters(&words);
            let learnt = learn(&words, words.alphabet.len() + extra, MAX_SEEDS);
            prop_assert!(learnt.len() <= words.alphabet.len() + extra);
            prop_assert!(learnt.iter().all(|(_, score)| score.is_finite() && *score <= 0.0));
            let texts: BTreeSet<_> = learnt.iter().map(|(text, _)| text.as_str()).collect();
            prop_assert_eq!(texts.len(), learnt.len());
            prop_assert!(words.alphabet.iter().all(|c| texts.contains(c.to_string().as_str())));
        }
    }
}
