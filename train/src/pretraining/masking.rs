//! Which words of a sample are masked, and by what.
//!
//! The reference's n-gram whole-word masking (`model/ALBERT.md`, Masking). Words are visited in random order; each is the first of a
//! span of n words, n drawn with probability ∝ 1/n. A span that would exceed the number of predictions is shortened
//! until it fits, one that touches a masked token is passed over. Each token of a span is then replaced by `[MASK]`
//! (80%), kept (10%), or replaced by a random piece (10%), each on its own.
//!
//! Decisions on the reference's quirks (`model/ALBERT.md`, Departures):
//!
//! - D3: all draws are keyed, the span lengths too.
//! - D5: in the reference the words of both segments are one list, so that spans run across the `[SEP]` between them,
//!   and a second segment that begins inside a word continues the first segment's last word. Here words and spans end
//!   with their segment; [`MaskingOptions::spans_cross_separator`] brings the reference's behaviour back.
//! - D8: its first test for masked tokens never has an effect and is left out.
//! - D9: a random piece is any of the vocabulary, control pieces and the token itself included, as in the reference;
//!   [`MaskingOptions::random_ordinary`] draws until it is another, ordinary piece.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::words::WordStarts;
use crate::data::error::DataError;
use crate::draws::Draws;
use crate::tokenizer::SpecialTokens;

/// The longest spans that can be asked for, in words.
pub const LONGEST_NGRAM: usize = 16;

/// How tokens are chosen and replaced.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskingOptions {
    /// The share of tokens to predict, special tokens counted among them; 0 masks nothing.
    pub masked_lm_prob: f64,
    /// The most predictions of one sample.
    pub max_predictions_per_seq: usize,
    /// The longest span in words.
    pub ngram: usize,
    /// Span length n has probability ∝ 1/n; if not, the longest is the likeliest: ∝ 1/(ngram + 1 − n).
    pub favor_shorter_ngram: bool,
    /// Words are masked whole; if not, every token is a word.
    pub whole_word: bool,
    /// Words begin at spaces in every script that has them; if not, where the reference sees a beginning: at every piece
    /// with a letter outside ASCII.
    pub words_by_space: bool,
    /// Words and spans may run across the `[SEP]` between the segments (the reference).
    pub spans_cross_separator: bool,
    /// Random replacements are never special pieces nor the token itself.
    pub random_ordinary: bool,
    /// Beyond the masked words, choose as many again and let them change places among themselves.
    pub permutation: bool,
}

impl Default for MaskingOptions {
    fn default() -> Self {
        Self {
            masked_lm_prob: 0.15,
            max_predictions_per_seq: 20,
            ngram: 3,
            favor_shorter_ngram: true,
            whole_word: true,
            words_by_space: false,
            spans_cross_separator: false,
            random_ordinary: false,
            permutation: false,
        }
    }
}

impl MaskingOptions {
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let option = |option, value: String, reason| Err(DataError::Option { option, value, reason });
        if !(0.0..=1.0).contains(&self.masked_lm_prob) {
            return option(
                "masked_lm_prob",
                self.masked_lm_prob.to_string(),
                "a probability lies between 0 and 1",
            );
        }
        if !(1..=LONGEST_NGRAM).contains(&self.ngram) {
            return option("ngram", self.ngram.to_string(), "spans have 1 to 16 words");
        }
        Ok(())
    }

    /// How many tokens of a sample of `length` tokens are to be predicted (halves round to even, as in Python).
    pub fn predictions(&self, length: usize) -> usize {
        if self.masked_lm_prob == 0.0 {
            return 0;
        }
        let share = (length as f64 * self.masked_lm_prob).round_ties_even() as usize;
        share.max(1).min(self.max_predictions_per_seq)
    }

    /// The probability of each span length, from 1 to `ngram`.
    pub fn ngram_probabilities(&self) -> Vec<f64> {
        let weight = |n: usize| 1.0 / if self.favor_shorter_ngram { n } else { self.ngram + 1 - n } as f64;
        let total: f64 = (1..=self.ngram).map(weight).sum();
        (1..=self.ngram).map(|n| weight(n) / total).collect()
    }
}

/// A span that was masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The words that were asked for.
    pub drawn: usize,
    /// The words it got.
    pub words: usize,
}

/// What was masked in a sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masking {
    /// The places to predict, rising.
    pub positions: Vec<u32>,
    /// The tokens that were there.
    pub labels: Vec<u32>,
    /// The masked spans in the order of their choice; permuted ones are not among them.
    pub spans: Vec<Span>,
}

