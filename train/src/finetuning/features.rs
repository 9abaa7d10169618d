//! Examples as the model is fed them: sequences of token ids, and what is right in terms of their rows.
//!
//! Texts are encoded once and shared: all windows of a passage, and all questions about it, hold ranges of one list of ids.
//! All features of a split are in memory, with four bytes for a token and some hundred bytes besides; the texts of a split that
//! is learnt from are there until it is encoded, those of others stay, for predictions are made of them. That is a fraction of
//! what a small model takes, even of the largest data sets, so features need no files of their own.

use std::ops::Range;
use std::sync::Arc;

use model::AlbertConfig;
use rayon::prelude::*;

use super::error::TaskError;
use super::squad::Passage;
use super::task::{Example, Task};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// How many examples are encoded at a time: enough that those about one passage mostly share its encoding.
const CHUNK: usize = 256;

/// How long sequences may be, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the whole sequence, special tokens included.
    pub length: usize,
    /// Of a question about a passage, whose end is cut off beyond it (64 in the reference).
    pub question: usize,
    /// Of a question with one of its options, whose beginning is cut off beyond it (128 in the reference).
    pub option: usize,
    /// From the beginning of one window of a long passage to that of the next (128 in the reference).
    pub stride: usize,
}

impl Limits {
    /// The limits of the reference for sequences of this length.
    pub fn new(length: usize) -> Self {
        Self { length, question: 64, option: 128, stride: 128 }
    }
}

/// A stretch of token ids that may be shared with other sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    all: Arc<[u32]>,
    range: Range<usize>,
}

impl Ids {
    /// A part of `all`.
    ///
    /// # Panics
    /// If `range` goes beyond it.
    pub fn new(all: Arc<[u32]>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= all.len(), "{range:?} of {} ids", all.len());
        Self { all, range }
    }

    /// The ids themselves.
    pub fn as_slice(&self) -> &[u32] {
        &self.all[self.range.clone()]
    }
}

impl From<Vec<u32>> for Ids {
    fn from(ids: Vec<u32>) -> Self {
        Self { range: 0..ids.len(), all: ids.into() }
    }
}

/// One sequence: `[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`. Its rows are counted from `[CLS]`, row 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The first segment.
    pub first: Ids,
    /// The second, if there are two.
    pub second: Option<Ids>,
}

impl Sequence {
    /// Two segments, cut at their ends to `length` tokens: as long as they are too long together, the longer one loses its
    /// last token, the second if they are equal (the reference's rule).
    pub fn pair(first: Vec<u32>, second: Option<Vec<u32>>, length: usize) -> Self {
        let Some(mut second) = second else {
            let mut first = first;
            first.truncate(length.saturating_sub(2));
            return Self { first: first.into(), second: None };
        };
        let mut first = first;
        let room = length.saturating_sub(3);
        let excess = (first.len() + second.len()).saturating_sub(room);
        for _ in 0..excess {
            if first.len() > second.len() {
                first.pop()
            } else {
                second.pop()
            };
        }
        Self { first: first.into(), second: Some(second.into()) }
    }

    /// The number of tokens, special ones included.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        let second = self.second.as_ref().map_or(0, |ids| ids.range.len() + 1);
        2 + self.first.range.len() + second
    }

    /// The rows of the second segment without its `[SEP]`; none where there is one segment.
    pub fn second_rows(&self) -> Range<usize> {
        let start = self.first.range.len() + 2;
        self.second.as_ref().map_or(0..0, |ids| start..start + ids.range.len())
    }

    /// Appends the token ids and the segment of each (0 through the first `[SEP]`, then 1).
    pub fn push(&self, special: &SpecialTokens, ids: &mut Vec<i32>, segments: &mut Vec<i32>) {
        let start = ids.len();
        let mut extend = |tokens: &[u32]| ids.extend(tokens.iter().map(|&id| id as i32));
        extend(&[special.classification]);
        extend(self.first.as_slice());
        extend(&[special.separator]);
        let first_rows = self.first.range.len() + 2;
        if let Some(second) = &self.second {
            extend(second.as_slice());
            extend(&[special.separator]);
        }
        segments.extend((0..ids.len() - start).map(|row| i32::from(row >= first_rows)));
    }
}

/// The part of a passage that stands in a sequence as its second segment.
#[derive(Clone, Debug)]
pub struct Window {
    /// The whole passage, encoded.
    pub passage: Arc<Passage>,
    /// Which of its pieces are in the sequence.
    pub pieces: Range<usize>,
    /// Those of them that no other window of the passage shows with more context on both sides: answers begin in these.
    pub fullest: Range<usize>,
}

