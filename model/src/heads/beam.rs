//! The likeliest answers of [`Head::AnswerableSpan`]: of the likeliest starts, for each the likeliest ends.

use std::ops::Range;

use engine::{Bindings, DeviceError, PlanId, PlanOptions, Recompute, RunError, Runtime};

use super::{Capacity, Head};
use crate::albert::Albert;
use crate::encoder::Mode;

/// An answer by its first and last token, and their log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamEntry {
    /// Row of the first token in its sequence.
    pub start_row: usize,
    /// Row of the last token in its sequence.
    pub end_row: usize,
    /// Log-probability of the start.
    pub start: f32,
    /// Log-probability of the end, given the start.
    pub end: f32,
}

/// The likeliest answers in one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// Starts from the likeliest on, and for each its ends from the likeliest on; as many as the sequence has tokens at most.
    pub entries: Vec<BeamEntry>,
    /// The logit of there being no answer.
    pub null: f32,
}

/// What a search found in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The likeliest answers in each sequence.
    pub sequences: Vec<Candidates>,
    /// The loss of the labels, where the search has them.
    pub loss: Option<f64>,
}

/// A search for answers, with the two plans it runs: the encoder once, and ends once for each start.
#[derive(Debug)]
pub struct Beam {
    prediction: PlanId,
    answer_ends: PlanId,
    has_loss: bool,
    starts: usize,
    ends: usize,
}

impl Beam {
    /// Loads the plans for batches of at most `capacity` of the model whose `runtime` it is, with labels and a loss if `mode`
    /// is that of an evaluation. The reference has 5 starts and 5 ends.
    ///
    /// # Errors
    /// If the device lacks memory.
    ///
    /// # Panics
    /// If the model has no [`Head::AnswerableSpan`].
    pub fn new(
        albert: &Albert,
        capacity: Capacity,
        mode: Mode,
        runtime: &mut Runtime,
        [starts, ends]: [usize; 2],
    ) -> Result<Self, DeviceError> {
        let head = albert.heads().iter().find(|head| matches!(head, Head::AnswerableSpan { .. }));
        let head = head.expect("the model has an answerable span head");
        let options = PlanOptions { precision: runtime.precision(), recompute: Recompute::None };
        let plan = albert.plan(head, capacity, mode, options).expect("nothing is trained");
        Ok(Self {
            prediction: runtime.load(plan)?,
            answer_ends: runtime.load(albert.answer_ends_plan(capacity, runtime.precision()))?,
            has_loss: mode != Mode::Prediction,
            starts,
            ends,
        })
    }

    /// Searches each sequence of a batch, which is bound to the inputs of the head in the mode of this search.
    ///
    /// # Errors
    /// If the batch does not fit the plan.
    pub fn search(&self, runtime: &mut Runtime, batch: &Bindings<'_>) -> Result<Found, RunError> {
        runtime.run(self.prediction, batch)?;
        let loss = self.has_loss.then(|| runtime.output(self.prediction, "loss")[0]);
        let offsets = batch.integers.iter().find(|(name, _)| *name == "offsets").map_or(&[][..], |o| o.1);
        let sequences: Vec<Range<usize>> =
            offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize).collect();
        let start_logits = runtime.output(self.prediction, "start_logits");
        let starts: Vec<_> =
            sequences.iter().map(|rows| likeliest(&start_logits[rows.clone()], self.starts)).collect();
        let null = runtime.output(self.prediction, "answerability_logits");
        let mut found: Vec<_> =
            null.iter().map(|&null| Candidates { entries: Vec::new(), null: null as f32 }).collect();
        let states = runtime.output(self.prediction, "last_hidden_state");
        let states: Vec<f32> = states.into_iter().map(|value| value as f32).collect();
        let reals = [batch.reals, &[("last_hidden_state", &states)]].concat();
        for index in 0..starts.iter().map(Vec::len).max().unwrap_or(0) {
            let start_rows: Vec<i32> = (sequences.iter().zip(&starts))
                .map(|(rows, starts)| (rows.start + starts.get(index).map_or(0, |start| start.0)) as i32)
                .collect();
            let integers = [batch.integers, &[("start_rows", &start_rows)]].concat();
            let bindings = Bindings { integers: &integers, reals: &reals, ..*batch };
            runtime.run(self.answer_ends, &bindings)?;
            let end_logits = runtime.output(self.answer_ends, "end_logits");
            for ((rows, starts), found) in sequences.iter().zip(&starts).zip(&mut found) {
                let Some(&(start_row, start)) = starts.get(index) else { continue };
                let ends = likeliest(&end_logits[rows.clone()], self.ends);
                let entry = |(end_row, end)| BeamEntry { start_row, end_row, start, end };
                found.entries.extend(ends.into_iter().map(entry));
            }
        }
        Ok(Found { sequences: found, loss })
    }
}

/// The positions of the `count` largest logits, the first of equal ones first, with their log-softmax.
fn likeliest(logits: &[f64], count: usize) -> Vec<(usize, f32)> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln() + largest;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a])); // stable
    order.truncate(count);
    order.into_iter().map(|at| (at, (logits[at] - log_sum) as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::likeliest;

    #[test]
    fn the_largest_come_first_with_their_log_probabilities() {
        let found = likeliest(&[0.0, 2.0_f64.ln(), 0.0, -1e30], 3);
        let logs: Vec<f32> = [0.5_f64, 0.25, 0.25].iter().map(|p| p.ln() as f32).collect();
        assert_eq!(found, [(1, logs[0]), (0, logs[1]), (2, logs[2])]);
        assert_eq!(likeliest(&[3.0], 5), [(0, 0.0)]);
    }
}
