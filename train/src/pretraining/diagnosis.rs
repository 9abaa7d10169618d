//! What the figures of an evaluation are to be held against, and what in them should not be.

use std::f64::consts::LN_2;

use crate::training::{Alarm, Inputs, Metrics, Outputs};

/// The figure of [`Baselines::unigram_loss`].
pub(super) const UNIGRAM_LOSS: &str = "unigram_masked_lm_loss";
/// The figure of [`Sameness`]: the share of masked words for which the commonest prediction is given.
const COMMONEST_PREDICTION: &str = "commonest_prediction_share";
/// The figure of [`Sameness`]: how far the states of a sequence differ.
const DEVIATION: &str = "last_layer_deviation";

/// What is reached on the held-out text without a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Baselines {
    /// The share of the commonest masked token; `None` where none is masked.
    majority: Option<f64>,
    /// The loss of giving each piece the probability that it has in the training text, whatever stands around it; `None` where
    /// that text is not known, or none is masked.
    unigram_loss: Option<f64>,
}

impl Baselines {
    /// On these masked tokens.
    pub fn of(held_out: &[Inputs], vocabulary_size: usize) -> Self {
        let mut counts = vec![0_u64; vocabulary_size];
        labels(held_out).for_each(|label| counts[label] += 1);
        Self { majority: most_of(&counts), unigram_loss: None }
    }

    /// With how often each piece is in the training text. Each is counted once more than it is there, for text that was not
    /// seen may hold any.
    pub fn knowing(self, counts: &[u64], held_out: &[Inputs]) -> Self {
        let all = (counts.iter().sum::<u64>() + counts.len() as u64) as f64;
        let losses = labels(held_out).map(|label| -((counts[label] + 1) as f64 / all).ln());
        let (sum, count) = losses.fold((0.0, 0.0), |(sum, count), loss| (sum + loss, count + 1.0));
        Self { unigram_loss: (count > 0.0).then(|| sum / count), ..self }
    }

    pub fn record(&self, metrics: Metrics) -> Metrics {
        let figures = [("majority_masked_lm_accuracy", self.majority), (UNIGRAM_LOSS, self.unigram_loss)];
        figures.into_iter().fold(metrics, |metrics, (name, value)| match value {
            Some(value) => metrics.with(name, value),
            None => metrics,
        })
    }
}

/// The share of the largest of some counts; `None` of nothing.
fn most_of(counts: &[u64]) -> Option<f64> {
    let most = counts.iter().max().copied().filter(|&most| most > 0)?;
    Some(most as f64 / counts.iter().sum::<u64>() as f64)
}

fn labels(held_out: &[Inputs]) -> impl Iterator<Item = usize> {
    held_out.iter().flat_map(|inputs| inputs.integer("masked_labels")).map(|&label| label as usize)
}

/// How much what a model makes of different words is one and the same.
pub(super) struct Sameness {
    /// How often each piece was predicted.
    predictions: Vec<u64>,
    /// Sum and number of the sequences' deviations.
    deviations: (f64, u64),
    scratch: (Vec<i32>, Vec<f32>),
}

impl Sameness {
    /// Of predictions over so many pieces.
    pub fn new(vocabulary_size: usize) -> Self {
        Self { predictions: vec![0; vocabulary_size], deviations: (0.0, 0), scratch: Default::default() }
    }

    /// Adds a micro-batch of an evaluation.
    pub fn add(&mut self, inputs: &Inputs, outputs: Outputs<'_>) {
        let (predictions, states) = &mut self.scratch;
        outputs.read_indices("masked_lm_predictions", predictions);
        predictions.iter().for_each(|&piece| self.predictions[piece as usize] += 1);
        outputs.read("masked_states", states);
        let rows = inputs.integer("masked_rows");
        let width = states.len() / rows.len().max(1);
        let mut first = 0;
        for end in inputs.integer("first_rows").iter().skip(1).copied().chain([i32::MAX]) {
            let next = rows.partition_point(|&row| row < end);
            if next - first > 1 {
                self.deviations.0 += deviation(&states[first * width..next * width], width);
                self.deviations.1 += 1;
            }
            first = next;
        }
    }

    pub fn record(&self, metrics: Metrics) -> Metrics {
        let metrics = match most_of(&self.predictions) {
            Some(share) => metrics.with(COMMONEST_PREDICTION, share),
            None => metrics,
        };
        match self.deviations {
            (_, 0) => metrics,
            (sum, count) => metrics.with(DEVIATION, sum / count as f64),
        }
    }
}

