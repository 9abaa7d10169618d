//! The cross-entropy over sequences, one sequence per task.

use super::{Backward, Forward, SequenceCrossEntropy};
use crate::Cpu;
use crate::cpu::CpuPrecision;
use crate::cpu::simd::Stored;
use crate::cpu::threads::Pieces;
use crate::cross_entropy::cpu::{first_largest, gradient, sum_exp, weighted_loss};
use crate::memory::Host;
use crate::sequences::Sequences;

/// See [`super`]. A sequence whose weight is 0 cannot spoil the loss, whatever its logits are.
pub fn forward<P: CpuPrecision>(cpu: &Cpu, _: &SequenceCrossEntropy, operands: Forward<'_, Host, P>) {
    let Forward { logits, offsets, labels, weights, loss, sequence_loss, log_sum_exp, prediction } = operands;
    let sequences = Sequences::new(offsets, logits.len());
    let (losses, log_sums, predictions) =
        (Pieces::new(sequence_loss), Pieces::new(log_sum_exp), Pieces::new(prediction));
    cpu.for_each(sequences.len(), |s| {
        let rows = sequences.rows(s);
        // SAFETY: one number of each per sequence.
        let [loss, log_sum_exp] = unsafe { [losses.piece(s..s + 1), log_sums.piece(s..s + 1)] };
        // SAFETY: as above.
        let prediction = unsafe { predictions.piece(s..s + 1) };
        let Some(label) = sequences.row_of(s, labels[s]) else {
            (loss[0], log_sum_exp[0], prediction[0]) = (0.0, 0.0, rows.start as i32);
            return;
        };
        let logits_here = &logits[rows.clone()];
        let (largest, at) = first_largest(cpu.token(), logits_here);
        let log_sum = sum_exp(cpu.token(), logits_here, largest).ln();
        log_sum_exp[0] = largest + log_sum;
        // Not from the line above, whose rounding would drown the small loss of a sure guess.
        loss[0] = log_sum + (largest - logits[label].widen());
        prediction[0] = (rows.start as i32).saturating_add(at as i32); // no row if all are NaN
    });
    loss[0] = weighted_loss(weights, sequence_loss);
}

/// See [`super`]. A sequence whose weight is 0 gets zeros, whatever its logits are.
pub fn backward<P: CpuPrecision>(cpu: &Cpu, _: &SequenceCrossEntropy, operands: Backward<'_, Host, P>) {
    let Backward { logits, offsets, labels, weights, log_sum_exp, d_loss, d_logits } = operands;
    let sequences = Sequences::new(offsets, logits.len());
    let d_logits = Pieces::new(d_logits);
    cpu.for_each(sequences.len() + 1, |s| {
        let dead = s == sequences.len();
        let rows = if dead { sequences.dead() } else { sequences.rows(s) };
        // SAFETY: sequences share no row, and dead rows belong to none.
        let d_logits = unsafe { d_logits.piece(rows.clone()) };
        let label = if dead || weights[s] == 0.0 { None } else { sequences.row_of(s, labels[s]) };
        match label {
            None => d_logits.fill(Stored::narrow(0.0)),
            Some(label) => {
                let (factor, label) = (d_loss[0] * weights[s], label - rows.start);
                gradient(cpu.token(), Some(&logits[rows]), log_sum_exp[s], factor, label, d_logits);
            }
        }
    });
}
