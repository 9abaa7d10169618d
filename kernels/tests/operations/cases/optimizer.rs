//! LAMB, AdamW and the gradient norm. An update is no function to differentiate.

use kernels::optimizer::{self, Rule, Segment, Update};
use kernels::{Host, Real};

use crate::case::{Case, Derivative, Step};
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
                gradient_scale: 0.37,
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
            .random("norm", 1);
    }

    fn steps<H: Host>(&self) -> Vec<Step<'_, H>> {
        vec![
            step! { p, 1, optimizer_update(&self.update, optimizer::Operands {
                segments: &self.segments,
                parameters: &mut p.accumulate("parameters"),
                gradients: &p.read("gradients"),
                first_moments: &mut p.accumulate("first_moments"),
                second_moments: &mut p.accumulate("second_moments"),
            }) },
            Step::new("gradient_norm", 1, |host: &H, p| {
                let mut norm = [f64::NAN];
                host.gradient_norm(&(), optimizer::Norm { gradients: &p.read("gradients"), norm: &mut norm });
                p.assign("norm")[0] = H::Real::from_f64(norm[0]);
            }),
        ]
    }

    fn derivative(&self) -> Derivative {
        Derivative { output: "parameters", upstream: "gradients", gradients: Vec::new() }
    }
}