/// Masks samples of one vocabulary.
#[derive(Debug)]
pub(crate) struct Masker {
    options: MaskingOptions,
    special: SpecialTokens,
    word_starts: WordStarts,
    /// Cumulative probabilities of the span lengths.
    cumulative: Vec<f64>,
}

impl Masker {
    /// # Errors
    /// If an option is impossible.
    pub(crate) fn new(
        options: MaskingOptions,
        special: SpecialTokens,
        word_starts: WordStarts,
    ) -> Result<Self, DataError> {
        options.check()?;
        if options.random_ordinary && word_starts.len() < special.ids().len() + 2 {
            let reason = "the vocabulary has no two ordinary pieces";
            return Err(DataError::Option { option: "random_ordinary", value: "true".into(), reason });
        }
        let mut sum = 0.0;
        let add = |probability| {
            sum += probability;
            sum
        };
        let cumulative = options.ngram_probabilities().into_iter().map(add).collect();
        Ok(Self { options, special, word_starts, cumulative })
    }

    /// Masks `[CLS] A [SEP] B [SEP]` in place; `second` is where B begins.
    pub(crate) fn mask(&self, tokens: &mut [u32], second: usize, draws: &mut Draws) -> Masking {
        let mut masking = Masking::default();
        let budget = self.options.predictions(tokens.len());
        if budget == 0 {
            return masking;
        }
        let words = Words::find(tokens, second, &self.word_starts, &self.options);
        let original = tokens.to_vec();
        let mut covered = vec![false; tokens.len()];
        for (span, extent) in self.choose(&words, budget, &mut covered, draws) {
            masking.spans.push(span);
            for position in words.positions(extent) {
                tokens[position] = self.replace(original[position], draws);
            }
        }
        if self.options.permutation {
            let chosen = self.choose(&words, budget, &mut covered, draws);
            let places: Vec<usize> =
                chosen.into_iter().flat_map(|(_, extent)| words.positions(extent)).collect();
            let mut sources = places.clone();
            (0..sources.len()).for_each(|step| draws.shuffle_step(&mut sources, step));
            places.iter().zip(&sources).for_each(|(&place, &source)| tokens[place] = original[source]);
        }
        for position in (0..tokens.len()).filter(|&position| covered[position]) {
            masking.positions.push(position as u32);
            masking.labels.push(original[position]);
        }
        masking
    }

    /// Chooses spans of uncovered tokens, `budget` tokens in all at most, and covers them.
    fn choose(
        &self,
        words: &Words,
        budget: usize,
        covered: &mut [bool],
        draws: &mut Draws,
    ) -> Vec<(Span, Range<usize>)> {
        let mut spans = Vec::new();
        let mut left = budget;
        let mut order: Vec<usize> = (0..words.extents.len()).collect();
        for visited in 0..order.len() {
            if left == 0 {
                break;
            }
            draws.shuffle_step(&mut order, visited);
            let first = order[visited];
            let drawn = self.draw_length(draws);
            let fitting = (1..=drawn.min(words.last(first) - first))
                .rev()
                .map(|n| (n, words.extents[first].start..words.extents[first + n - 1].end))
                .find(|(_, extent)| words.positions(extent.clone()).count() <= left);
            let Some((length, extent)) = fitting else { continue };
            if words.positions(extent.clone()).any(|position| covered[position]) {
                continue;
            }
            for position in words.positions(extent.clone()) {
                covered[position] = true;
                left -= 1;
            }
            spans.push((Span { drawn, words: length }, extent));
        }
        spans
    }

    fn draw_length(&self, draws: &mut Draws) -> usize {
        let unit = draws.unit();
        let below = self.cumulative.iter().take_while(|&&bound| bound <= unit).count();
        (below + 1).min(self.options.ngram)
    }

    fn replace(&self, token: u32, draws: &mut Draws) -> u32 {
        match draws.below(10) {
            0..8 => self.special.mask,
            8 => token,
            _ => loop {
                let piece = draws.below(self.word_starts.len()) as u32;
                if !self.options.random_ordinary || (piece != token && !self.special.ids().contains(&piece)) {
                    return piece;
                }
            },
        }
    }
}

/// The words of a sample.
struct Words {
    /// Each word's tokens; one that continues across the separator has it inside.
    extents: Vec<Range<usize>>,
    /// How many words begin before the separator, if spans end there.
    first_segment: usize,
    separator: usize,
}

