//! The best evaluation of a run so far: which checkpoint it was made of, and on what.

use serde::{Deserialize, Serialize};

use super::metrics::Evaluation;
use crate::data::Batch;

/// The best evaluation so far, of which there is a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct Best {
    /// The step of the checkpoint.
    pub step: u64,
    /// What the metric was by which evaluations are compared; more is better.
    pub value: f64,
    /// Tells what it was measured on apart from anything else (`identity`); `None` in runs begun by a version that did
    /// not note it.
    pub measured_on: Option<String>,
}

impl Best {
    /// An evaluation as the best, if it is better than `earlier` or was made on other text: then the two figures cannot
    /// be compared. Without numbers it is not the best of anything.
    pub fn of(evaluation: &Evaluation, measured_on: &str, earlier: Option<&Best>) -> Option<Self> {
        let value = evaluation.masked_lm_accuracy;
        let is_better = earlier.is_none_or(|best| value > best.value || !best.is_measured_on(measured_on));
        (evaluation.loss.is_finite() && value.is_finite() && is_better).then(|| Best {
            step: evaluation.global_step,
            value,
            measured_on: Some(measured_on.into()),
        })
    }

    /// Whether its figures can be compared with those of evaluations on `held_out`.
    pub fn is_measured_on(&self, held_out: &str) -> bool {
        self.measured_on.as_deref().is_none_or(|measured_on| measured_on == held_out)
    }
}

/// A hash of what an evaluation sees and is asked for, however it is divided into batches.
pub fn identity(held_out: &[Batch]) -> String {
    let streams: [fn(&Batch) -> &[i32]; 4] = [
        |batch| &batch.token_ids,
        |batch| &batch.position_ids,
        |batch| &batch.masked_labels,
        |batch| &batch.sentence_order_labels,
    ];
    let mut whole = blake3::Hasher::new();
    for stream in streams {
        let mut part = blake3::Hasher::new();
        for batch in held_out {
            for number in stream(batch) {
                part.update(&number.to_le_bytes());
            }
        }
        whole.update(part.finalize().as_bytes());
    }
    whole.finalize().to_hex().to_string()
}

/// What checkpoints hold: this, or in those of earlier versions the whole evaluation.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Best { step: u64, value: f64, measured_on: Option<String> },
    Evaluation(Evaluation),
}

impl From<Stored> for Best {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Best { step, value, measured_on } => Best { step, value, measured_on },
            Stored::Evaluation(evaluation) => {
                Best { step: evaluation.global_step, value: evaluation.masked_lm_accuracy, measured_on: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(step: u64, loss: f64, accuracy: f64) -> Evaluation {
        let text = format!(
            r#"{{"global_step":{step},"loss":2.0,"masked_lm_accuracy":0.5,"masked_lm_loss":1.0,"sentence_order_accuracy":0.5,
            "sentence_order_loss":1.0,"majority_masked_lm_accuracy":0.1,"sequences":8,"masked_tokens":40}}"#
        );
        let evaluation: Evaluation = serde_json::from_str(&text).unwrap();
        Evaluation { loss, masked_lm_accuracy: accuracy, ..evaluation }
    }

    #[test]
    fn what_was_measured_on_other_text_is_not_compared() {
        let first = Best::of(&evaluation(10, 3.0, 0.5), "a", None).unwrap();
        assert_eq!((first.step, first.value), (10, 0.5));
        assert_eq!(Best::of(&evaluation(20, 3.0, 0.5), "a", Some(&first)), None);
        assert_eq!(Best::of(&evaluation(20, 3.0, 0.4), "a", Some(&first)), None);
        assert_eq!(Best::of(&evaluation(20, 3.0, 0.6), "a", Some(&first)).unwrap().step, 20);
        assert_eq!(Best::of(&evaluation(20, 3.0, 0.4), "b", Some(&first)).unwrap().value, 0.4);
        for (loss, accuracy) in [(f64::NAN, 0.9), (f64::INFINITY, 0.9), (3.0, f64::NAN)] {
            assert_eq!(Best::of(&evaluation(20, loss, accuracy), "b", Some(&first)), None);
        }
    }

    #[test]
    fn what_an_earlier_version_noted_is_read() {
        let earlier = serde_json::to_string(&evaluation(30, 2.0, 0.25)).unwrap();
        let best: Best = serde_json::from_str(&earlier).unwrap();
        assert_eq!(best, Best { step: 30, value: 0.25, measured_on: None });
        assert!(best.is_measured_on("whatever"));
        assert_eq!(serde_json::from_str::<Best>(&serde_json::to_string(&best).unwrap()).unwrap(), best);
        assert!(serde_json::from_str::<Best>(r#"{"step":3}"#).is_err());
    }

    #[test]
    fn the_identity_is_of_the_text_and_not_of_its_division() {
        let batch = |ids: &[i32], labels: &[i32]| Batch {
            token_ids: ids.to_vec(),
            masked_labels: labels.to_vec(),
            ..Batch::default()
        };
        let whole = identity(&[batch(&[1, 2, 3, 4], &[9, 8])]);
        assert_eq!(whole, identity(&[batch(&[1, 2], &[9]), batch(&[3, 4], &[8])]));
        for other in
            [batch(&[1, 2, 3, 5], &[9, 8]), batch(&[1, 2, 3], &[4, 9, 8]), batch(&[1, 2, 3, 4], &[9])]
        {
            assert_ne!(whole, identity(&[other]));
        }
    }
}
