//! The sequence of masked examples that a run sees.

use std::sync::Arc;

use super::example::Example;
use super::masking::{Masker, MaskingOptions};
use super::recorded::Recorded;
use super::sampler::{Epoch, SampleOptions, Sampler};
use super::words::WordStarts;
use crate::data::error::DataError;
use crate::data::shards::{Corpus, Selection};
use crate::draws::{Draws, Purpose};
use crate::tokenizer::SpecialTokens;
use crate::training::Position;

/// Examples as a pure function of (seed, epoch, index).
#[derive(Debug)]
pub struct Dataset(Source);

/// Where examples come from.
#[derive(Debug)]
enum Source {
    /// From text, cut and masked anew in each epoch.
    Text(Sampler, Masker),
    /// As somebody made them before.
    Recorded(Recorded),
}

impl Dataset {
    /// The examples of the selected documents of a corpus.
    ///
    /// # Errors
    /// If an option is impossible, or the documents yield no sample.
    pub fn new(
        corpus: Arc<Corpus>,
        word_starts: WordStarts,
        selection: Selection,
        samples: SampleOptions,
        masking: MaskingOptions,
        seed: u64,
    ) -> Result<Self, DataError> {
        let masker = Masker::new(masking, corpus.special(), word_starts.clone())?;
        let sampler = Sampler::new(corpus, word_starts, selection, samples, seed)?;
        Ok(Self(Source::Text(sampler, masker)))
    }

    /// Samples that were made before.
    pub fn recorded(recorded: Recorded) -> Self {
        Self(Source::Recorded(recorded))
    }

    /// Where its pieces of text come from; `None` for samples that were made before.
    pub fn sampler(&self) -> Option<&Sampler> {
        match &self.0 {
            Source::Text(sampler, _) => Some(sampler),
            Source::Recorded(_) => None,
        }
    }

    /// The special tokens of its vocabulary.
    pub fn special(&self) -> SpecialTokens {
        match &self.0 {
            Source::Text(sampler, _) => sampler.corpus().special(),
            Source::Recorded(recorded) => recorded.special(),
        }
    }

    /// About how many tokens a pass over it has.
    pub fn tokens(&self) -> u64 {
        /// Samples that are looked at where they are what there is.
        const SAMPLES: u64 = 1000;
        match &self.0 {
            Source::Text(sampler, _) => sampler.tokens(),
            Source::Recorded(recorded) => {
                let epoch = recorded.epoch(0);
                let seen = epoch.samples().min(SAMPLES);
                let tokens: usize =
                    (0..seen).map(|index| recorded.example(&epoch, index).token_ids.len()).sum();
                (tokens as f64 / seen as f64 * epoch.samples() as f64) as u64
            }
        }
    }

    /// How often each of `vocabulary_size` pieces is in its text; of samples that were made before, in those that are masked
    /// first.
    pub fn piece_counts(&self, vocabulary_size: usize) -> Vec<u64> {
        /// Records that are looked at: enough for the pieces that are common.
        const RECORDS: u64 = 20_000;
        let mut counts = vec![0; vocabulary_size];
        let mut add = |id: usize| {
            if let Some(count) = counts.get_mut(id) {
                *count += 1;
            }
        };
        match &self.0 {
            Source::Text(sampler, _) => sampler.for_each_piece(|id| add(id.into())),
            Source::Recorded(recorded) => {
                let epoch = recorded.epoch(0);
                for index in 0..epoch.samples().min(RECORDS) {
                    recorded.example(&epoch, index).masking.labels.iter().for_each(|&id| add(id as usize));
                }
            }
        }
        counts
    }

    /// Prepares an epoch; see [`Sampler::epoch`].
    pub fn epoch(&self, number: u32) -> Epoch {
        match &self.0 {
            Source::Text(sampler, _) => sampler.epoch(number),
            Source::Recorded(recorded) => recorded.epoch(number),
        }
    }

    /// Example `index` of `epoch`.
    ///
    /// # Panics
    /// If the epoch has no such example.
    pub fn example(&self, epoch: &Epoch, index: u64) -> Example {
        let (sampler, masker) = match &self.0 {
            Source::Text(sampler, masker) => (sampler, masker),
            Source::Recorded(recorded) => return recorded.example(epoch, index),
        };
        let mut example = Example::assemble(sampler.pair(epoch, index), sampler.corpus().special());
        let mut draws =
            Draws::new(sampler.seed(), Purpose::Mask, epoch.number(), example.origin.first_sentence);
        example.masking = masker.mask(&mut example.token_ids, example.second_segment, &mut draws);
        example
    }
}

