//! Packed batches: what the model is fed.

use model::Capacity;

use super::example::Example;
use crate::data::error::DataError;
use crate::training::Inputs;

/// The reference divides the masked loss by the sum of the weights plus this (`model/ALBERT.md`, Loss).
const EPSILON: f32 = 1e-5;

/// How an optimisation batch is divided into micro-batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Division {
    /// So many sequences each, and what is left over.
    Sequences(usize),
    /// As many sequences as there is room for, whatever their lengths.
    Filled(Capacity),
}

impl Division {
    /// Divides examples into parts that follow one another.
    pub fn of<'a>(&self, examples: &'a [Example]) -> Vec<&'a [Example]> {
        match *self {
            Self::Sequences(sequences) => examples.chunks(sequences).collect(),
            Self::Filled(room) => {
                // As few as there can be, and all of about one size: so the last one is not computed for a few sequences, and lengths
                // are much the same from step to step. The smallest budget that makes no more of them is looked for.
                let fewest = fill(examples, room).len();
                let (mut least, mut enough) = (0, room.tokens);
                while least < enough {
                    let tokens = usize::midpoint(least, enough);
                    match fill(examples, Capacity { tokens, ..room }).len() <= fewest {
                        true => enough = tokens,
                        false => least = tokens + 1,
                    }
                }
                fill(examples, Capacity { tokens: enough, ..room })
            }
        }
    }
}

/// Fills one part after the other; what has no room at all is a part of its own.
fn fill(examples: &[Example], room: Capacity) -> Vec<&[Example]> {
    let (mut parts, mut first) = (Vec::new(), 0);
    let mut used = Capacity { tokens: 0, sequences: 0, masked: 0 };
    for (index, example) in examples.iter().enumerate() {
        let with = Capacity {
            tokens: used.tokens + example.token_ids.len(),
            sequences: used.sequences + 1,
            masked: used.masked + example.masking.positions.len(),
        };
        let fits =
            with.tokens <= room.tokens && with.sequences <= room.sequences && with.masked <= room.masked;
        used = if fits || first == index {
            with
        } else {
            parts.push(&examples[first..index]);
            first = index;
            Capacity {
                tokens: example.token_ids.len(),
                sequences: 1,
                masked: example.masking.positions.len(),
            }
        };
    }
    if first < examples.len() {
        parts.push(&examples[first..]);
    }
    parts
}

/// Sequences one after the other, one row per real token, no padding. All vectors are ready to be bound as inputs.
///
/// The weights are normalised over the whole *optimisation batch*: the loss is Σ weight · nll, and the micro-batches
/// of one optimisation batch add up to it exactly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// `[T]` token ids.
    pub token_ids: Vec<i32>,
    /// `[T]` positions within each sequence.
    pub position_ids: Vec<i32>,
    /// `[T]` segments: 0 through the first `[SEP]`, then 1.
    pub segment_ids: Vec<i32>,
    /// `[B + 1]` the row at which each sequence begins, then T.
    pub offsets: Vec<i32>,
    /// `[T]` rows ordered by token id, equal ids by row: the order in which the embedding gradient is summed.
    pub token_order: Vec<i32>,
    /// `[M]` rows to predict.
    pub masked_rows: Vec<i32>,
    /// `[M]` the tokens that were there.
    pub masked_labels: Vec<i32>,
    /// `[M]` weights of the predictions.
    pub masked_weights: Vec<f32>,
    /// `[B]` the row of each sequence's first token.
    pub first_rows: Vec<i32>,
    /// `[B]` 1 where the segments changed places.
    pub sentence_order_labels: Vec<i32>,
    /// `[B]` weights of the sequences.
    pub sentence_order_weights: Vec<f32>,
}

/// What the weights of an optimisation batch are divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalizers {
    /// Σ w + 1e-5 over all predictions.
    pub masked: f32,
    /// The number of sequences.
    pub sequences: f32,
}

impl Normalizers {
    /// Those of an optimisation batch made of these examples.
    pub fn of(examples: &[Example]) -> Self {
        let predictions: usize = examples.iter().map(|example| example.masking.positions.len()).sum();
        Self { masked: predictions as f32 + EPSILON, sequences: examples.len() as f32 }
    }
}

