//! Masking and pairing against the distributions of the reference (`model/ALBERT.md`, Text to samples and Masking), within sampling error.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::dataset::Dataset;
use super::example::Example;
use super::masking::{Masker, MaskingOptions};
use super::synthetic::{self, SPECIAL, Shape, VOCABULARY};
use super::words::WordStarts;
use crate::data::shards::Selection;
use crate::draws::{Draws, Purpose};

const SAMPLES: u64 = 1_000_000;
/// Deviations allowed, in standard deviations. The chance that a right program exceeds one of the few hundred bounds
/// here would be below 1e-6; the seeds are fixed, so that it either does or never does.
const DEVIATIONS: f64 = 6.0;

/// Asserts that `count` of `trials` independent events, each of the given probability, is within sampling error.
fn assert_binomial(what: &str, count: u64, trials: f64, probability: f64) {
    let (mean, deviation) = (trials * probability, (trials * probability * (1.0 - probability)).sqrt());
    let off = (count as f64 - mean) / deviation;
    assert!(
        off.abs() < DEVIATIONS,
        "{what}: {count} of {trials}, expected {mean:.0} ± {deviation:.0} ({off:.1} off)"
    );
}

/// What a million samples add up to.
#[derive(Clone, Default)]
struct Sums {
    samples: u64,
    swapped: u64,
    predictions: u64,
    /// Predictions too many or too few.
    off_budget: u64,
    shown_as_mask: u64,
    shown_as_is: u64,
    /// Pieces shown that are neither, by id.
    random: Vec<u64>,
    /// First spans by words drawn.
    drawn: [u64; 3],
    /// First spans of at least 1, 2, 3 words; how many of them were to be expected.
    reached: [u64; 3],
    expected: [f64; 3],
}

impl Sums {
    fn add(mut self, example: &Example, options: &MaskingOptions) -> Self {
        let masking = &example.masking;
        let budget = options.predictions(example.token_ids.len());
        self.samples += 1;
        self.swapped += u64::from(example.sentence_order_label);
        self.predictions += masking.positions.len() as u64;
        self.off_budget += masking.positions.len().abs_diff(budget) as u64;
        self.random.resize(VOCABULARY, 0);
        for (&position, &label) in masking.positions.iter().zip(&masking.labels) {
            match example.token_ids[position as usize] {
                shown if shown == SPECIAL.mask => self.shown_as_mask += 1,
                shown if shown == label => self.shown_as_is += 1,
                shown => self.random[shown as usize] += 1,
            }
        }
        // Nothing is masked before the first span: its length is the one drawn, unless its segment or the budget ends.
        self.drawn[masking.spans[0].drawn - 1] += 1;
        let probabilities = options.ngram_probabilities();
        let first = example.second_segment - 2;
        let second = example.token_ids.len() - example.second_segment - 1;
        for n in 1..=3 {
            self.reached[n - 1] += u64::from(masking.spans[0].words >= n);
            let drawn: f64 = probabilities[n - 1..].iter().sum();
            let starts = (first + 1).saturating_sub(n) + (second + 1).saturating_sub(n);
            if budget >= n {
                self.expected[n - 1] += drawn * starts as f64 / (first + second) as f64;
            }
        }
        self
    }

    fn merge(mut self, other: Self) -> Self {
        self.samples += other.samples;
        self.swapped += other.swapped;
        self.predictions += other.predictions;
        self.off_budget += other.off_budget;
        self.shown_as_mask += other.shown_as_mask;
        self.shown_as_is += other.shown_as_is;
        self.random.resize(VOCABULARY, 0);
        self.random.iter_mut().zip(other.random).for_each(|(sum, more)| *sum += more);
        for n in 0..3 {
            self.drawn[n] += other.drawn[n];
            self.reached[n] += other.reached[n];
            self.expected[n] += other.expected[n];
        }
        self
    }
}

