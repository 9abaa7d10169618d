//! LAMB, AdamW and the gradient norm. An update is no function to differentiate.

use kernels::Precision;
use kernels::optimizer::{self, Rule, Segment, Update};

use crate::case::{Case, Derivative, Device, Step};
use crate::pool::Operands;
use crate::step;

#[derive(Debug)]
pub struct Optimizer {
    update: Update,
    segments: Vec<Segment>,
}

impl Optimizer {
    fn each(lengths: &[usize]) -> Vec<Self> {
        let mut segments: Vec<Segment> = Vec::new();
        for (i, &length) in lengths.iter().enumerate() {
            let offset = segments.last().map_or(0, |last| last.offset + last.length);
            segments.push(Segment { offset, length, decays: i % 2 == 0, adapts: i % 3 != 1 });
        }
        let case = |rule, bias_correction| Self {
            update: Update {
                rule,
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-6,
                weight_decay: 0.01,
                clip_norm: 0.1,
                bias_correction,
            },
            segments: segments.clone(),
        };
        let mut cases = Vec::new();
        for rule in [Rule::AdamW, Rule::Lamb] {
            cases.extend([None, Some(1), Some(1000)].map(|bias_correction| case(rule, bias_correction)));
        }
        cases
    }

    fn length(&self) -> usize {
        self.segments.last().map_or(0, |last| last.offset + last.length)
    }
}

impl Case for Optimizer {
    fn all() -> Vec<Self> {
        [&[1][..], &[7, 1, 127, 33], &[300_001, 17, 70_000, 512]].into_iter().flat_map(Self::each).collect()
    }

    fn small() -> Vec<Self> {
        Self::each(&[7, 1])
    }

    fn operands(&self, operands: &mut Operands) {
        let length = self.length();
        operands
            .random("parameters", length)
            .random("gradients", length)
            .random("first_moments", length)
            .positive("second_moments", length)
            .random("weights", length)
            .positive("norm", 1)
            .random("loss", 1);
    }

    fn steps<B: Device<P>, P: Precision>(&self) -> Vec<Step<'_, B>> {
        vec![
            step! { p, 1, optimizer_update(&self.update, optimizer::Operands {
                segments: &self.segments,
                parameters: &mut p.accumulate("parameters"),
                gradients: &p.read("gradients"),
                norm: &p.read("norm"),
                loss: &p.read("loss"),
                first_moments: &mut p.accumulate("first_moments"),
                second_moments: &mut p.accumulate("second_moments"),
            }) },
            step! { p, 1, gradient_norm(&(), optimizer::Norm {
                gradients: &p.read("gradients"),
                norm: &mut p.assign("norm"),
            }) },
            step! { p, 1, prepare_weights(&(), optimizer::Weights {
                masters: &p.read("parameters"),
                weights: &mut p.assign("weights"),
            }) },
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "parameters", upstream: "gradients", gradients: Vec::new() }
    }
}