impl Batch {
    /// Packs examples that are a part, or all, of the optimisation batch that `normalizers` belong to.
    pub fn pack(examples: &[Example], normalizers: Normalizers) -> Self {
        let mut batch = Self { offsets: vec![0], ..Self::default() };
        for example in examples {
            let first_row = batch.token_ids.len() as i32;
            let rows = example.token_ids.len();
            batch.token_ids.extend(example.token_ids.iter().map(|&id| id as i32));
            batch.position_ids.extend(0..rows as i32);
            batch.segment_ids.extend((0..rows).map(|row| i32::from(row >= example.second_segment)));
            batch.offsets.push(first_row + rows as i32);
            batch.masked_rows.extend(example.masking.positions.iter().map(|&at| first_row + at as i32));
            batch.masked_labels.extend(example.masking.labels.iter().map(|&id| id as i32));
            batch.first_rows.push(first_row);
            batch.sentence_order_labels.push(example.sentence_order_label as i32);
        }
        batch.masked_weights = vec![1.0 / normalizers.masked; batch.masked_rows.len()];
        batch.sentence_order_weights = vec![1.0 / normalizers.sequences; examples.len()];
        batch.token_order = order(&batch.token_ids);
        batch
    }

    /// Packs the rows of padded matrices where `attention_mask` is not 0. Rows keep the column as their position, and
    /// predictions of weight 0 are left out. The weights are normalised over this batch alone.
    ///
    /// # Errors
    /// If the shapes do not agree, a sequence is empty, or a prediction lies on padding.
    pub fn from_padded(padded: &Padded<'_>) -> Result<Self, DataError> {
        let Padded { sequence_length: columns, input_ids, attention_mask, token_type_ids, .. } = *padded;
        let sequences = padded.check()?;
        let predictions = padded.masked_positions.len() / sequences.max(1);
        let normalizers = Normalizers {
            masked: padded.masked_weights.iter().sum::<f32>() + EPSILON,
            sequences: sequences as f32,
        };
        let mut batch = Self { offsets: vec![0], ..Self::default() };
        for sequence in 0..sequences {
            let first_row = batch.token_ids.len();
            let cells = sequence * columns..(sequence + 1) * columns;
            // The row of each column that is not padding.
            let mut rows = vec![None; columns];
            for (column, cell) in cells.enumerate().filter(|&(_, cell)| attention_mask[cell] != 0) {
                rows[column] = Some(batch.token_ids.len() as i32);
                batch.token_ids.push(input_ids[cell]);
                batch.position_ids.push(column as i32);
                batch.segment_ids.push(token_type_ids[cell]);
            }
            if batch.token_ids.len() == first_row {
                return Err(content("attention_mask", sequence, "has no token"));
            }
            batch.first_rows.push(first_row as i32);
            batch.offsets.push(batch.token_ids.len() as i32);
            for slot in sequence * predictions..(sequence + 1) * predictions {
                let weight = padded.masked_weights[slot];
                if weight == 0.0 {
                    continue;
                }
                let column = usize::try_from(padded.masked_positions[slot]).ok();
                let Some(Some(row)) = column.and_then(|column| rows.get(column)) else {
                    return Err(content("masked_positions", sequence, "has a prediction outside of it"));
                };
                batch.masked_rows.push(*row);
                batch.masked_labels.push(padded.masked_labels[slot]);
                batch.masked_weights.push(weight / normalizers.masked);
            }
        }
        batch.sentence_order_labels = padded.sentence_order_labels.to_vec();
        batch.sentence_order_weights = vec![1.0 / normalizers.sequences; padded.sentence_order_labels.len()];
        batch.token_order = order(&batch.token_ids);
        Ok(batch)
    }

    /// The number of rows T.
    pub fn tokens(&self) -> usize {
        self.token_ids.len()
    }

    /// The number of sequences B.
    pub fn sequences(&self) -> usize {
        self.first_rows.len()
    }

    /// The number of predictions M.
    pub fn predictions(&self) -> usize {
        self.masked_rows.len()
    }

