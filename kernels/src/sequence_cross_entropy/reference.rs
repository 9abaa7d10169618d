//! The mathematics of the cross-entropy over sequences.

use super::{Backward, Forward, SequenceCrossEntropy};
use crate::memory::Host;
use crate::precision::F64;
use crate::sequences::Sequences;

/// `loss = Σ_s weight_s · (log Σ_{t in sequence s} exp logit_t − logit_{label_s})`
pub fn forward(_: &SequenceCrossEntropy, operands: Forward<'_, Host, F64>) {
    let Forward { logits, offsets, labels, weights, loss, sequence_loss, log_sum_exp, prediction } = operands;
    let sequences = Sequences::new(offsets, logits.len());
    loss[0] = 0.0;
    for (s, rows) in sequences.iter().enumerate() {
        let mut best = rows.start;
        for t in rows.clone() {
            if logits[t] > logits[best] {
                best = t;
            }
        }
        prediction[s] = best as i32;
        (sequence_loss[s], log_sum_exp[s]) = (0.0, 0.0);
        if let Some(label) = sequences.row_of(s, labels[s]) {
            let max = logits[best];
            let log_sum = rows.map(|t| (logits[t] - max).exp()).sum::<f64>().ln();
            log_sum_exp[s] = max + log_sum;
            sequence_loss[s] = log_sum + (max - logits[label]); // large logits drown nothing
        }
        if weights[s] != 0.0 {
            loss[0] += weights[s] * sequence_loss[s];
        }
    }
}

/// `d logit_t = d_loss · weight_s · (softmax_t − [t = label_s])`
pub fn backward(_: &SequenceCrossEntropy, operands: Backward<'_, Host, F64>) {
    let Backward { logits, offsets, labels, weights, log_sum_exp, d_loss, d_logits } = operands;
    let sequences = Sequences::new(offsets, logits.len());
    d_logits.fill(0.0);
    for (s, rows) in sequences.iter().enumerate() {
        let Some(label) = sequences.row_of(s, labels[s]) else { continue };
        for t in rows.filter(|_| weights[s] != 0.0) {
            let softmax = (logits[t] - log_sum_exp[s]).exp();
            d_logits[t] = d_loss[0] * weights[s] * (softmax - f64::from(t == label));
        }
    }
}