/// A million samples of words of one piece each: everything about them has an exact expectation.
#[test]
fn a_million_samples_have_the_specified_distributions() {
    let shape = Shape { documents: 2000, sentences: 5..=60, tokens: 1..=9, shard: 500 };
    let (options, masking) = (synthetic::samples(32), MaskingOptions::default());
    let words = WordStarts::new(VOCABULARY, |_| true);
    let dataset = Dataset::new(shape.corpus(), words, Selection::All, options, masking, 2024).unwrap();
    let mut sums = Sums::default();
    for number in 0.. {
        let epoch = dataset.epoch(number);
        let wanted = epoch.samples().min(SAMPLES - sums.samples);
        let more = (0..wanted)
            .into_par_iter()
            .fold(Sums::default, |sums, index| sums.add(&dataset.example(&epoch, index), &masking))
            .reduce(Sums::default, Sums::merge);
        sums = sums.merge(more);
        if sums.samples == SAMPLES {
            break;
        }
    }
    let (samples, predictions) = (sums.samples as f64, sums.predictions as f64);
    assert_binomial("swapped", sums.swapped, samples, 0.5);
    assert_eq!(sums.off_budget, 0, "words of one piece always fill the budget");
    for (n, probability) in masking.ngram_probabilities().into_iter().enumerate() {
        assert_binomial(&format!("drawn {}-grams", n + 1), sums.drawn[n], samples, probability);
        let mean = sums.expected[n] / samples;
        // Exactly 1 for n = 1; else a sum of events of various probabilities, which varies less than a binomial.
        if n == 0 {
            assert_eq!(sums.reached[0], sums.samples);
        } else {
            assert_binomial(&format!("spans of {} words", n + 1), sums.reached[n], samples, mean);
        }
    }
    // A tenth is replaced by any piece: [MASK] and the token itself are among them.
    let any = 0.1 / VOCABULARY as f64;
    assert_binomial("shown as [MASK]", sums.shown_as_mask, predictions, 0.8 + any);
    assert_binomial("shown as they are", sums.shown_as_is, predictions, 0.1 + any);
    for (id, &count) in sums.random.iter().enumerate() {
        match id as u32 {
            // Counted above.
            id if id == SPECIAL.mask => assert_eq!(count, 0),
            // Special pieces are never masked themselves.
            id if SPECIAL.ids().contains(&id) => assert_binomial("special", count, predictions, any),
            // The token itself was counted above; each of the 195 ordinary ones equally often.
            id => assert_binomial(&format!("piece {id}"), count, predictions, any * (1.0 - 1.0 / 195.0)),
        }
    }
}

/// The share of span lengths when predictions are many; `model/ALBERT.md` has it from a simulation of its own.
#[test]
fn many_predictions_leave_room_for_short_spans() {
    let options = MaskingOptions { max_predictions_per_seq: 77, ..MaskingOptions::default() };
    let masker = Masker::new(options, SPECIAL, WordStarts::new(VOCABULARY, |_| true)).unwrap();
    let mut spans = [0u64; 3];
    for index in 0..4000 {
        let mut tokens = vec![5; 512];
        let masking = masker.mask(&mut tokens, 256, &mut Draws::new(1, Purpose::Mask, 0, index));
        assert_eq!(masking.positions.len(), 77);
        masking.spans.iter().for_each(|span| spans[span.words - 1] += 1);
    }
    let total: u64 = spans.iter().sum();
    for (count, percent) in spans.into_iter().zip([57.0, 26.0, 17.0]) {
        let found = 100.0 * count as f64 / total as f64;
        // The page rounds to whole percents; 190000 spans have a standard deviation of 0.1.
        assert!(
            (found - percent).abs() < 0.5 + DEVIATIONS * 0.12,
            "{found:.2}% where {percent}% was simulated"
        );
    }
}

