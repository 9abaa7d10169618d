//! Held-out figures: what a plan with both heads predicts, against what is right.

use engine::{Bindings, PlanId, RunError, Runtime};

use super::metrics::{Evaluation, Tally};
use crate::data::Batch;

/// Evaluates `batches` with an evaluation plan of `runtime`; no step is claimed. `None` where `stop` said so before a batch.
///
/// # Errors
/// If a batch does not fit the plan.
pub fn evaluate(
    runtime: &mut Runtime,
    plan: PlanId,
    batches: &[Batch],
    vocabulary_size: usize,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Evaluation>, RunError> {
    let (mut masked_lm, mut sentence_order) = (Tally::default(), Tally::default());
    let mut scratch = Scratch::default();
    for batch in batches {
        if stop() {
            return Ok(None);
        }
        let bindings = Bindings {
            lengths: &[batch.tokens(), batch.sequences(), batch.predictions()],
            integers: &batch.integers(),
            reals: &batch.floats(),
            ..Bindings::default()
        };
        runtime.run(plan, &bindings)?;
        tally(runtime, plan, batch, [&mut masked_lm, &mut sentence_order], &mut scratch);
    }
    Ok(Some(Evaluation {
        global_step: 0,
        loss: masked_lm.mean_loss() + sentence_order.mean_loss(),
        masked_lm_accuracy: masked_lm.accuracy(),
        masked_lm_loss: masked_lm.mean_loss(),
        sentence_order_accuracy: sentence_order.accuracy(),
        sentence_order_loss: sentence_order.mean_loss(),
        majority_masked_lm_accuracy: majority(batches, vocabulary_size),
        sequences: sentence_order.count,
        masked_tokens: masked_lm.count,
    }))
}

/// Vectors whose memory is used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub losses: Vec<f32>,
    pub predictions: Vec<i32>,
}

/// Adds what the last run of `plan`, which was of `batch`, predicted of masked tokens and of sentence order.
pub(super) fn tally(
    runtime: &Runtime,
    plan: PlanId,
    batch: &Batch,
    [masked_lm, sentence_order]: [&mut Tally; 2],
    Scratch { losses, predictions }: &mut Scratch,
) {
    for (kind, labels, tally) in [
        (["masked_lm_row_losses", "masked_lm_predictions"], &batch.masked_labels, masked_lm),
        (
            ["sentence_order_row_losses", "sentence_order_predictions"],
            &batch.sentence_order_labels,
            sentence_order,
        ),
    ] {
        runtime.read_output(plan, kind[0], losses);
        runtime.read_indices(plan, kind[1], predictions);
        tally.add(losses, predictions, labels);
    }
}

/// The share of the commonest masked token.
fn majority(batches: &[Batch], vocabulary_size: usize) -> f64 {
    let mut counts = vec![0_u64; vocabulary_size];
    batches.iter().flat_map(|batch| &batch.masked_labels).for_each(|&label| counts[label as usize] += 1);
    let most = counts.iter().max().copied().unwrap_or(0);
    most as f64 / counts.iter().sum::<u64>() as f64
}
