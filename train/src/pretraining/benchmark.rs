//! How long a whole training step takes: forward, backward, clipping, update, on sequences of full length.

use std::time::Instant;

use engine::RunError;
use kernels::cpu::clock::ProcessorTime;
use kernels::random::{Philox, below};

use super::batch::{Batch, Padded};
use crate::optimization::OptimizerSettings;
use crate::training::{Inputs, Learner};

/// Steps that are not timed: they pay for buffers and caches.
const WARM_UP: u64 = 2;
/// Small enough to leave any model where it is.
const LEARNING_RATE: f64 = 1e-5;
/// Purpose of the random tokens.
const PURPOSE: u32 = 100;
/// The first ids are special pieces.
const FIRST_ORDINARY: u64 = 5;

/// A batch of random tokens, all sequences of the same length.
#[derive(Clone, Copy, Debug)]
pub struct RandomBatch {
    /// Sequences.
    pub sequences: usize,
    /// Tokens of each.
    pub length: usize,
    /// Masked tokens of each.
    pub predictions: usize,
    /// Ids lie below.
    pub vocabulary_size: usize,
}

impl RandomBatch {
    /// The batch that `seed` gives.
    ///
    /// # Panics
    /// If more tokens are masked than there are, or the vocabulary is too small.
    pub fn draw(&self, seed: u64) -> Batch {
        let Self { sequences, length, predictions, vocabulary_size } = *self;
        assert!(predictions <= length, "no token is masked twice");
        let philox = Philox::new(seed, PURPOSE);
        let ordinary = |stream, index| {
            let bound = vocabulary_size as u64 - FIRST_ORDINARY;
            (FIRST_ORDINARY + below(philox.word(stream, index as u64), bound)) as i32
        };
        let cells = sequences * length;
        let segments = (0..cells).map(|cell| i32::from(cell % length >= length / 2)).collect::<Vec<_>>();
        let mut positions = Vec::with_capacity(sequences * predictions);
        for sequence in 0..sequences {
            let mut columns: Vec<i32> = (0..length as i32).collect();
            for slot in 0..predictions {
                let word = philox.word(2, (sequence * length + slot) as u64);
                columns.swap(slot, slot + below(word, (length - slot) as u64) as usize);
            }
            columns[..predictions].sort_unstable();
            positions.extend_from_slice(&columns[..predictions]);
        }
        let labels: Vec<i32> = (0..positions.len()).map(|slot| ordinary(1, slot)).collect();
        Batch::from_padded(&Padded {
            sequence_length: length,
            input_ids: &(0..cells).map(|cell| ordinary(0, cell)).collect::<Vec<_>>(),
            attention_mask: &vec![1; cells],
            token_type_ids: &segments,
            masked_positions: &positions,
            masked_labels: &labels,
            masked_weights: &vec![1.0; labels.len()],
            sentence_order_labels: &(0..sequences as i32).map(|sequence| sequence % 2).collect::<Vec<_>>(),
        })
        .expect("a batch without padding")
    }
}

/// How long steps took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Seconds of each step, in ascending order.
    pub seconds: Vec<f64>,
    /// What the processors gave to all of them, if the system tells.
    pub processor: Option<ProcessorTime>,
}

impl Timing {
    /// The median of the steps.
    pub fn median(&self) -> f64 {
        self.seconds[self.seconds.len() / 2]
    }
}

/// Times each of `steps` whole steps on the same micro-batches, after some that are not timed. Profiling, if it is wanted,
/// covers just these steps.
///
/// # Errors
/// If a batch does not fit the learner's plan.
pub fn time_steps(
    learner: &mut Learner,
    micro_batches: &[Inputs],
    optimizer: &OptimizerSettings,
    steps: u64,
    profile: bool,
) -> Result<Timing, RunError> {
    let mut seconds = Vec::new();
    let mut before = None;
    for step in 0..WARM_UP + steps {
        learner.runtime().profile(profile && step >= WARM_UP);
        if step == WARM_UP {
            before = ProcessorTime::now();
        }
        let start = Instant::now();
        learner.gradient(micro_batches, step)?;
        learner.update(&optimizer.update(step + 1, LEARNING_RATE))?;
        if step >= WARM_UP {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let processor = ProcessorTime::now().zip(before).map(|(now, before)| now.since(before));
    seconds.sort_by(f64::total_cmp);
    Ok(Timing { seconds, processor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_batches_are_full_and_differ() {
        let shape = RandomBatch { sequences: 3, length: 16, predictions: 2, vocabulary_size: 50 };
        let batch = shape.draw(1);
        assert_eq!((batch.sequences(), batch.tokens(), batch.predictions()), (3, 48, 6));
        assert!(batch.token_ids.iter().all(|id| (5..50).contains(id)));
        assert!(batch.masked_rows.windows(2).all(|pair| pair[0] < pair[1]), "distinct and in order");
        assert_eq!(batch, shape.draw(1));
        assert_ne!(batch, shape.draw(2));
    }
}