/// The reference's rule written down as `model/ALBERT.md` tells it, lists of lists and all.
fn as_specified(
    tokens: &[u32],
    words: &WordStarts,
    options: &MaskingOptions,
    draws: &mut Draws,
) -> Vec<(usize, usize)> {
    let mut candidates: Vec<Vec<usize>> = Vec::new();
    for (position, &token) in tokens.iter().enumerate() {
        if token == SPECIAL.classification || token == SPECIAL.separator {
            continue;
        }
        match candidates.last_mut() {
            Some(word) if !words.contains(token) => word.push(position),
            _ => candidates.push(vec![position]),
        }
    }
    let budget = options.predictions(tokens.len());
    let weights: Vec<f64> = (1..=options.ngram).map(|n| 1.0 / n as f64).collect();
    let mut starts: Vec<usize> = (0..candidates.len()).collect();
    for last in (1..starts.len()).rev() {
        starts.swap(last, draws.below(last + 1));
    }
    let mut covered = std::collections::BTreeMap::new();
    let mut spans = 0;
    for start in starts {
        if covered.len() >= budget {
            break;
        }
        let mut left = draws.unit() * weights.iter().sum::<f64>();
        let mut n = 1;
        while n < options.ngram && left >= weights[n - 1] {
            left -= weights[n - 1];
            n += 1;
        }
        let flat = |n: usize| candidates[start..candidates.len().min(start + n)].concat();
        while n > 0 && covered.len() + flat(n).len() > budget {
            n -= 1;
        }
        let span = flat(n);
        if n == 0 || span.iter().any(|position| covered.contains_key(position)) {
            continue;
        }
        spans += 1;
        span.into_iter().for_each(|position| {
            covered.insert(position, spans);
        });
    }
    covered.into_iter().collect()
}

/// With the reference's own treatment of segments, each token is masked as often as by the rule as specified, and as
/// many spans are used.
#[test]
fn masks_are_distributed_as_the_reference_has_them() {
    const RUNS: u64 = 100_000;
    let words = synthetic::words();
    let options = MaskingOptions { spans_cross_separator: true, ..MaskingOptions::default() };
    let masker = Masker::new(options, SPECIAL, words.clone()).unwrap();
    // Words of one to four pieces; the second segment begins inside a word.
    let mut tokens: Vec<u32> = (0..50).map(|n| 5 + n * n % 61).collect();
    tokens[0] = SPECIAL.classification;
    tokens[23] = SPECIAL.separator;
    tokens[24] = 8;
    tokens[49] = SPECIAL.separator;
    let tally = |mask: &(dyn Fn(&mut Draws) -> (Vec<usize>, usize) + Sync), epoch| {
        (0..RUNS)
            .into_par_iter()
            .fold(BTreeMap::new, |mut tally: BTreeMap<String, u64>, run| {
                let (positions, spans) = mask(&mut Draws::new(9, Purpose::Mask, epoch, run));
                *tally.entry(format!("{} predictions", positions.len())).or_default() += 1;
                *tally.entry(format!("{spans} spans")).or_default() += 1;
                positions.iter().for_each(|at| *tally.entry(format!("token {at}")).or_default() += 1);
                tally
            })
            .reduce(BTreeMap::new, |mut sum, more| {
                more.into_iter().for_each(|(key, count)| *sum.entry(key).or_default() += count);
                sum
            })
    };
    let ours = tally(
        &|draws| {
            let masking = masker.mask(&mut tokens.clone(), 24, draws);
            (masking.positions.iter().map(|&at| at as usize).collect(), masking.spans.len())
        },
        0,
    );
    let theirs = tally(
        &|draws| {
            let covered = as_specified(&tokens, &words, &options, draws);
            let spans = covered.iter().map(|&(_, span)| span).max().unwrap_or(0);
            (covered.into_iter().map(|(position, _)| position).collect(), spans)
        },
        1,
    );
    assert!(ours.len() > 50, "all tokens are masked sometimes: {ours:?}");
    for key in ours.keys().chain(theirs.keys()) {
        let count = |tally: &BTreeMap<String, u64>| tally.get(key).copied().unwrap_or(0) as f64;
        // Two binomial counts of one probability differ by sqrt(2 n p (1 - p)), at most sqrt(their sum), plus 1 for rare ones.
        let bound = DEVIATIONS * (count(&ours) + count(&theirs) + 1.0).sqrt();
        assert!(
            (count(&ours) - count(&theirs)).abs() < bound,
            "{key}: {} and {}",
            count(&ours),
            count(&theirs)
        );
    }
}
