//! What an encoder is given: padded matrices of token ids.

use std::ops::Range;

use super::error::InferenceError;
use crate::data::DataError;
use crate::pretraining::{Batch, Padded};
use crate::tokenizer::SpecialTokens;

/// Token ids of sequences in matrices, row-major, as other programs write them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// Columns of each matrix.
    pub length: usize,
    /// `[B, S]`
    pub input_ids: Vec<i32>,
    /// `[B, S]`, 0 on padding.
    pub attention_mask: Vec<i32>,
    /// `[B, S]`
    pub token_type_ids: Vec<i32>,
    /// `[B, S]`; `None` for 0, 1, 2, … in each row, padding included.
    pub position_ids: Option<Vec<i32>>,
    /// Tensors of the file that the sequences come from which say nothing to the model.
    pub unused: Vec<String>,
}

impl Sequences {
    /// Puts texts' ids between special pieces: `[CLS] A [SEP]`, or `[CLS] A [SEP] B [SEP]`.
    pub fn of(texts: &[(Vec<u32>, Option<Vec<u32>>)], special: SpecialTokens) -> Self {
        let tokens = |(first, second): &(Vec<u32>, Option<Vec<u32>>)| {
            2 + first.len() + second.as_ref().map_or(0, |second| second.len() + 1)
        };
        let length = texts.iter().map(tokens).max().unwrap_or(0);
        let mut sequences = Self { length, ..Self::default() };
        for text in texts {
            let (first, second) = text;
            let mut push = |id: u32, mask: i32, segment: i32| {
                sequences.input_ids.push(id as i32);
                sequences.attention_mask.push(mask);
                sequences.token_type_ids.push(segment);
            };
            push(special.classification, 1, 0);
            first.iter().for_each(|&id| push(id, 1, 0));
            push(special.separator, 1, 0);
            if let Some(second) = second {
                second.iter().for_each(|&id| push(id, 1, 1));
                push(special.separator, 1, 1);
            }
            (tokens(text)..length).for_each(|_| push(special.pad, 0, 0));
        }
        sequences
    }

    /// Number of sequences.
    pub fn count(&self) -> usize {
        self.input_ids.len().checked_div(self.length).unwrap_or(0)
    }

    /// The cells of `attention_mask` that are not padding, in the order of a packed batch's rows.
    pub(super) fn cells(&self, sequences: Range<usize>) -> impl Iterator<Item = usize> {
        let cells = sequences.start * self.length..sequences.end * self.length;
        cells.filter(|&cell| self.attention_mask[cell] != 0)
    }

    /// Refuses a sequence that reaches beyond the model's positions; `name` is what it is called.
    pub(super) fn check_length(
        &self,
        positions: usize,
        name: impl Fn(usize) -> String,
    ) -> Result<(), InferenceError> {
        for (sequence, mask) in self.attention_mask.chunks(self.length.max(1)).enumerate() {
            let found = mask.iter().rposition(|&mask| mask != 0).map_or(0, |last| last + 1);
            if found > positions {
                return Err(InferenceError::TooLong { what: name(sequence), found, positions });
            }
        }
        Ok(())
    }

    /// Refuses a sequence whose first token is padding: it is the one that stands for its sequence.
    pub(super) fn check_begin(&self) -> Result<(), InferenceError> {
        let mut begins = self.attention_mask.iter().step_by(self.length.max(1));
        match begins.position(|&mask| mask == 0) {
            Some(sequence) => Err(InferenceError::LeftPadding { sequence }),
            None => Ok(()),
        }
    }

    /// Some of the sequences, packed.
    pub(super) fn batch(&self, sequences: Range<usize>) -> Result<Batch, DataError> {
        let cells = sequences.start * self.length..sequences.end * self.length;
        let mut batch = Batch::from_padded(&Padded {
            sequence_length: self.length,
            input_ids: &self.input_ids[cells.clone()],
            attention_mask: &self.attention_mask[cells.clone()],
            token_type_ids: &self.token_type_ids[cells],
            ..Padded::default()
        })?;
        if let Some(positions) = &self.position_ids {
            batch.position_ids = self.cells(sequences).map(|cell| positions[cell]).collect();
        }
        Ok(batch)
    }
}
