//! Softmax cross-entropy over the rows of each sequence.

use kernels::{Precision, sequence_cross_entropy};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Indices, Operands, Packed, Random};
use crate::step;

#[derive(Debug)]
pub struct SequenceCrossEntropy {
    batch: Packed,
    labels: Indices,
}

const OPERATION: sequence_cross_entropy::SequenceCrossEntropy = sequence_cross_entropy::SequenceCrossEntropy;

impl SequenceCrossEntropy {
    fn new(batch: Packed) -> Self {
        let mut random = Random::new(2);
        let row = |pair: &[i32]| pair[0] + ((pair[1] - pair[0]) as f64 * random.unit()) as i32;
        let labels = Indices(batch.offsets.windows(2).map(row).collect());
        Self { batch, labels }
    }
}

impl Case for SequenceCrossEntropy {
    fn all() -> Vec<Self> {
        // Options of questions, too: many short sequences.
        let options = Packed::new(&[4, 3, 2].repeat(50), 0);
        Packed::batches().into_iter().chain([options]).map(Self::new).collect()
    }

    fn small() -> Vec<Self> {
        vec![Self::new(Packed::new(&[3, 1, 0, 5], 0)), Self::new(Packed::new(&[2, 4], 0))]
    }

    fn operands(&self, operands: &mut Operands) {
        let (rows, sequences) = (self.batch.rows, self.batch.sequences());
        operands
            .random_until("logits", rows, self.batch.live())
            .positive("weights", sequences)
            .random("loss", 1)
            .random("sequence_loss", sequences)
            .random("log_sum_exp", sequences)
            .random("prediction", sequences)
            .random("d_loss", 1)
            .random("d_logits", rows);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        let reduced = self.batch.longest().max(self.batch.sequences());
        vec![
            step! { p, reduced, sequence_cross_entropy_forward(&OPERATION, sequence_cross_entropy::Forward {
                logits: &p.read("logits"),
                offsets: &self.batch.offsets,
                labels: &self.labels,
                weights: &p.read("weights"),
                loss: &mut p.assign("loss"),
                sequence_loss: &mut p.assign("sequence_loss"),
                log_sum_exp: &mut p.assign("log_sum_exp"),
                prediction: &mut p.assign("prediction"),
            }) },
            step! { p, 1, sequence_cross_entropy_backward(&OPERATION, sequence_cross_entropy::Backward {
                logits: &p.read("logits"),
                offsets: &self.batch.offsets,
                labels: &self.labels,
                weights: &p.read("weights"),
                log_sum_exp: &p.read("log_sum_exp"),
                d_loss: &p.read("d_loss"),
                d_logits: &mut p.assign("d_logits"),
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "loss", upstream: "d_loss", gradients: vec![("logits", "d_logits")] }
    }
}