impl Words {
    fn find(tokens: &[u32], second: usize, word_starts: &WordStarts, options: &MaskingOptions) -> Self {
        let separator = second - 1;
        let mut words = Self { extents: Vec::with_capacity(tokens.len()), first_segment: 0, separator };
        for position in (1..separator).chain(second..tokens.len() - 1) {
            let own_segment = options.spans_cross_separator || position != second;
            match words.extents.last_mut() {
                Some(word)
                    if options.whole_word && own_segment && !word_starts.contains(tokens[position]) =>
                {
                    word.end = position + 1;
                }
                _ => words.extents.push(position..position + 1),
            }
            if position < separator {
                words.first_segment = words.extents.len();
            }
        }
        if options.spans_cross_separator {
            words.first_segment = 0;
        }
        words
    }

    /// The end of the words that a span beginning with word `first` may use.
    fn last(&self, first: usize) -> usize {
        if first < self.first_segment { self.first_segment } else { self.extents.len() }
    }

    /// The tokens within an extent.
    fn positions(&self, extent: Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let separator = self.separator;
        extent.filter(move |&position| position != separator)
    }
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{SPECIAL, VOCABULARY, words};
    use super::*;
    use crate::draws::Purpose;

    /// `[CLS] A [SEP] B [SEP]` of random ordinary pieces.
    fn sequence(first: usize, second: usize, draws: &mut Draws) -> Vec<u32> {
        let mut tokens: Vec<u32> =
            (0..first + second + 3).map(|_| (5 + draws.below(VOCABULARY - 5)) as u32).collect();
        tokens[0] = SPECIAL.classification;
        tokens[first + 1] = SPECIAL.separator;
        tokens[first + second + 2] = SPECIAL.separator;
        tokens
    }

    fn masked(options: MaskingOptions, index: u64) -> (Vec<u32>, Vec<u32>, Masking) {
        let masker = Masker::new(options, SPECIAL, words()).unwrap();
        let mut draws = Draws::new(8, Purpose::Mask, 0, index);
        let original = sequence(40, 30, &mut draws);
        let mut tokens = original.clone();
        let masking = masker.mask(&mut tokens, 42, &mut draws);
        (original, tokens, masking)
    }

    #[test]
    fn predictions_round_as_python_does() {
        let predictions = |prob, length| {
            MaskingOptions { masked_lm_prob: prob, ..MaskingOptions::default() }.predictions(length)
        };
        assert_eq!(predictions(0.5, 5), 2, "2.5 rounds to even");
        assert_eq!(predictions(0.5, 7), 4, "3.5 rounds to even");
        assert_eq!(predictions(0.15, 3), 1, "at least one");
        assert_eq!(predictions(0.15, 512), 20, "at most max_predictions_per_seq");
        assert_eq!(predictions(0.0, 512), 0);
    }

    #[test]
    fn span_lengths_have_the_papers_probabilities() {
        let close = |options: MaskingOptions, expected: [f64; 3]| {
            options
                .ngram_probabilities()
                .iter()
                .zip(expected)
                .for_each(|(p, e)| assert!((p - e).abs() < 1e-12));
        };
        close(MaskingOptions::default(), [6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]);
        let reversed = MaskingOptions { favor_shorter_ngram: false, ..MaskingOptions::default() };
        close(reversed, [2.0 / 11.0, 3.0 / 11.0, 6.0 / 11.0]);
    }

    #[test]
    fn only_predicted_tokens_change_and_labels_are_the_original() {
        for index in 0..200 {
            let (original, tokens, masking) = masked(MaskingOptions::default(), index);
            let Masking { positions, labels, .. } = masking;
            assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
            assert!((1..=11).contains(&positions.len()), "round(73 · 0.15) = 11");
            for position in 0..original.len() {
                match positions.binary_search(&(position as u32)) {
                    Ok(at) => assert_eq!(labels[at], original[position]),
                    Err(_) => assert_eq!(tokens[position], original[position]),
                }
            }
            assert!(![0, 41, 72].iter().any(|special| positions.contains(special)));
        }
    }