/// Reads a dataset from a position on, epoch after epoch, without end.
#[derive(Debug)]
pub struct Reader {
    dataset: Arc<Dataset>,
    epoch: Epoch,
    index: u64,
}

impl Reader {
    /// A reader that begins at `position`; this costs the same wherever it is.
    pub fn new(dataset: Arc<Dataset>, position: Position) -> Self {
        Self { epoch: dataset.epoch(position.epoch), index: position.index, dataset }
    }

    /// The position of the next example.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch.number(), index: self.index }
    }

    /// Passes over the next `count` examples without making them.
    pub fn skip(&mut self, mut count: u64) {
        loop {
            let left = self.epoch.samples() - self.index;
            if count < left {
                self.index += count;
                return;
            }
            count -= left;
            self.epoch = self.dataset.epoch(self.epoch.number().wrapping_add(1));
            self.index = 0;
        }
    }

    /// The next `count` examples.
    pub fn examples(&mut self, count: usize) -> Vec<Example> {
        (0..count).map(|_| self.next_example()).collect()
    }

    /// The next example. There always is one: epoch 0 was found to have some, and every epoch draws its lengths from
    /// the same distribution, so that an empty one (possible in a text of a few sentences) is followed by another.
    pub fn next_example(&mut self) -> Example {
        while self.index >= self.epoch.samples() {
            self.epoch = self.dataset.epoch(self.epoch.number().wrapping_add(1));
            self.index = 0;
        }
        self.index += 1;
        self.dataset.example(&self.epoch, self.index - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::{self, Shape};
    use super::*;

    /// Reading on from any position gives what uninterrupted reading gives, across epochs.
    #[test]
    fn resuming_anywhere_changes_nothing() {
        let dataset = Arc::new(synthetic::dataset(&Shape::default(), 64, 7));
        let mut reader = Reader::new(dataset.clone(), Position::default());
        let count = (dataset.epoch(0).samples() * 5 / 2) as usize;
        let all: Vec<(Position, Example)> =
            (0..count).map(|_| (reader.position(), reader.next_example())).collect();
        assert!(all.iter().any(|(position, _)| position.epoch == 2));
        for start in (0..count).step_by(37) {
            let end = count.min(start + 5);
            let resumed = Reader::new(dataset.clone(), all[start].0).examples(end - start);
            assert!(resumed.iter().eq(all[start..end].iter().map(|(_, example)| example)));
        }
    }

    /// Passing over examples leads to where reading them does.
    #[test]
    fn skipping_is_reading_without_looking() {
        let dataset = Arc::new(synthetic::dataset(&Shape::default(), 64, 7));
        let samples = dataset.epoch(0).samples();
        for count in [0, 1, samples - 1, samples, samples + 1, 3 * samples] {
            let mut skipping = Reader::new(dataset.clone(), Position::default());
            let mut reading = Reader::new(dataset.clone(), Position::default());
            skipping.skip(count);
            reading.examples(count as usize);
            assert_eq!(skipping.next_example(), reading.next_example(), "after {count}");
        }
    }

    #[test]
    fn the_seed_decides_everything() {
        let examples = |seed| -> Vec<Example> {
            let dataset = Arc::new(synthetic::dataset(&Shape::default(), 64, seed));
            Reader::new(dataset, Position::default()).examples(30)
        };
        assert_eq!(examples(1), examples(1));
        assert_ne!(examples(1), examples(2));
    }

    #[test]
    fn held_out_documents_are_never_trained_on() {
        let corpus = Shape::default().corpus();
        let documents = |selection| {
            let options = (synthetic::samples(64), MaskingOptions::default());
            let dataset =
                Dataset::new(corpus.clone(), synthetic::words(), selection, options.0, options.1, 7).unwrap();
            let epoch = dataset.epoch(0);
            (0..epoch.samples())
                .map(|index| dataset.example(&epoch, index).origin.document)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let held_out = documents(Selection::HeldOut { every: 10 });
        assert_eq!(held_out.len(), 5);
        assert!(documents(Selection::Training { every: 10 }).is_disjoint(&held_out));
    }
}