    /// All integer inputs, by name.
    pub fn integers(&self) -> [(&'static str, &[i32]); 9] {
        [
            ("token_ids", &self.token_ids),
            ("position_ids", &self.position_ids),
            ("segment_ids", &self.segment_ids),
            ("offsets", &self.offsets),
            ("token_order", &self.token_order),
            ("masked_rows", &self.masked_rows),
            ("masked_labels", &self.masked_labels),
            ("first_rows", &self.first_rows),
            ("sentence_order_labels", &self.sentence_order_labels),
        ]
    }

    /// All inputs that are not integers, by name.
    pub fn floats(&self) -> [(&'static str, &[f32]); 2] {
        [("masked_weights", &self.masked_weights), ("sentence_order_weights", &self.sentence_order_weights)]
    }

    /// The same as the loop and the plans take it. Axes: tokens, sequences, masked tokens.
    pub fn into_inputs(self) -> Inputs {
        Inputs {
            lengths: vec![self.tokens(), self.sequences(), self.predictions()],
            integers: vec![
                ("token_ids", self.token_ids),
                ("position_ids", self.position_ids),
                ("segment_ids", self.segment_ids),
                ("offsets", self.offsets),
                ("token_order", self.token_order),
                ("masked_rows", self.masked_rows),
                ("masked_labels", self.masked_labels),
                ("first_rows", self.first_rows),
                ("sentence_order_labels", self.sentence_order_labels),
            ],
            reals: vec![
                ("masked_weights", self.masked_weights),
                ("sentence_order_weights", self.sentence_order_weights),
            ],
        }
    }
}

/// A batch in padded matrices, row-major, as other programs write it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Padded<'a> {
    /// S, the columns of the first three.
    pub sequence_length: usize,
    /// `[B, S]`
    pub input_ids: &'a [i32],
    /// `[B, S]`, 0 on padding.
    pub attention_mask: &'a [i32],
    /// `[B, S]`
    pub token_type_ids: &'a [i32],
    /// `[B, P]` columns to predict; may be empty, like the two that follow.
    pub masked_positions: &'a [i32],
    /// `[B, P]`
    pub masked_labels: &'a [i32],
    /// `[B, P]`; a prediction of weight 0 is only there to fill the matrix.
    pub masked_weights: &'a [f32],
    /// `[B]`, or empty.
    pub sentence_order_labels: &'a [i32],
}

impl Padded<'_> {
    /// Checks the shapes; gives the number of sequences.
    fn check(&self) -> Result<usize, DataError> {
        let cells = self.input_ids.len();
        let whole = |length: usize| length.checked_rem(self.sequence_length) == Some(0);
        if !whole(cells) || cells > i32::MAX as usize {
            return Err(shape("input_ids", cells, "it must be whole rows of the sequence length"));
        }
        let sequences = cells / self.sequence_length;
        let slots = self.masked_positions.len();
        for (matrix, length, expected, reason) in [
            ("attention_mask", self.attention_mask.len(), cells, "it must have the shape of input_ids"),
            ("token_type_ids", self.token_type_ids.len(), cells, "it must have the shape of input_ids"),
            ("masked_labels", self.masked_labels.len(), slots, "it must have the shape of masked_positions"),
            (
                "masked_weights",
                self.masked_weights.len(),
                slots,
                "it must have the shape of masked_positions",
            ),
        ] {
            if length != expected {
                return Err(shape(matrix, length, reason));
            }
        }
        if slots.checked_rem(sequences).unwrap_or(slots) != 0 {
            return Err(shape("masked_positions", slots, "it must have the same number for each sequence"));
        }
        if ![0, sequences].contains(&self.sentence_order_labels.len()) {
            let length = self.sentence_order_labels.len();
            return Err(shape("sentence_order_labels", length, "it must have one for each sequence"));
        }
        Ok(sequences)
    }
}

fn shape(matrix: &'static str, length: usize, reason: &str) -> DataError {
    DataError::Padded { matrix, reason: format!("it has {length} values; {reason}") }
}

fn content(matrix: &'static str, sequence: usize, reason: &str) -> DataError {
    DataError::Padded { matrix, reason: format!("sequence {sequence} {reason}") }
}