    /// Words are masked whole, within their segment; spans do not touch more than they drew.
    #[test]
    fn words_are_masked_whole() {
        for index in 0..200 {
            let (original, _, masking) = masked(MaskingOptions::default(), index);
            let chosen = |position: usize| masking.positions.contains(&(position as u32));
            let continues = |position: usize| !words().contains(original[position]);
            for position in (2..41).chain(43..72).filter(|&position| continues(position)) {
                assert_eq!(chosen(position), chosen(position - 1), "a word is cut at {position}");
            }
            assert!(masking.spans.iter().all(|span| span.words <= span.drawn && span.drawn <= 3));
        }
        let piecewise = MaskingOptions { whole_word: false, ..MaskingOptions::default() };
        let cut = (0..200).any(|index| {
            let (original, _, masking) = masked(piecewise, index);
            let chosen = |position: u32| masking.positions.contains(&position);
            (2..41).any(|p| !words().contains(original[p as usize]) && chosen(p) != chosen(p - 1))
        });
        assert!(cut, "without whole words some are cut");
    }

    /// With one word in each segment a span of two must cross the separator, or be clipped.
    #[test]
    fn spans_end_with_their_segment_unless_asked() {
        let spans = |spans_cross_separator: bool| -> Vec<usize> {
            let options =
                MaskingOptions { spans_cross_separator, masked_lm_prob: 1.0, ngram: 2, ..Default::default() };
            let masker = Masker::new(options, SPECIAL, words()).unwrap();
            let mask = |index| {
                let mut tokens = vec![SPECIAL.classification, 5, SPECIAL.separator, 6, SPECIAL.separator];
                let masking = masker.mask(&mut tokens, 3, &mut Draws::new(1, Purpose::Mask, 0, index));
                assert!(masking.positions.iter().all(|position| [1, 3].contains(position)));
                masking.spans.into_iter().map(|span| span.words)
            };
            (0..100).flat_map(mask).collect()
        };
        assert!(spans(false).iter().all(|&words| words == 1));
        assert!(spans(true).contains(&2));
    }

    /// The second segment begins inside a word: by default a word of its own, in the reference part of the last one.
    #[test]
    fn a_word_ends_with_its_segment_unless_asked() {
        let tokens = [SPECIAL.classification, 5, SPECIAL.separator, 8, 9, SPECIAL.separator];
        let extents = |spans_cross_separator| {
            let options = MaskingOptions { spans_cross_separator, ..Default::default() };
            Words::find(&tokens, 3, &words(), &options).extents
        };
        assert_eq!(extents(false), [1..2, 3..4, 4..5]);
        assert_eq!(extents(true), [1..4, 4..5]);
    }

    #[test]
    fn permuted_tokens_change_places_among_themselves() {
        let options = MaskingOptions { permutation: true, ..MaskingOptions::default() };
        let mut moved = 0;
        for index in 0..100 {
            let (original, tokens, masking) = masked(options, index);
            assert!(masking.positions.len() > 11 && masking.positions.len() <= 22);
            let (_, masked_only, plain) = masked(MaskingOptions::default(), index);
            let permuted: Vec<usize> = masking
                .positions
                .iter()
                .filter(|position| !plain.positions.contains(position))
                .map(|&position| position as usize)
                .collect();
            let sorted = |ids: &[u32]| {
                let mut ids: Vec<u32> = permuted.iter().map(|&position| ids[position]).collect();
                ids.sort_unstable();
                ids
            };
            assert_eq!(sorted(&tokens), sorted(&original));
            moved += permuted.iter().filter(|&&position| tokens[position] != original[position]).count();
            for &position in &plain.positions {
                assert_eq!(tokens[position as usize], masked_only[position as usize]);
            }
        }
        assert!(moved > 500, "{moved}");
    }

    #[test]
    fn ordinary_replacements_are_ordinary() {
        let options =
            MaskingOptions { random_ordinary: true, masked_lm_prob: 1.0, ..MaskingOptions::default() };
        let mut random = 0;
        for index in 0..500 {
            let (original, tokens, _) = masked(options, index);
            for (&now, &then) in tokens.iter().zip(&original) {
                if now != then && now != SPECIAL.mask {
                    assert!(!SPECIAL.ids().contains(&now));
                    random += 1;
                }
            }
        }
        // A tenth of 20 predictions in each of 500 sequences; standard deviation 30.
        assert!(random > 1000 - 6 * 30 && random < 1000 + 6 * 30, "{random}");
    }

    #[test]
    fn impossible_options_are_refused() {
        let refused = |options| Masker::new(options, SPECIAL, words()).unwrap_err().to_string();
        let base = MaskingOptions::default();
        assert!(refused(MaskingOptions { masked_lm_prob: 1.5, ..base }).starts_with("masked_lm_prob = 1.5"));
        assert!(refused(MaskingOptions { ngram: 0, ..base }).starts_with("ngram = 0"));
        assert!(refused(MaskingOptions { ngram: 17, ..base }).starts_with("ngram = 17"));
    }
}
