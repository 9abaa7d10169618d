//! Softmax cross-entropy: few classes and a whole vocabulary.

use kernels::{Precision, cross_entropy};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::{Indices, Operands, Random};
use crate::step;

#[derive(Debug)]
pub struct CrossEntropy {
    cross_entropy: cross_entropy::CrossEntropy,
    labels: Indices,
}

impl CrossEntropy {
    fn new(rows: usize, classes: usize) -> Self {
        let labels = Random::new(2).indices(rows, classes);
        Self { cross_entropy: cross_entropy::CrossEntropy { classes }, labels }
    }
}

impl Case for CrossEntropy {
    fn all() -> Vec<Self> {
        let sizes = [(1, 1), (1, 2), (7, 3), (127, 17), (512, 2), (33, 1000), (20, 30_000)];
        sizes.map(|(rows, classes)| Self::new(rows, classes)).into()
    }

    fn small() -> Vec<Self> {
        vec![Self::new(3, 2), Self::new(4, 7)]
    }

    fn operands(&self, operands: &mut Operands) {
        let (rows, classes) = (self.labels.len(), self.cross_entropy.classes);
        operands
            .random("logits", rows * classes)
            .positive("weights", rows)
            .random("loss", 1)
            .random("row_loss", rows)
            .random("log_sum_exp", rows)
            .random("prediction", rows)
            .random("d_loss", 1)
            .random("d_logits", rows * classes);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        let reduced = self.cross_entropy.classes.max(self.labels.len());
        vec![
            step! { p, reduced, cross_entropy_forward(&self.cross_entropy, cross_entropy::Forward {
                logits: &p.read("logits"),
                labels: &self.labels,
                weights: &p.read("weights"),
                loss: &mut p.assign("loss"),
                row_loss: &mut p.assign("row_loss"),
                log_sum_exp: &mut p.assign("log_sum_exp"),
                prediction: &mut p.assign("prediction"),
            }) },
            step! { p, 1, cross_entropy_backward(&self.cross_entropy, cross_entropy::Backward {
                logits: Some(&p.read("logits")),
                labels: &self.labels,
                weights: &p.read("weights"),
                log_sum_exp: &p.read("log_sum_exp"),
                d_loss: &p.read("d_loss"),
                d_logits: &mut p.assign("d_logits"),
            }) },
            step! { p, 1, cross_entropy_backward(&self.cross_entropy, cross_entropy::Backward {
                logits: None,
                labels: &self.labels,
                weights: &p.read("weights"),
                log_sum_exp: &p.read("log_sum_exp"),
                d_loss: &p.read("d_loss"),
                d_logits: &mut p.accumulate("logits"),
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "loss", upstream: "d_loss", gradients: vec![("logits", "d_logits")] }
    }
}