/// Rows ordered by token id, equal ids by row.
fn order(token_ids: &[i32]) -> Vec<i32> {
    let mut rows: Vec<i32> = (0..token_ids.len() as i32).collect();
    rows.sort_by_key(|&row| token_ids[row as usize]);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Device, Layers, Pretrain};
    use crate::pretraining::synthetic::{self, Shape};
    use crate::pretraining::{Reader, job};
    use crate::training::Position;
    use engine::{PlanOptions, Precision, Recompute};
    use model::{Albert, AlbertConfig, Head};
    use std::sync::Arc;

    fn examples(count: usize) -> Vec<Example> {
        let dataset = Arc::new(synthetic::dataset(&Shape::default(), 40, 1));
        Reader::new(dataset, Position::default()).examples(count)
    }

    #[test]
    fn rows_are_the_examples_one_after_the_other() {
        let examples = examples(9);
        let batch = Batch::pack(&examples, Normalizers::of(&examples));
        assert_eq!(batch.sequences(), 9);
        let mut predictions = 0;
        for (sequence, example) in examples.iter().enumerate() {
            let rows = batch.offsets[sequence] as usize..batch.offsets[sequence + 1] as usize;
            let ids: Vec<u32> = batch.token_ids[rows.clone()].iter().map(|&id| id as u32).collect();
            assert_eq!(ids, example.token_ids);
            assert_eq!(batch.position_ids[rows.clone()], (0..rows.len() as i32).collect::<Vec<_>>());
            let second = batch.segment_ids[rows.clone()].iter().position(|&segment| segment == 1);
            assert_eq!(second, Some(example.second_segment));
            assert_eq!(batch.first_rows[sequence], rows.start as i32);
            for (&position, &label) in example.masking.positions.iter().zip(&example.masking.labels) {
                assert_eq!(batch.masked_rows[predictions] as usize, rows.start + position as usize);
                assert_eq!(batch.masked_labels[predictions] as u32, label);
                predictions += 1;
            }
        }
        assert_eq!(batch.predictions(), predictions);
        let expected = 1.0 / (predictions as f32 + 1e-5);
        assert!(batch.masked_weights.iter().all(|&weight| weight == expected));
        assert!(batch.sentence_order_weights.iter().all(|&weight| weight == 1.0 / 9.0));
    }

    #[test]
    fn token_order_is_stable() {
        assert_eq!(order(&[7, 3, 7, 1, 3]), [3, 1, 4, 0, 2]);
    }

    /// Micro-batches have the weights, rows and labels of the one big batch.
    #[test]
    fn micro_batches_make_up_the_whole() {
        let examples = examples(10);
        let normalizers = Normalizers::of(&examples);
        let whole = Batch::pack(&examples, normalizers);
        let parts: Vec<Batch> = examples.chunks(3).map(|part| Batch::pack(part, normalizers)).collect();
        let joined = |field: fn(&Batch) -> Vec<f32>| parts.iter().flat_map(field).collect::<Vec<_>>();
        assert_eq!(joined(|batch| batch.masked_weights.clone()), whole.masked_weights);
        assert_eq!(joined(|batch| batch.sentence_order_weights.clone()), whole.sentence_order_weights);
        let ids: Vec<i32> = parts.iter().flat_map(|batch| batch.token_ids.clone()).collect();
        assert_eq!(ids, whole.token_ids);
    }

    /// Micro-batches on a GPU, of text in sequences of up to 512 tokens: filled, of about one size, computed for hardly more than
    /// they hold, and for few different lengths.
    #[test]
    fn filled_micro_batches_waste_little() {
        let mut settings = Layers::<Pretrain>::new().resolve().unwrap().settings;
        settings.device.device = Device::Cuda(0);
        settings.sampling.max_seq_length = 512;
        (settings.training.batch, settings.training.micro_batch) = (512, Some(66));
        let Division::Filled(room) = job::division(&settings) else {
            panic!("a GPU's micro-batches are filled")
        };
        assert_eq!(room.tokens, 66 * 512);
        let albert = Albert::new(AlbertConfig::default(), &[Head::Pretraining]).unwrap();
        let options = PlanOptions { precision: Precision::Bf16, recompute: Recompute::None };
        let plan = job::plans(&albert, room, options).training;
        let text = Shape { documents: 4000, sentences: 5..=80, ..Shape::default() };
        let dataset = Arc::new(synthetic::dataset(&text, 512, 1));
        let samples = dataset.epoch(0).samples() as usize;
        let mut reader = Reader::new(dataset, Position::default());
        let (mut given, mut computed, mut kinds, mut runs) = (0, 0, std::collections::BTreeSet::new(), 0);
        let steps = samples / 512;
        for _ in 0..steps {
            let examples = reader.examples(512);
            let parts = Division::Filled(room).of(&examples);
            let tokens = |part: &[Example]| part.iter().map(|example| example.token_ids.len()).sum::<usize>();
            let fewest = tokens(&examples).div_ceil(room.tokens);
            assert!((fewest..=fewest + 1).contains(&parts.len()), "{} of at least {fewest}", parts.len());
            assert_eq!(parts.concat(), examples);
            for part in parts {
                let batch = Batch::pack(part, Normalizers::of(part));
                let lengths = [batch.tokens(), batch.sequences(), batch.predictions()];
                // No first token is predicted.
                let union = batch.predictions() + batch.sequences();
                let lengths = plan.computed_lengths(&[&lengths[..], &[union]].concat());
                assert!(batch.tokens() <= room.tokens && lengths[0] <= room.tokens);
                (given, computed) = (given + batch.tokens(), computed + lengths[0]);
                kinds.insert(lengths);
                runs += 1;
            }
        }
        let waste = 1.0 - given as f64 / computed as f64;
        assert!(waste < 0.01, "{waste}");
        assert!(runs > 50 && kinds.len() <= 40, "{} kinds of {runs} runs", kinds.len());
    }

    /// Filling a batch up and packing it again changes nothing.
    #[test]
    fn a_padded_batch_packs_to_the_same() {
        let examples = examples(6);
        let packed = Batch::pack(&examples, Normalizers::of(&examples));
        let (columns, slots) = (40, 8);
        let mut matrices: [Vec<i32>; 5] = Default::default();
        let [input_ids, attention_mask, token_type_ids, masked_positions, masked_labels] = &mut matrices;
        let mut masked_weights = Vec::new();
        for example in &examples {
            let length = example.token_ids.len();
            input_ids.extend(example.token_ids.iter().map(|&id| id as i32).chain(vec![0; columns - length]));
            attention_mask.extend((0..columns).map(|column| i32::from(column < length)));
            token_type_ids.extend(
                (0..columns).map(|column| i32::from((example.second_segment..length).contains(&column))),
            );
            let filler = vec![0; slots - example.masking.positions.len()];
            masked_weights.extend(
                vec![1.0; example.masking.positions.len()].into_iter().chain(vec![0.0; filler.len()]),
            );
            masked_positions
                .extend(example.masking.positions.iter().map(|&p| p as i32).chain(filler.clone()));
            masked_labels.extend(example.masking.labels.iter().map(|&id| id as i32).chain(filler));
        }
        let labels: Vec<i32> = examples.iter().map(|example| example.sentence_order_label as i32).collect();
        let padded = Padded {
            sequence_length: columns,
            input_ids,
            attention_mask,
            token_type_ids,
            masked_positions,
            masked_labels,
            masked_weights: &masked_weights,
            sentence_order_labels: &labels,
        };
        assert_eq!(Batch::from_padded(&padded).unwrap(), packed);

        let refused = |padded: Padded<'_>| Batch::from_padded(&padded).unwrap_err().to_string();
        assert!(
            refused(Padded { attention_mask: &attention_mask[1..], ..padded }).starts_with("attention_mask")
        );
        assert!(refused(Padded { sequence_length: 7, ..padded }).starts_with("input_ids"));
        assert!(refused(Padded { sequence_length: 0, ..padded }).starts_with("input_ids"));
        assert!(
            refused(Padded { attention_mask: &vec![0; 6 * columns], ..padded })
                .contains("sequence 0 has no token")
        );
        assert!(
            refused(Padded { masked_positions: &vec![39; 6 * slots], ..padded })
                .contains("a prediction outside of it")
        );
        assert!(
            refused(Padded { masked_positions: &vec![-1; 6 * slots], ..padded })
                .contains("a prediction outside of it")
        );
        assert!(
            refused(Padded { sentence_order_labels: &labels[1..], ..padded }).starts_with("sentence_order")
        );
    }
}
