//! The mathematics of the cross-entropy.

use super::{Backward, CrossEntropy, Forward};
use crate::memory::Host;
use crate::precision::F64;

/// `loss = Σ_i weight_i · (log Σ_c exp logit_ic − logit_{i, label_i})`
pub fn forward(cross_entropy: &CrossEntropy, operands: Forward<'_, Host, F64>) {
    let Forward { logits, labels, weights, loss, row_loss, log_sum_exp, prediction } = operands;
    loss[0] = 0.0;
    for (i, logits) in logits.chunks_exact(cross_entropy.classes).enumerate() {
        let mut best = 0;
        for c in 1..logits.len() {
            if logits[c] > logits[best] {
                best = c;
            }
        }
        let max = logits[best];
        let log_sum = logits.iter().map(|logit| (logit - max).exp()).sum::<f64>().ln();
        log_sum_exp[i] = max + log_sum;
        row_loss[i] = log_sum + (max - logits[labels[i] as usize]); // large logits drown nothing
        prediction[i] = best as i32;
        if weights[i] != 0.0 {
            loss[0] += weights[i] * row_loss[i];
        }
    }
}

/// `d logit_ic = d_loss · weight_i · (softmax_ic − [c = label_i])`
pub fn backward(cross_entropy: &CrossEntropy, operands: Backward<'_, Host, F64>) {
    let Backward { logits, labels, weights, log_sum_exp, d_loss, d_logits } = operands;
    let classes = cross_entropy.classes;
    for i in 0..labels.len() {
        for c in 0..classes {
            let logit = logits.map_or(d_logits[i * classes + c], |logits| logits[i * classes + c]);
            let softmax = (logit - log_sum_exp[i]).exp();
            let target = f64::from(c == labels[i] as usize);
            d_logits[i * classes + c] =
                if weights[i] == 0.0 { 0.0 } else { d_loss[0] * weights[i] * (softmax - target) };
        }
    }
}
