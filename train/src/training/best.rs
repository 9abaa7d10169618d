//! The best evaluation of a run so far: which checkpoint it was made of, and on what.

use serde::{Deserialize, Serialize};

use super::metrics::Metrics;

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
    /// The evaluation of `step` as the best, if its figure `selects_by` is better than that of `earlier` or was measured on
    /// other data: then the two cannot be compared. Without numbers it is not the best of anything.
    pub fn of(
        step: u64,
        evaluation: &Metrics,
        selects_by: &str,
        measured_on: &str,
        earlier: Option<&Best>,
    ) -> Option<Self> {
        let value = evaluation.value(selects_by);
        let is_finite = value.is_finite() && evaluation.get("loss").is_none_or(f64::is_finite);
        let is_better = earlier.is_none_or(|best| value > best.value || !best.is_measured_on(measured_on));
        (is_finite && is_better).then(|| Best { step, value, measured_on: Some(measured_on.into()) })
    }

    /// Whether its figures can be compared with those of evaluations on `held_out`.
    pub fn is_measured_on(&self, held_out: &str) -> bool {
        self.measured_on.as_deref().is_none_or(|measured_on| measured_on == held_out)
    }
}

/// What checkpoints hold: this, or in those of earlier versions the whole evaluation.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Best {
        step: u64,
        value: f64,
        measured_on: Option<String>,
    },
    /// Of pre-training, whose figures were all that were compared.
    Evaluation {
        global_step: u64,
        masked_lm_accuracy: f64,
    },
}

impl From<Stored> for Best {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Best { step, value, measured_on } => Best { step, value, measured_on },
            Stored::Evaluation { global_step, masked_lm_accuracy } => {
                Best { step: global_step, value: masked_lm_accuracy, measured_on: None }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(step: u64, loss: f64, accuracy: f64, measured_on: &str, earlier: Option<&Best>) -> Option<Best> {
        let evaluation = Metrics::default().with("loss", loss).with("accuracy", accuracy);
        Best::of(step, &evaluation, "accuracy", measured_on, earlier)
    }

    #[test]
    fn what_was_measured_on_other_text_is_not_compared() {
        let first = best(10, 3.0, 0.5, "a", None).unwrap();
        assert_eq!((first.step, first.value), (10, 0.5));
        assert_eq!(best(20, 3.0, 0.5, "a", Some(&first)), None);
        assert_eq!(best(20, 3.0, 0.4, "a", Some(&first)), None);
        assert_eq!(best(20, 3.0, 0.6, "a", Some(&first)).unwrap().step, 20);
        assert_eq!(best(20, 3.0, 0.4, "b", Some(&first)).unwrap().value, 0.4);
        for (loss, accuracy) in [(f64::NAN, 0.9), (f64::INFINITY, 0.9), (3.0, f64::NAN)] {
            assert_eq!(best(20, loss, accuracy, "b", Some(&first)), None);
        }
    }

    #[test]
    fn what_an_earlier_version_noted_is_read() {
        let earlier = r#"{"global_step":30,"loss":2.0,"masked_lm_accuracy":0.25,"masked_lm_loss":1.0,
            "sentence_order_accuracy":0.5,"sentence_order_loss":1.0,"majority_masked_lm_accuracy":0.1,"sequences":8,
            "masked_tokens":40}"#;
        let best: Best = serde_json::from_str(earlier).unwrap();
        assert_eq!(best, Best { step: 30, value: 0.25, measured_on: None });
        assert!(best.is_measured_on("whatever"));
        assert_eq!(serde_json::from_str::<Best>(&serde_json::to_string(&best).unwrap()).unwrap(), best);
        assert!(serde_json::from_str::<Best>(r#"{"step":3}"#).is_err());
    }
}
