//! What is measured of predictions: sums that can be added up over micro-batches, and the averages they give.

use serde::{Deserialize, Serialize};

/// Sums over predictions of one kind, masked words or sentence order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Σ −log probability of the right class.
    pub loss: f64,
    /// Right predictions.
    pub correct: u64,
    /// Predictions.
    pub count: u64,
}

impl Tally {
    /// Adds one prediction per row: the row's loss, the predicted class, and the right one.
    pub fn add(&mut self, row_losses: &[f32], predictions: &[i32], labels: &[i32]) {
        self.loss += row_losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        self.correct += predictions.iter().zip(labels).filter(|(found, label)| found == label).count() as u64;
        self.count += labels.len() as u64;
    }

    /// Mean loss; NaN of nothing.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.count as f64
    }

    /// Share of right predictions; NaN of nothing.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count as f64
    }
}

/// Results on held-out text, under the names of the reference's `eval_results.txt` (`model/ALBERT.md`, Evaluation).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Optimizer steps that the weights had seen.
    pub global_step: u64,
    /// Sum of the two losses.
    pub loss: f64,
    /// Share of masked tokens guessed right.
    pub masked_lm_accuracy: f64,
    /// Mean cross-entropy of the masked tokens, in nats.
    pub masked_lm_loss: f64,
    /// Share of sequences whose order was told right.
    pub sentence_order_accuracy: f64,
    /// Mean cross-entropy of the order, in nats.
    pub sentence_order_loss: f64,
    /// What always guessing the commonest masked token would reach: the best that frequency alone can do.
    pub majority_masked_lm_accuracy: f64,
    /// Sequences evaluated.
    pub sequences: u64,
    /// Masked tokens evaluated.
    pub masked_tokens: u64,
}

impl Evaluation {
    /// Whether masked words are told better than by always giving the commonest, by more than one standard error of that
    /// share: whoever has learnt frequencies alone is not.
    pub fn beats_frequency(&self) -> bool {
        let share = self.majority_masked_lm_accuracy;
        let error = (share * (1.0 - share) / self.masked_tokens as f64).sqrt();
        self.masked_lm_accuracy > share + error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequency_is_beaten_beyond_chance_only() {
        let beats = |masked_lm_accuracy| {
            let evaluation = Evaluation {
                global_step: 1,
                loss: 7.0,
                masked_lm_accuracy,
                masked_lm_loss: 6.4,
                sentence_order_accuracy: 0.5,
                sentence_order_loss: 0.6,
                majority_masked_lm_accuracy: 0.1,
                sequences: 90,
                masked_tokens: 900, // a standard error of 0.01
            };
            evaluation.beats_frequency()
        };
        assert_eq!(
            [0.0, 0.1, 0.109, 0.111, 0.5, f64::NAN].map(beats),
            [false, false, false, true, true, false]
        );
    }

    #[test]
    fn tallies_add_up() {
        let mut tally = Tally::default();
        tally.add(&[1.0, 3.0], &[7, 9], &[7, 8]);
        tally.add(&[2.0], &[0], &[0]);
        assert_eq!(tally, Tally { loss: 6.0, correct: 2, count: 3 });
        assert_eq!((tally.mean_loss(), tally.accuracy()), (2.0, 2.0 / 3.0));
    }
}