/// The standard deviation of each column of `rows`, which are `width` wide; the mean over the columns.
fn deviation(rows: &[f32], width: usize) -> f64 {
    let count = (rows.len() / width) as f64;
    let of_column = |column: usize| {
        let values = || rows.iter().skip(column).step_by(width).map(|&value| f64::from(value));
        let mean = values().sum::<f64>() / count;
        (values().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
    };
    (0..width).map(of_column).sum::<f64>() / width as f64
}

/// States that deviate less are one and the same state. (Layer norm gives those of a model that works a deviation near 1.)
const COLLAPSED: f64 = 0.01;
/// A share of predictions beyond which they are one and the same.
const CONSTANT: f64 = 0.99;
/// An order whose loss is so near that of a coin is not told.
const BARELY: f64 = 0.01;
/// An accuracy that has fallen by so much from its best was lost.
const LOST: f64 = 0.2;

/// What in the figures of an evaluation should not be; what takes its time to be learnt is found late in a run only.
pub(super) fn alarms(evaluation: &Metrics, best: Option<f64>, is_late: bool) -> Vec<Alarm> {
    let value = |name| evaluation.value(name);
    let mut found = Vec::new();
    let mut alarm = |event, words: String, help: &str| found.push(Alarm { event, words, help: help.into() });
    // Small models at a high rate go through this on their way to the frequencies; those that learn have left it by then.
    if is_late && value(DEVIATION) < COLLAPSED {
        alarm(
            "collapse",
            format!(
                "the model has collapsed: within a sequence the states of the last layer deviate by {:.4} only, so that it \
                 cannot tell one word from another",
                value(DEVIATION)
            ),
            "if this lasts, the model does not come back; begin a run with a lower --learning-rate or a longer warm-up \
             (--warmup-steps)",
        );
    }
    if let Some(best) = best
        && best - value("masked_lm_accuracy") > LOST
    {
        alarm(
            "forgotten",
            format!(
                "{:.3} of the masked words are right, after {best:.3} before",
                value("masked_lm_accuracy")
            ),
            "the best checkpoint is kept; begin a run with a lower --learning-rate",
        );
    }
    if is_late && value(COMMONEST_PREDICTION) > CONSTANT && evaluation.get("loss").is_none_or(f64::is_finite)
    {
        alarm(
            "constant_predictions",
            format!(
                "one and the same piece is predicted for {:.1}% of the masked words",
                100.0 * value(COMMONEST_PREDICTION)
            ),
            "if this lasts, begin a run with another --learning-rate: higher where the loss hardly moves, lower where it jumps",
        );
    }
    if is_late && value("sentence_order_loss") > LN_2 - BARELY {
        alarm(
            "order_not_learnt",
            format!(
                "the loss of sentence order is {:.4}, where guessing has {LN_2:.4}: order is not learnt",
                value("sentence_order_loss")
            ),
            "order is often learnt long after words; text whose sentences do not follow from each other teaches none",
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(labels: &[i32]) -> Inputs {
        Inputs { integers: vec![("masked_labels", labels.to_vec())], ..Inputs::default() }
    }

    #[test]
    fn the_unigram_loss_is_the_cross_entropy_of_the_training_frequencies() {
        let held_out = [inputs(&[1, 1]), inputs(&[1, 3])];
        let baselines = Baselines::of(&held_out, 4);
        assert_eq!(baselines, Baselines { majority: Some(0.75), unigram_loss: None });
        // One more of each: 1, 5, 2, 2 of 10.
        let metrics = baselines.knowing(&[0, 4, 1, 1], &held_out).record(Metrics::default());
        let expected = -(3.0 * 0.5_f64.ln() + 0.2_f64.ln()) / 4.0;
        approx::assert_relative_eq!(metrics.value(UNIGRAM_LOSS), expected, max_relative = 1e-12);
        assert_eq!(metrics.value("majority_masked_lm_accuracy"), 0.75);
    }

    #[test]
    fn states_deviate_around_their_mean() {
        // Columns 1, 3 and 10, 10: deviations 1 and 0.
        assert_eq!(deviation(&[1.0, 10.0, 3.0, 10.0], 2), 0.5);
        assert_eq!(deviation(&[7.0, 7.0, 7.0], 1), 0.0);
    }

    #[test]
    fn each_alarm_has_its_figure() {
        let healthy = || {
            Metrics::default()
                .with("masked_lm_accuracy", 0.4)
                .with("sentence_order_loss", 0.6)
                .with(COMMONEST_PREDICTION, 0.2)
                .with(DEVIATION, 0.8)
        };
        let events = |metrics: &Metrics, best, is_late| {
            alarms(metrics, best, is_late).iter().map(|alarm| alarm.event).collect::<Vec<_>>()
        };
        assert!(events(&healthy(), Some(0.5), true).is_empty());
        assert_eq!(events(&healthy(), Some(0.65), false), ["forgotten"]);
        let sick = Metrics::default()
            .with("masked_lm_accuracy", 0.1)
            .with("sentence_order_loss", 0.693)
            .with(COMMONEST_PREDICTION, 1.0)
            .with(DEVIATION, 0.0099);
        assert!(events(&sick, None, false).is_empty(), "all of it may still come");
        assert_eq!(events(&sick, None, true), ["collapse", "constant_predictions", "order_not_learnt"]);
        assert!(events(&Metrics::default(), None, true).is_empty(), "what was not measured is no alarm");
    }
}
