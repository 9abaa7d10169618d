//! What samples look like on the whole: the numbers a person checks before a long run.

use std::fmt;

use rayon::prelude::*;
use serde::Serialize;

use super::dataset::Dataset;
use super::example::Example;
use super::masking::LONGEST_NGRAM;
use super::sampler::Epoch;
use crate::tokenizer::SpecialTokens;

/// Sums over samples; shares are computed from them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// Samples counted.
    pub samples: u64,
    /// Their tokens, special ones included.
    pub tokens: u64,
    /// Tokens to predict.
    pub predictions: u64,
    /// Of these, shown as `[MASK]`.
    pub shown_as_mask: u64,
    /// Of these, shown as they are.
    pub shown_as_is: u64,
    /// Masked spans by the number of words drawn, from 1.
    pub drawn_ngrams: [u64; LONGEST_NGRAM],
    /// Masked spans by the number of words they got, from 1.
    pub ngrams: [u64; LONGEST_NGRAM],
    /// Samples labelled as swapped.
    pub swapped: u64,
    /// Samples cut from a single sentence.
    pub single_segment: u64,
    /// Samples whose second segment is from elsewhere.
    pub random_next: u64,
    /// Samples of passes that aim at a random length.
    pub short: u64,
    /// Tokens cut off because the pair was too long.
    pub truncated: u64,
    /// Tokens that are `<unk>`.
    pub unknown: u64,
}

impl Statistics {
    /// Those of the first `samples` samples of an epoch (all, where it has fewer), on all cores.
    pub fn collect(dataset: &Dataset, epoch: &Epoch, samples: u64) -> Self {
        let special = dataset.special();
        (0..samples.min(epoch.samples()))
            .into_par_iter()
            .fold(Self::default, |mut sum, index| {
                sum.add(&dataset.example(epoch, index), special);
                sum
            })
            .reduce(Self::default, Self::merge)
    }

    /// Counts one example.
    pub fn add(&mut self, example: &Example, special: SpecialTokens) {
        let Example { token_ids, masking, origin, .. } = example;
        self.samples += 1;
        self.tokens += token_ids.len() as u64;
        self.predictions += masking.positions.len() as u64;
        let mut unknown = token_ids.iter().filter(|&&id| id == special.unknown).count() as u64;
        for (&position, &label) in masking.positions.iter().zip(&masking.labels) {
            let shown = token_ids[position as usize];
            self.shown_as_mask += u64::from(shown == special.mask);
            self.shown_as_is += u64::from(shown == label);
            unknown += u64::from(label == special.unknown);
            unknown -= u64::from(shown == special.unknown);
        }
        for span in &masking.spans {
            self.drawn_ngrams[span.drawn - 1] += 1;
            self.ngrams[span.words - 1] += 1;
        }
        self.swapped += u64::from(example.sentence_order_label);
        self.single_segment += u64::from(origin.single_segment);
        self.random_next += u64::from(origin.random_next);
        self.short += u64::from(origin.short);
        self.truncated += origin.truncated as u64;
        self.unknown += unknown;
    }

    /// The sum of both.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        let Self {
            samples,
            tokens,
            predictions,
            shown_as_mask,
            shown_as_is,
            drawn_ngrams,
            ngrams,
            swapped,
            single_segment,
            random_next,
            short,
            truncated,
            unknown,
        } = other;
        self.samples += samples;
        self.tokens += tokens;
        self.predictions += predictions;
        self.shown_as_mask += shown_as_mask;
        self.shown_as_is += shown_as_is;
        self.drawn_ngrams.iter_mut().zip(drawn_ngrams).for_each(|(sum, more)| *sum += more);
        self.ngrams.iter_mut().zip(ngrams).for_each(|(sum, more)| *sum += more);
        self.swapped += swapped;
        self.single_segment += single_segment;
        self.random_next += random_next;
        self.short += short;
        self.truncated += truncated;
        self.unknown += unknown;
        self
    }

    /// The share of tokens that are to be predicted.
    pub fn mask_rate(&self) -> f64 {
        share(self.predictions, self.tokens)
    }

    /// The share of each span length, in words, among the masked spans.
    pub fn ngram_shares(&self) -> [f64; LONGEST_NGRAM] {
        let spans = self.ngrams.iter().sum();
        self.ngrams.map(|count| share(count, spans))
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part, whole| format!("{:.2}%", 100.0 * share(part, whole));
        writeln!(f, "samples           {}", self.samples)?;
        writeln!(f, "mean length       {:.1} tokens", share(self.tokens, self.samples))?;
        writeln!(
            f,
            "masked            {} of the tokens ({} shown as [MASK], {} as they are, {} as another piece)",
            percent(self.predictions, self.tokens),
            percent(self.shown_as_mask, self.predictions),
            percent(self.shown_as_is, self.predictions),
            percent(self.predictions.saturating_sub(self.shown_as_mask + self.shown_as_is), self.predictions),
        )?;
        let longest = self.ngrams.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        let shares: Vec<String> = self.ngram_shares()[..longest]
            .iter()
            .enumerate()
            .map(|(n, share)| format!("{}: {:.2}%", n + 1, 100.0 * share))
            .collect();
        writeln!(f, "spans by words    {}", shares.join(", "))?;
        writeln!(f, "swapped           {}", percent(self.swapped, self.samples))?;
        writeln!(f, "single sentences  {}", percent(self.single_segment, self.samples))?;
        if self.random_next > 0 {
            writeln!(f, "random seconds    {}", percent(self.random_next, self.samples))?;
        }
        writeln!(f, "of short passes   {}", percent(self.short, self.samples))?;
        writeln!(f, "cut off           {:.2} tokens a sample", share(self.truncated, self.samples))?;
        write!(f, "unknown           {} of the tokens", percent(self.unknown, self.tokens))
    }
}