/// What is right, in terms of a feature's rows.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureTarget {
    /// The class, or the option.
    Class(u32),
    /// The number.
    Value(f32),
    /// The class at each of [`Feature::rows`].
    Classes(Vec<u32>),
    /// The first and last row of the answer; both 0, which is `[CLS]`, where this sequence does not hold it.
    Span {
        /// The first row.
        start: usize,
        /// The last row.
        end: usize,
    },
}

/// What the model is shown at once.
#[derive(Clone, Debug)]
pub struct Feature {
    /// The number of the example in its split.
    pub example: usize,
    /// One sequence, or one for each option.
    pub sequences: Vec<Sequence>,
    /// Of a sentence whose words get classes: the row of each word's first piece. Words beyond the end have none.
    pub rows: Vec<u32>,
    /// Of a question: the part of the passage.
    pub window: Option<Window>,
    /// What is right, if that is known.
    pub target: Option<FeatureTarget>,
    /// Whether something of the example is shown in no feature, for want of room.
    pub is_cut: bool,
}

impl Feature {
    /// A feature of one whole sequence without rows or window.
    pub fn of(example: usize, sequence: Sequence, target: Option<FeatureTarget>) -> Self {
        Self { example, sequences: vec![sequence], rows: Vec::new(), window: None, target, is_cut: false }
    }

    /// The number of tokens of all its sequences.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Sequence::len).sum()
    }
}

/// The features of all examples in their order, made on all cores; `None` if `stop` said to stop.
///
/// They are a pure function of the examples, the tokenizer and the limits, whatever the number of threads.
pub fn build(
    task: &dyn Task,
    examples: &[Example],
    tokenizer: &Tokenizer,
    limits: &Limits,
    stop: &(dyn Fn() -> bool + Sync),
) -> Option<Vec<Feature>> {
    let chunks: Option<Vec<Vec<Feature>>> = (examples.par_chunks(CHUNK).enumerate())
        .map_init(
            || tokenizer.encoder(),
            |encoder, (index, chunk)| {
                let mut features = Vec::with_capacity(chunk.len());
                (!stop()).then(|| task.features(chunk, index * CHUNK, encoder, limits, &mut features))?;
                features.shrink_to_fit();
                Some(features)
            },
        )
        .collect();
    let chunks = chunks?;
    // Room for all at once: a list that grows is there twice while it does.
    let mut features = Vec::with_capacity(chunks.iter().map(Vec::len).sum());
    chunks.into_iter().for_each(|chunk| features.extend(chunk));
    Some(features)
}

/// Refuses features of two segments where the model tells none apart.
pub(super) fn expect_segments(config: &AlbertConfig, features: &[Feature]) -> Result<(), TaskError> {
    let mut sequences = features.iter().flat_map(|feature| &feature.sequences);
    match config.type_vocab_size < 2 && sequences.any(|sequence| sequence.second.is_some()) {
        true => Err(TaskError::OneSegment),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: SpecialTokens =
        SpecialTokens { pad: 0, unknown: 1, classification: 2, separator: 3, mask: 4 };

    fn pair(first: usize, second: usize, length: usize) -> (usize, usize) {
        let ids = |count: usize| (10..10 + count as u32).collect::<Vec<_>>();
        let sequence = Sequence::pair(ids(first), Some(ids(second)), length);
        (sequence.first.as_slice().len(), sequence.second.expect("two").as_slice().len())
    }

    #[test]
    fn the_longer_segment_is_cut_and_of_equal_ones_the_second() {
        assert_eq!(pair(3, 3, 9), (3, 3));
        assert_eq!(pair(3, 3, 8), (3, 2));
        assert_eq!(pair(3, 3, 7), (2, 2));
        assert_eq!(pair(9, 2, 9), (4, 2));
        assert_eq!(pair(2, 9, 9), (2, 4));
        assert_eq!(pair(0, 9, 9), (0, 6));
        let single = Sequence::pair(vec![7; 9], None, 5);
        assert_eq!((single.len(), single.second_rows()), (5, 0..0));
    }

    #[test]
    fn a_sequence_has_its_special_tokens_and_segments() {
        let sequence = Sequence::pair(vec![10, 11], Some(vec![12]), 512);
        let (mut ids, mut segments) = (vec![99], vec![99]);
        sequence.push(&SPECIAL, &mut ids, &mut segments);
        assert_eq!(ids, [99, 2, 10, 11, 3, 12, 3]);
        assert_eq!(segments, [99, 0, 0, 0, 0, 1, 1]);
        assert_eq!((sequence.len(), sequence.second_rows()), (6, 4..5));
    }
}
