//! Whether samples have about as many masked words as the settings ask for. A word of more pieces than are predicted of a
//! sample is never masked whole, and text may have no others: DNA, base64, whatever is written without spaces.

use rayon::prelude::*;

use super::dataset::Dataset;
use super::masking::MaskingOptions;
use crate::data::error::DataError;

/// Samples that are looked at.
const SAMPLES: u64 = 1000;
/// A smaller share of what is asked for is told.
const LEAST: f64 = 0.5;
/// A smaller share is none: what is masked then are ends of words that were cut off.
const NONE: f64 = 0.02;
/// What to do about words that are too long.
const ADVICE: &str = "words of more pieces than are predicted of a sample are never masked (--whole-word false masks \
    single pieces; --max-seq-length and --max-predictions-per-seq say how many are predicted)";

/// Tokens of some samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Masked {
    samples: u64,
    tokens: usize,
    masked: usize,
    /// To be masked, as far as that is known: of samples that were masked before it is not.
    asked: usize,
    is_text: bool,
}

impl Masked {
    /// Of the first samples of `dataset`, `most` at most.
    pub fn of(dataset: &Dataset, most: u64, options: MaskingOptions) -> Self {
        let epoch = dataset.epoch(0);
        let samples = epoch.samples().min(most).min(SAMPLES);
        let is_text = dataset.sampler().is_some();
        let times = if options.permutation { 2 } else { 1 };
        let of_sample = |index| {
            let example = dataset.example(&epoch, index);
            let length = example.token_ids.len();
            let asked = if is_text { times * options.predictions(length) } else { 0 };
            [length, example.masking.positions.len(), asked]
        };
        let add = |sum: [usize; 3], more: [usize; 3]| std::array::from_fn(|part| sum[part] + more[part]);
        let [tokens, masked, asked] = (0..samples).into_par_iter().map(of_sample).reduce(|| [0; 3], add);
        Self { samples, tokens, masked, asked, is_text }
    }

    /// Refuses the `name` data where nothing is masked.
    ///
    /// # Errors
    /// If there is nothing to learn from, or to measure with.
    pub fn expect_some(self, name: &'static str) -> Result<(), DataError> {
        let Self { samples, tokens, masked, is_text, .. } = self;
        if masked > 0 && !self.is_below(NONE) {
            return Ok(());
        }
        let reason = if is_text { ADVICE } else { "they were made so" };
        Err(DataError::NothingMasked { name, samples, tokens, masked, reason })
    }

    /// Whether a smaller share is masked than `share` of what is asked for.
    fn is_below(self, share: f64) -> bool {
        (self.masked as f64) < share * self.asked as f64
    }

    /// What a person is told of the `name` data where far less is masked than is asked for.
    pub fn warning(self, name: &str) -> Option<String> {
        let share = |tokens: usize| 100.0 * tokens as f64 / self.tokens as f64;
        self.is_below(LEAST).then(|| {
            format!(
                "warning: {:.2}% of the tokens of the {name} data are masked, where {:.2}% are asked for: {ADVICE}",
                share(self.masked),
                share(self.asked)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{self, Shape};
    use super::super::words::WordStarts;
    use super::*;
    use crate::data::shards::Selection;

    /// Of a text in which one piece of `word` begins a word.
    fn masked(word: u32, whole_word: bool, permutation: bool) -> Masked {
        let starts = WordStarts::new(synthetic::VOCABULARY, |id| id % word == 0);
        let options = MaskingOptions { whole_word, permutation, ..MaskingOptions::default() };
        let samples = synthetic::samples(32);
        let corpus = Shape::default().corpus();
        let dataset = Dataset::new(corpus, starts, Selection::All, samples, options, 7).unwrap();
        Masked::of(&dataset, 100, options)
    }

    #[test]
    fn words_that_are_too_long_are_told() {
        let usual = masked(2, true, false);
        assert_eq!((usual.samples, usual.warning("training")), (100, None));
        assert!(usual.asked >= usual.masked && usual.asked < usual.tokens / 5, "{usual:?}");
        // Words of 40 pieces on average, where 5 are predicted.
        let few = masked(40, true, false);
        few.expect_some("training").unwrap();
        let warning = few.warning("training").unwrap();
        assert!(
            warning.contains("of the training data are masked") && warning.contains("--whole-word false")
        );
        // A sample of two segments has two words.
        let none = masked(synthetic::VOCABULARY as u32, true, false);
        assert!(none.masked < few.masked, "{none:?} {few:?}");
        let pieces = masked(40, false, false);
        assert_eq!((pieces.masked, pieces.warning("training")), (pieces.asked, None));
        let permuted = masked(2, true, true);
        assert_eq!((permuted.asked, permuted.warning("training")), (2 * usual.asked, None));
    }

    #[test]
    fn nothing_masked_is_refused() {
        let nothing = Masked { samples: 7, tokens: 100, masked: 0, asked: 15, is_text: true };
        let error = |masked: Masked| masked.expect_some("held-out").unwrap_err().to_string();
        assert!(error(nothing).contains("--whole-word false"), "{}", error(nothing));
        assert!(
            error(nothing).starts_with("0 of the 100 tokens in 7 samples of the held-out data are masked")
        );
        let next_to_nothing = Masked { tokens: 1000, masked: 2, asked: 150, ..nothing };
        assert!(error(next_to_nothing).contains("--whole-word false"));
        Masked { masked: 3, ..next_to_nothing }.expect_some("held-out").unwrap();
        let made_before = Masked { asked: 0, is_text: false, ..nothing };
        assert!(!error(made_before).contains("--whole-word"), "{}", error(made_before));
    }
}
